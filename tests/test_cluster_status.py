"""`osplade cluster status` where somebody deleted or changed something: exactly what differs, and apply mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from provisioned import Encoder, World, bulk, other_bundle, running, sparse

from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.ml_connectors import find_connectors
from opensearch_splade.plugin.ml_models import delete_model, find_models, undeploy

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

NAME = "test-osplade-status"
DOCUMENTS, QUERIES = f"osplade/{NAME}/splade/documents", f"osplade/{NAME}/splade/queries"


@pytest.fixture(scope="module")
def spec(encoder: Encoder) -> dict[str, Any]:
    more = {"monthly": {"patterns": [f"{NAME}-20*"], "ingest": "documents", "search": "questions"}}
    return sparse(NAME, encoder.url, templates=more)


@pytest.fixture(scope="module")
def applied(
    ml_client: OpenSearch, node: RunningNode, spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One provisioned owner for all tests here, with a document."""
    world = World(node.url, tmp_path_factory.mktemp("status"))
    world.apply(world.write(spec))
    bulk(ml_client, NAME, {"1": {"text": "A red fox."}})
    yield world
    world.clear()


def changed_pipeline(client: OpenSearch) -> None:
    name = f"{NAME}-documents"
    body = client.ingest.get_pipeline(id=name)[name]
    body["processors"][2]["sparse_encoding"]["batch_size"] = 7
    client.ingest.put_pipeline(id=name, body=body)


def without_model(client: OpenSearch) -> None:
    [model] = find_models(client, QUERIES)
    delete_model(client, model.id)


def undeployed(client: OpenSearch) -> None:
    [model] = find_models(client, DOCUMENTS)
    undeploy(client, model.id)


def changed_connector(client: OpenSearch) -> None:
    from opensearch_splade.plugin.ml_commons import call

    [(identity, found)] = find_connectors(client, DOCUMENTS).items()
    undeployed(client)
    action = {**found["actions"][0], "url": found["actions"][0]["url"].replace("documents", "queries")}
    body = {"actions": [action], "credential": {"token": "unused"}}
    call(client, "PUT", f"/connectors/{identity}", body)


def of_template(client: OpenSearch) -> None:
    name = f"{NAME}-monthly"
    found = client.indices.get_index_template(name=name)["index_templates"][0]["index_template"]
    found["template"]["settings"]["index"]["number_of_shards"] = "2"
    client.indices.put_index_template(name=name, body={key: found[key] for key in found if key != "composed_of"})


TAMPERING: list[tuple[Callable[[OpenSearch], Any], dict[str, str]]] = [
    (changed_pipeline, {f"ingest pipeline {NAME}-documents": "changed  processors.2.sparse_encoding.batch_size"}),
    (
        lambda client: client.ingest.delete_pipeline(id=f"{NAME}-documents"),
        {f"ingest pipeline {NAME}-documents": "missing"},
    ),
    (
        lambda client: client.transport.perform_request("DELETE", f"/_search/pipeline/{NAME}-questions"),
        {f"search pipeline {NAME}-questions": "missing"},
    ),
    (
        lambda client: client.indices.put_settings(index=NAME, body={"index.default_pipeline": "_none"}),
        {f"index {NAME}": "changed  settings.index.default_pipeline"},
    ),
    (of_template, {f"index template {NAME}-monthly": "changed  template.settings.index.number_of_shards"}),
    (undeployed, {f"model {DOCUMENTS}": "not deployed it is UNDEPLOYED"}),
    (
        without_model,
        {
            f"model {QUERIES}": "missing",
            f"connector {QUERIES}": "left over",
            f"search pipeline {NAME}-questions": "changed  "
            "request_processors.0.neural_query_enricher.neural_field_default_id.sparse "
            "request_processors.0.neural_query_enricher.neural_field_default_id.passages.sparse "
            "request_processors.0.neural_query_enricher.default_model_id",
        },
    ),
    (
        changed_connector,
        {
            f"model {DOCUMENTS}": "changed  connector.actions.0.url",
            f"ingest pipeline {NAME}-documents": "changed  processors.2.sparse_encoding.model_id",
        },
    ),
    (
        lambda client: client.index(
            index=NAME, id="2", body={"text": "by hand"}, params={"pipeline": "_none", "refresh": "true"}
        ),
        {
            f"documents {NAME}": "incomplete 1 of 2 documents have no vector of the declared bundle (field `encoded`): "
            "write them again; docs/cluster.md has the query that finds them"
        },
    ),
]


@pytest.mark.parametrize(("tamper", "told"), TAMPERING, ids=lambda value: getattr(value, "__name__", ""))
def test_what_differs_is_said_and_mended(
    client: OpenSearch, applied: World, tamper: Callable[[OpenSearch], Any], told: dict[str, str]
) -> None:
    """That and nothing else; one apply later nothing differs, but for documents, which are whose wrote them."""
    path = applied.files[NAME]
    tamper(client)
    assert applied.states("status", path) == told
    applied.apply(path)
    client.delete(index=NAME, id="2", params={"refresh": "true", "ignore": 404})
    assert applied.states("status", path) == {}


def test_an_index_that_was_made_otherwise_is_fixed(client: OpenSearch, applied: World) -> None:
    """A mapping that no apply can change is told with its place and the remedy; the document is not touched."""
    path = applied.files[NAME]
    mapping = client.indices.get_mapping(index=NAME)[NAME]["mappings"]
    client.indices.delete(index=NAME)
    mapping["properties"]["text"]["analyzer"] = "standard"
    client.indices.create(index=NAME, body={"mappings": mapping})
    found = applied.states("status", path)[f"index {NAME}"]
    assert found.startswith("fixed index")
    assert "mappings.properties.text.analyzer: standard -> english" in found
    assert "POST _reindex" in found
    client.indices.delete(index=NAME)
    assert applied.states("status", path) == {f"index {NAME}": "missing"}
    applied.apply(path)


def test_an_index_of_somebody_else_is_foreign(client: OpenSearch, applied: World) -> None:
    """Even if it is made just like ours."""
    path = applied.files[NAME]
    client.indices.delete(index=NAME)
    client.indices.create(index=NAME)
    assert applied.states("status", path)[f"index {NAME}"].startswith("foreign it was not made by osplade cluster")
    client.indices.delete(index=NAME)
    applied.apply(path)


def test_an_encoder_that_is_away_or_another_one_is_told(
    ml_client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path
) -> None:
    """A dead endpoint, and one that serves another bundle, by its fingerprint; back again, nothing differs."""
    other = other_bundle(tmp_path / "other")
    world = World(node.url, tmp_path)
    with running(["splade-tiny"]) as encoder:
        path = world.write(sparse(index_name, encoder.url))
        world.apply(path)
        encoder.kill()
        found = world.states("status", path)
        assert found.keys() == {f"model osplade/{index_name}/splade/{side}" for side in ("documents", "queries")}
        assert all(one.startswith("failing it does not answer") for one in found.values())
        encoder.start([f"splade-tiny={other}"])
        found = world.states("status", path)
        wrong = found[f"model osplade/{index_name}/splade/documents"]
        assert "/splade-tiny/documents serves fingerprint" in wrong
        assert "07300b57aa19d99c is declared" in wrong
        encoder.kill()
        encoder.start()
        assert world.states("status", path) == {}
        world.clear()
    assert find_models(ml_client, f"osplade/{index_name}/splade/documents") == []
