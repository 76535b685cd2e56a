"""Calls of `osplade migrate` that are wrong, or that say little: what they leave behind and what they tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from click.testing import CliRunner, Result
from migrations import bring_over, make_old, open_job, sources

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.spec import MigrationSpec

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode


def osplade(node: RunningNode, step: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["migrate", step, "--url", node.url, *arguments])


def test_a_closed_index_is_told_before_anything_is_made(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a state nor an index."""
    monkeypatch.chdir(tmp_path)
    make_old(client, f"{index_name}-old", 3)
    client.indices.close(index=f"{index_name}-old")
    done = osplade(node, "run", "--source", f"{index_name}-old", "--target", f"{index_name}-new")
    assert done.exit_code == 1
    assert f"is closed, so it cannot be read: open it: POST {index_name}-old/_open." in done.output
    assert not client.indices.exists(index=f"{index_name}-new")
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_at_another_pace_without_being_told_all_again(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only migration here is meant; a call that came to nothing before is not one. What was made by stays."""
    monkeypatch.chdir(tmp_path)
    make_old(client, f"{index_name}-old", 12)
    client.indices.create(index=f"{index_name}-taken")
    taken = osplade(node, "run", "--source", f"{index_name}-old", "--target", f"{index_name}-taken")
    assert "is there already" in taken.output
    assert osplade(node, "run", "--source", f"{index_name}-old", "--target", f"{index_name}-new").exit_code == 0
    slower = osplade(node, "run", "--max-docs-per-second", "500", "--again", "--json")
    assert orjson.loads(slower.stdout)["unchanged"] == 12
    other = osplade(node, "run", "--bundle", "splade-tiny")
    assert other.exit_code == 1
    assert "belongs to a migration that was begun otherwise" in other.output


def test_what_is_said_now_counts_more_and_the_rest_stays() -> None:
    """Also where nothing is what the rest says."""
    spec = MigrationSpec(source="a", target="b", max_slowdown=None, texts=("body",))
    found = spec.but(max_docs_per_second=5.0, bundle=None, texts=(), title="")
    assert found == spec.model_copy(update={"max_docs_per_second": 5.0})
    with pytest.raises(MigrationError, match="shards"):
        spec.but(shards=0)


def test_what_an_ingest_pipeline_once_did_is_not_done_again_in_place(
    client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Documents are written back with their vectors and are otherwise what they were; a template brings no pipeline."""
    client.ingest.put_pipeline(id=index_name, body={"processors": [{"set": {"field": "title", "value": "changed"}}]})
    setting = {"settings": {"index": {"default_pipeline": index_name}}}
    template = {"index_patterns": [f"{index_name}-new*"], "template": setting, "priority": 5000}
    try:
        client.indices.put_index_template(name=index_name, body=template)
        make_old(client, f"{index_name}-old", 5)
        client.indices.put_settings(index=f"{index_name}-old", body=setting["settings"])
        before = sources(client, f"{index_name}-old")
        bring_over(open_job(client, tmp_path / "copy", f"{index_name}-old", f"{index_name}-new"))
        bring_over(open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-old", way="in-place"))
        for index in (f"{index_name}-old", f"{index_name}-new"):
            after = sources(client, index)
            assert {id_: source["title"] for id_, source in after.items()} == {
                id_: source["title"] for id_, source in before.items()
            }
            assert all(source["sparse"] for source in after.values())
    finally:
        client.indices.delete_index_template(name=index_name, ignore=404)
        client.indices.delete(index=f"{index_name}-*")
        client.ingest.delete_pipeline(id=index_name)
