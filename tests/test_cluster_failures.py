"""Provisioning and cluster-side ingest when something fails: undone, completed, reported; never silently half."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from provisioned import BUNDLES, Encoder, World, bulk, other_bundle, running, sparse, writing

from opensearch_splade.plugin.ml_connectors import find_connectors
from opensearch_splade.plugin.ml_models import find_models

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

FOX = {"text": "A red fox crossed the road."}


def nothing_is_left(client: OpenSearch, name: str) -> bool:
    sides = [f"osplade/{name}/splade/{side}" for side in ("documents", "queries")]
    return not (
        client.indices.exists(index=name)
        or any(find_models(client, side) or find_connectors(client, side) for side in sides)
        or client.ingest.get_pipeline(id=f"{name}-documents", params={"ignore": 404})
    )


def test_a_failed_apply_is_undone_and_says_so(client: OpenSearch, world: World, index_name: str) -> None:
    """An encoder that is not there: the reason, what was undone, and nothing left; settings as before."""
    before = client.cluster.get_settings(params={"flat_settings": "true"})
    path = world.write(sparse(index_name, Encoder().url))
    done = world.run("apply", path, "--yes", "--allow-settings")
    assert done.exit_code == 1
    assert f"model osplade/{index_name}/splade/documents: it does not answer" in done.output
    assert f"undone: model osplade/{index_name}/splade/documents" in done.output
    assert "undone: cluster settings" in done.output
    assert nothing_is_left(client, index_name)
    assert client.cluster.get_settings(params={"flat_settings": "true"}) == before


def test_a_failed_change_puts_back_what_was(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """The old model and pipeline serve on, as if nothing had been tried."""
    spec = writing(index_name, encoder.url)
    path = world.write(spec)
    world.apply(path)
    pipeline = client.ingest.get_pipeline(id=f"{index_name}-documents")
    spec["models"]["splade"]["timeout"] = 5
    spec["indices"][index_name + "-bad"] = {"ingest": "documents", "properties": {"x": {"type": "no_such_type"}}}
    done = world.run("apply", world.write(spec), "--yes")
    assert done.exit_code == 1
    assert "no_such_type" in done.output
    assert f"undone: changed ingest pipeline {index_name}-documents" in done.output
    assert client.ingest.get_pipeline(id=f"{index_name}-documents") == pipeline
    assert bulk(client, index_name, {"1": FOX})["1"]["status"] == 201
    assert world.states("status", world.write(writing(index_name, encoder.url))) == {}


def test_an_encoder_of_another_bundle_is_refused(
    client: OpenSearch, world: World, index_name: str, tmp_path: Path
) -> None:
    """Verification names it by fingerprint, before any pipeline points to it."""
    other = other_bundle(tmp_path / "other")
    with running([f"splade-tiny={other}"]) as encoder:
        done = world.run("apply", world.write(sparse(index_name, encoder.url)), "--yes", "--allow-settings")
    assert done.exit_code == 1
    assert "serves fingerprint" in done.output
    assert nothing_is_left(client, index_name)


KILLED = ["cluster_models.register_remote", "bringing.deploy", "bringing._objects"]


@pytest.mark.parametrize("where", KILLED)
def test_killed_and_run_again_it_completes(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str, where: str
) -> None:
    """Whatever a kill leaves half-way: one model a side, no connector without a model, nothing that differs."""
    path = world.write(sparse(index_name, encoder.url))
    room, name = where.split(".")
    program = (
        "import os, signal\n"
        "from opensearch_splade.provisioning import cluster_models, apply as bringing\n"
        f"{room}.{name} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from opensearch_splade.cli.main import main\n"
        "main()"
    )
    arguments = ["cluster", "apply", str(path), "--url", world.url, "--yes", "--allow-settings"]
    killed = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    world.apply(path)
    assert world.states("status", path) == {}
    for side in ("documents", "queries"):
        assert len(find_models(client, f"osplade/{index_name}/splade/{side}")) == 1
        assert len(find_connectors(client, f"osplade/{index_name}/splade/{side}")) == 1
    assert bulk(client, index_name, {"1": FOX})["1"]["status"] == 201


def test_tokens_are_sent_kept_secret_and_renewed(
    client: OpenSearch, world: World, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, with a wrong one, with the right one, with a new one; it is in no output and in no object."""
    spec = writing(index_name, "")
    with running(["splade-tiny"], OSPLADE_SERVE_TOKEN="s3cret-token") as encoder:  # noqa: S106
        spec["models"]["splade"] |= {"endpoint": encoder.url, "token_env": "CLUSTER_TOKEN"}
        path = world.write(spec)
        missing = world.run("apply", path, "--yes", "--allow-settings")
        assert "the environment has no CLUSTER_TOKEN" in missing.output
        monkeypatch.setenv("CLUSTER_TOKEN", "wrong-token")
        wrong = world.run("apply", path, "--yes", "--allow-settings")
        assert wrong.exit_code == 1
        assert "does not answer" in wrong.output, wrong.output
        monkeypatch.setenv("CLUSTER_TOKEN", "s3cret-token")
        done = world.run("apply", path, "--yes", "--allow-settings", "--json")
        assert done.exit_code == 0, done.output
        assert "s3cret" not in wrong.output + done.output + json.dumps(
            find_connectors(client, f"osplade/{index_name}/splade/documents")
        )
        assert world.states("status", path) == {}
        assert sum(one.startswith("deleted model") for one in world.apply(path, "--renew-token")) == 1
        world.clear()


def test_an_encoder_killed_in_the_middle_of_a_bulk_loses_nothing_silently(
    client: OpenSearch, world: World, index_name: str
) -> None:
    """Each document is stored with its vector and mark, or its item of the answer is an error; run again, all are."""
    documents: dict[str, dict[str, Any]] = {
        str(number): {"text": f"Document {number} of a long load about foxes and bones. " * 12} for number in range(400)
    }
    with running(BUNDLES[:1]) as encoder:
        path = world.write(writing(index_name, encoder.url))
        world.apply(path)
        assert bulk(client, index_name, dict(list(documents.items())[:40]))["1"]["status"] == 201
        killer = threading.Timer(0.4, encoder.kill)
        killer.start()
        items = bulk(client, index_name, documents)
        killer.join()
        refused = {key for key, item in items.items() if "error" in item}
        assert refused, "the encoder died too late to be missed"
        stored = client.search(index=index_name, body={"size": 1000, "query": {"match_all": {}}})["hits"]["hits"]
        assert all(hit["_source"]["sparse"] and hit["_source"]["encoded"] for hit in stored)
        assert {hit["_id"] for hit in stored} >= documents.keys() - refused
        found = world.states("status", path)
        assert found.keys() == {f"model osplade/{index_name}/splade/documents"}
        encoder.start()
        again = bulk(client, index_name, {key: documents[key] for key in refused})
        assert {item["status"] for item in again.values()} <= {200, 201}
        assert client.count(index=index_name, body={"query": {"exists": {"field": "encoded"}}})["count"] == 400
        assert world.states("status", path) == {}
