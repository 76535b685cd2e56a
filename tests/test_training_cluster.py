"""What ``osplade adapt`` takes from a cluster: documents of an index."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from checkpoints import masked_lm
from click.testing import CliRunner
from opensearchpy import OpenSearch, helpers

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Document


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A part of Python's documentation."""
    return [one for one in islice(read_source("pydoc:"), 80) if isinstance(one, Document)]


@pytest.fixture
def filled(client: OpenSearch, index_name: str, documents: list[Document]) -> str:
    """An index of others that holds them."""
    actions = [{"_index": index_name, "_id": one.id, "heading": one.title, "body": one.text} for one in documents]
    helpers.bulk(client, actions, refresh=True)
    return index_name


@pytest.mark.export
def test_an_index_is_read_from_the_named_cluster(
    node: RunningNode, filled: str, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--url`` decides, as for every other command; a wrong one is an error of the cluster, not an empty corpus."""
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:1")
    checkpoint = masked_lm("bert", tmp_path / "bert")
    given = ["--bundle", "splade-tiny-idf", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "new")]
    mapped = ["--title-field", "heading", "--text-field", "body"]
    call = ["adapt", f"index:{filled}", *given, *mapped, "--dry-run", "--json"]
    done = CliRunner().invoke(main, [*call, "--url", node.url])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["documents"] == len(documents)
    assert plan["questions"]["title"] > 0
    refused = CliRunner().invoke(main, call)
    assert refused.exit_code != 0
    assert "127.0.0.1:1" in refused.output
    assert not (tmp_path / "new").exists()
