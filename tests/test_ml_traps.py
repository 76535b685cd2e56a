"""The traps of ML Commons and neural-search, each stepped into on the real node: our message, or our way around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from misbehaving_encoder import Encoder, encoder, lengths
from ml_cleanup import HEAP, own_models
from opensearchpy import OpenSearch
from opensearchpy.exceptions import RequestError, TransportError

from opensearch_splade.errors import MlCommonsError
from opensearch_splade.onnx_models import Bundle, SparseEncoder
from opensearch_splade.onnx_models.ml_commons_package import pack
from opensearch_splade.plugin.ml_commons import call
from opensearch_splade.plugin.ml_connectors import connector_body, create_connector
from opensearch_splade.plugin.ml_models import deploy, redeploy, register_remote
from opensearch_splade.plugin.ml_packages import register_local, upload_chunk
from opensearch_splade.plugin.ml_predict import predict_sparse
from opensearch_splade.plugin.ml_refusals import remedy_for
from opensearch_splade.plugin.ml_settings import (
    PRIVATE_IP,
    put_settings,
    settings_for_connector,
    settings_for_local_models,
)
from opensearch_splade.plugin.ml_tasks import wait_for_task

VIA_URL = "plugins.ml_commons.allow_registering_model_via_url"


@pytest.fixture(scope="module")
def names(ml_client: OpenSearch) -> Iterator[Iterator[str]]:
    """Names for models of this file, and the settings put back at its end."""
    with own_models(ml_client) as prefix:
        yield (f"{prefix}-{number}" for number in count())


@pytest.fixture(scope="module")
def running() -> Iterator[Encoder]:
    with encoder() as started:
        yield started


@pytest.fixture(scope="module")
def connector(ml_client: OpenSearch, names: Iterator[str], running: Encoder) -> str:
    put_settings(ml_client, settings_for_connector(ml_client, running.url))
    return create_connector(ml_client, connector_body(next(names), running.url))


@pytest.fixture(scope="module")
def model(ml_client: OpenSearch, names: Iterator[str], connector: str) -> str:
    return deploy(ml_client, register_remote(ml_client, next(names), connector)).id


@pytest.fixture
def remote(running: Encoder) -> Encoder:
    """The encoder, well again and with nothing seen."""
    running.answer = lengths
    running.calls.clear()
    return running


@pytest.fixture
def index(ml_client: OpenSearch, index_name: str, model: str) -> Iterator[str]:
    """An index with a pipeline that encodes eight texts at once and then marks who has a vector."""
    encode = {"model_id": model, "field_map": {"text": "vector"}, "batch_size": 8}
    mark = {"field": "encoded", "value": "yes", "if": "ctx.vector != null"}
    ml_client.ingest.put_pipeline(id=index_name, body={"processors": [{"sparse_encoding": encode}, {"set": mark}]})
    fields = {"text": {"type": "text"}, "vector": {"type": "rank_features"}, "encoded": {"type": "keyword"}}
    ml_client.indices.create(
        index=index_name, body={"settings": {"default_pipeline": index_name}, "mappings": {"properties": fields}}
    )
    yield index_name
    ml_client.indices.delete(index=index_name)
    ml_client.ingest.delete_pipeline(id=index_name)


def bulk(client: OpenSearch, index: str, texts: list[str]) -> list[str | None]:
    """Sends texts, numbered; the reasons why each was refused."""
    lines = [line for number, text in enumerate(texts) for line in ({"index": {"_id": str(number)}}, {"text": text})]
    items = client.bulk(index=index, body=lines, params={"refresh": "true"})["items"]
    return [item["index"].get("error", {}).get("reason") for item in items]


# Connectors and remote models


def test_a_connector_has_a_credential_even_without_a_token(
    ml_client: OpenSearch, connector: str, remote: Encoder
) -> None:
    """Ours always has one; a body of others without one gets the remedy."""
    assert connector
    body = connector_body("x", remote.url)
    assert "authorization" not in body["actions"][0]["headers"]
    del body["credential"]
    with pytest.raises(MlCommonsError, match="even one that nothing reads"):
        create_connector(ml_client, body)


def test_an_address_that_is_not_trusted_names_the_setting(ml_client: OpenSearch) -> None:
    """The refusal ends with the setting, and ``settings_for_connector`` knows it before."""
    url = "http://127.0.0.1:2/encode"
    assert settings_for_connector(ml_client, url).differing
    with pytest.raises(MlCommonsError, match="trusted_connector_endpoints_regex, beside what stands there"):
        create_connector(ml_client, connector_body("x", url))


def test_a_private_address_fails_late_and_is_mended_by_deploying_again(
    ml_client: OpenSearch, names: Iterator[str], connector: str, remote: Encoder
) -> None:
    """Created and deployed without a word, refused when asked; the setting is read only by ``redeploy``."""
    model = register_remote(ml_client, next(names), connector)
    ml_client.cluster.put_settings(body={"persistent": {PRIVATE_IP: False}})
    assert settings_for_connector(ml_client, remote.url).differing == {PRIVATE_IP: True}
    assert deploy(ml_client, model).is_deployed
    for value in (False, True):  # put right, and still refused
        ml_client.cluster.put_settings(body={"persistent": {PRIVATE_IP: value}})
        with pytest.raises(MlCommonsError, match="then undeploy the model and deploy it again"):
            predict_sparse(ml_client, model, ["a"])
    redeploy(ml_client, model)
    assert predict_sparse(ml_client, model, ["a"]) == [{"a": 1.0}]


def test_one_weight_of_zero_loses_the_whole_batch(ml_client: OpenSearch, index: str, remote: Encoder) -> None:
    """HTTP 200, and eight documents missing for one weight; the reason has a remedy, and sending again completes."""
    texts = ["a fox"] * 3 + ["zero fox"] + ["a fox"] * 12
    remote.answer = lambda given: (200, [{word: float(word != "zero") for word in text.split()} for text in given])
    reasons = bulk(ml_client, index, texts)
    assert sorted(reasons, key=str) == [None] * 8 + ["Pruned values must be positive"] * 8
    assert reasons[3]
    assert "leave out weights that are not above 0" in str(remedy_for(reasons[3]))
    remote.answer = lengths
    assert not any(bulk(ml_client, index, texts))
    assert ml_client.count(index=index, body={"query": {"term": {"encoded": "yes"}}})["count"] == 16


def test_a_broken_connection_is_an_error_of_its_documents(
    ml_client: OpenSearch, index: str, model: str, remote: Encoder
) -> None:
    """Asked alone or in a bulk request: nothing is indexed without its vector, and the remedy says what to do."""
    remote.answer = lambda _texts: None
    with pytest.raises(MlCommonsError, match="look whether the encoder runs"):
        predict_sparse(ml_client, model, ["a"])
    [reason] = bulk(ml_client, index, ["a fox"])
    assert "send them again" in str(remedy_for(str(reason)))
    assert ml_client.count(index=index)["count"] == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_encoder_that_is_busy_is_asked_once(ml_client: OpenSearch, model: str, remote: Encoder, status: int) -> None:
    """ML Commons does not ask again whatever ``max_retry_times`` says, and our client does not either."""
    remote.answer = lambda _texts: (status, {"error": "busy"})
    with pytest.raises(MlCommonsError, match=rf"{status}.*busy.*does not ask again"):
        predict_sparse(ml_client, model, ["a"])
    assert len(remote.calls) == 1


def test_an_encoder_that_wants_a_token_is_not_taken_for_the_cluster(
    ml_client: OpenSearch, model: str, remote: Encoder
) -> None:
    """Its 401 comes through as the cluster's own; the remedy is the connector's token, not the user's password."""
    remote.answer = lambda _texts: (401, {"error": "unauthorized"})
    with pytest.raises(MlCommonsError, match="give the connector the encoder's token"):
        predict_sparse(ml_client, model, ["a"])


def test_an_empty_text_passes_without_a_vector_and_a_mark_finds_it(
    ml_client: OpenSearch, index: str, remote: Encoder
) -> None:
    """No error and no vector, and ``exists`` cannot ask for vectors: the mark of the pipeline's next processor can."""
    assert bulk(ml_client, index, ["a fox", "", "   "]) == [None] * 3
    assert remote.calls == [["a fox"]]
    found = ml_client.search(index=index, body={"query": {"bool": {"must_not": {"exists": {"field": "encoded"}}}}})
    assert {hit["_id"] for hit in found["hits"]["hits"]} == {"1", "2"}
    with pytest.raises(RequestError, match="do not support"):
        ml_client.search(index=index, body={"query": {"exists": {"field": "vector"}}})


def test_texts_are_predicted_by_the_algorithm_and_not_by_the_model(ml_client: OpenSearch, model: str) -> None:
    """The other path refuses texts of a remote model; the remedy names ours."""
    with pytest.raises(MlCommonsError, match="by the algorithm's name"):
        call(ml_client, "POST", f"/models/{model}/_predict", {"text_docs": ["a"]})


# Local models


def announced(name: str, **how: Any) -> dict[str, Any]:
    """What ``_register_meta`` takes of a package of one chunk."""
    return {
        "name": name,
        "version": "1",
        "function_name": "SPARSE_TOKENIZE",
        "model_format": "TORCH_SCRIPT",
        "model_content_size_in_bytes": 100,
        "model_content_hash_value": "ab",
        "total_chunks": 1,
        **how,
    }


def test_uploading_needs_a_setting_and_so_does_a_url(ml_client: OpenSearch, names: Iterator[str]) -> None:
    """Each names its own; chunks need one setting less than a URL, and no file within the node's reach."""
    needed = settings_for_local_models(ml_client).needed
    ml_client.cluster.put_settings(body={"persistent": dict.fromkeys(needed)})
    assert settings_for_local_models(ml_client).differing == needed
    with pytest.raises(MlCommonsError, match=r"allow_registering_model_via_local_file.*settings_for_local_models"):
        call(ml_client, "POST", "/models/_register_meta", announced(next(names)))
    put_settings(ml_client, settings_for_local_models(ml_client))
    by_url = announced(next(names), url="file:///none.zip")
    with pytest.raises(MlCommonsError, match="upload the file in chunks instead"):
        call(ml_client, "POST", "/models/_register", by_url)


def test_no_node_may_run_a_local_model(ml_client: OpenSearch, names: Iterator[str], tmp_path: Path) -> None:
    """By default only nodes of role ml may; refused when deployed, with the setting."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    package = pack(Bundle.open("splade-tiny-idf"), tmp_path / "q.zip")
    model = register_local(ml_client, package.path, name=next(names), function=package.function)
    ml_client.cluster.put_settings(body={"persistent": {"plugins.ml_commons.only_run_on_ml_node": True}})
    with pytest.raises(MlCommonsError, match=r"set plugins\.ml_commons\.only_run_on_ml_node to false"):
        deploy(ml_client, model)
    put_settings(ml_client, settings_for_local_models(ml_client))
    assert deploy(ml_client, model).is_deployed


def test_a_full_heap_is_waited_for(ml_client: OpenSearch, names: Iterator[str], tmp_path: Path) -> None:
    """A node that has no room just now is asked again, and whoever has no patience is told which setting it is."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    package = pack(Bundle.open("splade-tiny-idf"), tmp_path / "q.zip")
    model = register_local(ml_client, package.path, name=next(names), function=package.function)
    ml_client.cluster.put_settings(body={"persistent": {HEAP: 1}})
    with pytest.raises(MlCommonsError, match="jvm_heap_memory_threshold"):
        deploy(ml_client, model, patience=3)
    later = threading.Timer(1.5, ml_client.cluster.put_settings, kwargs={"body": {"persistent": {HEAP: 100}}})
    later.start()
    assert deploy(ml_client, model).is_deployed
    later.join()


def test_hashes_are_asked_for_and_compared(ml_client: OpenSearch, names: Iterator[str], open_folder: Path) -> None:
    """A missing hash, a wrong one and a missing chunk each say what to do; ours is always the file's own."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    ml_client.cluster.put_settings(body={"persistent": {VIA_URL: True}})
    package = pack(Bundle.open("splade-tiny-idf"), open_folder / "q.zip")
    by_url = announced(next(names), url=package.path.as_uri())
    del by_url["model_content_hash_value"]
    with pytest.raises(MlCommonsError, match="give the zip's sha256"):
        wait_for_task(ml_client, call(ml_client, "POST", "/models/_register", by_url)["task_id"], "register it")
    model = call(ml_client, "POST", "/models/_register_meta", announced(next(names)))["model_id"]
    with pytest.raises(MlCommonsError, match="upload is not complete: delete the model and register it again"):
        deploy(ml_client, model)
    upload_chunk(ml_client, model, 0, package.path.read_bytes())
    with pytest.raises(MlCommonsError, match="not the one that was announced"):
        deploy(ml_client, model)


@pytest.mark.parametrize("path", ["chunk", "upload_chunk"])
def test_bytes_are_sent_as_json(ml_client: OpenSearch, names: Iterator[str], path: str) -> None:
    """The type that bytes have is refused; ours is the one that the node takes."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    model = call(ml_client, "POST", "/models/_register_meta", announced(next(names)))["model_id"]
    with pytest.raises(TransportError, match="octet-stream") as refused:
        ml_client.transport.perform_request(
            "POST",
            f"/_plugins/_ml/models/{model}/{path}/0",
            body=b"abc",
            headers={"content-type": "application/octet-stream"},
        )
    assert refused.value.status_code == 406
    assert "as application/json" in str(remedy_for(str(refused.value)))
    upload_chunk(ml_client, model, 0, b"\x00\xff\xfe")


def test_an_onnx_model_runs_or_says_what_it_lacks(ml_client: OpenSearch, names: Iterator[str], tmp_path: Path) -> None:
    """Without PyTorch's libraries, which the node wants to download, the remedy; with them, the bundle's weights."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    package = pack(Bundle.open("splade-tiny-idf"), tmp_path / "d.zip", "documents")
    model = register_local(ml_client, package.path, name=next(names), function=package.function)
    try:
        deploy(ml_client, model)
    except MlCommonsError as error:
        assert "docs/ml-commons.md says how" in str(error)  # noqa: PT017 - it may as well deploy
        return
    [found] = predict_sparse(ml_client, model, ["capital of france"])
    loaded = SparseEncoder.load("splade-tiny-idf")
    expected = loaded.features(*loaded.encode_documents(["capital of france"]).row(0))
    # int8: its ONNX Runtime is an older one, which rounds otherwise.
    assert all(found[feature] == pytest.approx(weight, abs=0.1) for feature, weight in expected.items() if weight > 0.2)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("publish.djl.ai", "ml_cache"),
        ("Failed to save pytorch index file", "ml_cache"),
        ("Could not initialize class ai.djl.onnxruntime.engine.OrtNDManager", "ml_cache"),
        ("Unsupported model IR version: 10, max supported IR version: 9", "osplade bundle pack"),
        ("found multiple models", "osplade bundle pack"),
        ("Invalid input tensor name: input1.input_ids", "osplade bundle pack"),
        ("Native Memory Circuit Breaker is open, please check your resources!", "native_memory_threshold"),
        ("Memory Circuit Breaker is open, please check your resources!", "jvm_heap_memory_threshold"),
        ("Disk Circuit Breaker is open, please check your resources!", "disk_free_space_threshold"),
        ("something new", "None"),
    ],
)
def test_what_only_certain_nodes_say_has_a_remedy_too(reason: str, remedy: str) -> None:
    """The words of ML Commons 3.6 where a node lacks libraries, memory or disk, or a zip is of others' making."""
    assert remedy in str(remedy_for(reason))


# Asking, and the semantic field


def test_a_query_names_a_model_or_an_analyzer(ml_client: OpenSearch, index: str, model: str) -> None:
    """Both are refused."""
    query = {"neural_sparse": {"vector": {"query_text": "a", "model_id": model, "analyzer": "bert-uncased"}}}
    with pytest.raises(RequestError) as refused:
        ml_client.search(index=index, body={"query": query})
    assert "not both" in str(remedy_for(str(refused.value)))


def test_a_semantic_field_needs_to_know_what_a_remote_model_gives(
    ml_client: OpenSearch, names: Iterator[str], index_name: str, connector: str, model: str, remote: Encoder
) -> None:
    """Registered by others it may not say; ours always does, and the field then encodes by itself."""
    bare = {"name": next(names), "function_name": "remote", "description": "x", "connector_id": connector}
    other = call(ml_client, "POST", "/models/_register", bare)["model_id"]

    def create(of: str) -> None:
        field = {"type": "semantic", "model_id": of, "raw_field_type": "text"}
        ml_client.indices.create(index=index_name, body={"mappings": {"properties": {"text": field}}})

    with pytest.raises(RequestError) as refused:
        create(other)
    assert '"model_type": "sparse_encoding"' in str(remedy_for(str(refused.value)))
    create(model)
    ml_client.index(index=index_name, id="1", body={"text": "red fox"}, params={"refresh": "true"})
    stored = ml_client.get(index=index_name, id="1")["_source"]["text_semantic_info"]["embedding"]
    assert stored == {"red": 3.0, "fox": 3.0}
    assert remote.calls == [["red fox"]]


def test_a_sparse_encoder_is_no_reranker(ml_client: OpenSearch, index: str, model: str) -> None:
    """Accepted as a pipeline and refused when searched; the remedy says which model it takes."""
    assert bulk(ml_client, index, ["a fox"]) == [None]
    rerank = {"ml_opensearch": {"model_id": model}, "context": {"document_fields": ["text"]}}
    body = {
        "query": {"match": {"text": "fox"}},
        "ext": {"rerank": {"query_context": {"query_text": "fox"}}},
        "search_pipeline": {"response_processors": [{"rerank": rerank}]},
    }
    with pytest.raises(RequestError) as refused:
        ml_client.search(index=index, body=body)
    assert "cross-encoder" in str(remedy_for(str(refused.value)))
