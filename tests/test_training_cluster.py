"""What ``osplade adapt`` takes from a cluster: documents of an index, and hard negatives of its rankings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from checkpoints import masked_lm
from click.testing import CliRunner
from opensearchpy import OpenSearch, helpers

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError, TrainingError
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Device
from opensearch_splade.onnx_models.export import export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.training.cluster_negatives import DEPTH, ClusterIndex
from opensearch_splade.training.lessons import Material, lessons
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.pseudo_queries import make_pairs
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.types import Document

pytestmark = pytest.mark.server


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


@pytest.fixture(scope="module")
def encoded(
    client: OpenSearch, node: RunningNode, documents: list[Document], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An index of ours with sparse and dense vectors."""
    name, source = "test-mined", tmp_path_factory.mktemp("mined") / "docs.jsonl"
    lines = [json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in documents]
    source.write_text("\n".join(lines), encoding="utf-8")
    bundles = ["--bundle", "splade-tiny-idf", "--dense-bundle", "minilm-l6"]
    call = ["ingest", str(source), "--index", name, *bundles, "--no-ledger", "--url", node.url]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    yield name
    client.indices.delete(index=name)


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


def test_an_index_of_others_is_ranked_by_bm25(
    client: OpenSearch, filled: str, documents: list[Document], tmp_path: Path
) -> None:
    """As the server ranks its fields; hits that were not read are left out; later it is read from disk."""
    asked = ["raise an error when a file is missing", "zzzz", "arithmetic"]
    index = ClusterIndex(client, filled, ["heading", "body"])
    assert index.legs == ("bm25",)
    [ranking] = index.rankings(asked, documents[:60], tmp_path)
    places = {one.id: place for place, one in enumerate(documents[:60])}
    for question, found in zip(asked, ranking.best(DEPTH), strict=True):
        clause = {"multi_match": {"query": question, "fields": ["heading", "body"], "type": "most_fields"}}
        hits = client.search(index=filled, body={"query": clause, "size": DEPTH})["hits"]["hits"]
        assert found == [places[hit["_id"]] for hit in hits if hit["_id"] in places]
    assert [len(found) > 0 for found in ranking.best(1)] == [True, False, True]
    client.indices.delete(index=filled)
    [again] = index.rankings(asked, documents[:60], tmp_path)
    assert list(again.best(5)) == list(ranking.best(5))


def test_an_index_of_ours_is_ranked_by_its_vectors_too(
    client: OpenSearch, encoded: str, documents: list[Document], tmp_path: Path
) -> None:
    """By the bundles that encoded it, and as their vectors say outside of the cluster."""
    asked = [pair.query for pair in make_pairs(documents)[:40]]
    texts = [one.passage for one in documents]
    index = ClusterIndex(client, encoded, ["text"], ["splade-tiny-idf", "minilm-l6"])
    assert index.legs[0] == "bm25"
    assert index.legs[2] == "knn"
    _, sparse, dense = index.rankings(asked, documents, tmp_path)
    for ranking, name in ((sparse, "splade-tiny-idf"), (dense, "minilm-l6")):
        exact = load_teacher(name, 1.0, asked, texts, tmp_path, Device())
        pairs = list(zip(ranking.best(3), exact.best(3), strict=True))
        assert sum(ours == theirs for ours, theirs in pairs) > 0.9 * len(pairs)


def test_negatives_of_a_cluster_are_no_copies_of_the_answer(
    client: OpenSearch, encoded: str, documents: list[Document], tmp_path: Path
) -> None:
    """They join those of BM25, and change what is near; of an answer and its copies none is among them."""
    read = [*documents, *(Document(f"{one.id} copy", one.text, one.title) for one in documents[:30])]
    material = Material.split(read, make_pairs(read))
    index = ClusterIndex(client, encoded, ["text"])
    found = {}
    for name, cluster in (("without", None), ("with", index)):
        found[name] = lessons(material, {"bm25": 1.0}, "bm25", {}, tmp_path, Device(), Recipe(), cluster)
    copies = groups([one.passage for one in read])
    rows = list(zip(found["with"].begin, found["with"].near, strict=True))
    for place, row in rows:
        chosen = row[row >= 0]
        assert len(set(chosen.tolist())) == len(chosen)
        assert copies[material.trained[place].document] not in copies[chosen]
    assert len(rows) > 100
    changed = (found["with"].near != found["without"].near).any(1)
    assert changed.mean() > 0.5


def test_an_index_that_does_not_fit_is_refused(client: OpenSearch, filled: str, tmp_path: Path) -> None:
    """One that is not there before anything is read, one of other documents when nothing of it is known."""
    with pytest.raises(SourceError, match="--mine-from index:not-there"):
        ClusterIndex(client, "not-there", ["body"])
    with pytest.raises(TrainingError, match=r"their ids differ.*--mine-from"):
        ClusterIndex(client, filled, ["body"]).rankings(["error"], [Document("other", "error")], tmp_path)


@pytest.mark.export
def test_a_run_mines_from_the_cluster(node: RunningNode, filled: str, tmp_path: Path) -> None:
    """The command says by what it mines, keeps what came, and trains; a name without index: is a wrong call."""
    checkpoint = masked_lm("bert", tmp_path / "bert")
    export_bundle(str(checkpoint), tmp_path / "old", query_weights=QueryTable("binary"))
    given = ["--bundle", str(tmp_path / "old"), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "new")]
    mapped = ["--title-field", "heading", "--text-field", "body", "--teacher", "bm25", "--steps", "2"]
    call = ["adapt", f"index:{filled}", *given, *mapped, "--url", node.url, "--mine-from"]
    done = CliRunner().invoke(main, [*call, f"index:{filled}"])
    assert done.exit_code == 0, done.output
    assert f"index '{filled}' too, by bm25" in " ".join(done.output.split())
    kept = list((tmp_path / "new.training" / "teachers").glob("*.npy"))
    assert any(np.load(path).shape[1:] == (DEPTH,) for path in kept)
    assert CliRunner().invoke(main, [*call, filled]).exit_code == 2
