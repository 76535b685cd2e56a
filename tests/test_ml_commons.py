"""ML Commons on the real node: settings, connectors, models and predictions by our functions."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from misbehaving_encoder import Encoder, encoder
from opensearchpy import OpenSearch

from opensearch_splade.errors import ClusterError, MlCommonsError
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.ml_commons_package import pack
from opensearch_splade.plugin import ml_packages
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.ml_commons import call
from opensearch_splade.plugin.ml_connectors import (
    connector_body,
    create_connector,
    delete_connector,
    find_connectors,
    get_connector,
    update_connector,
)
from opensearch_splade.plugin.ml_models import (
    delete_model,
    deploy,
    find_models,
    get_model,
    redeploy,
    register_remote,
    undeploy,
    wait_for_deployment,
    wait_for_state,
)
from opensearch_splade.plugin.ml_packages import register_local
from opensearch_splade.plugin.ml_predict import predict_dense, predict_sparse
from opensearch_splade.plugin.ml_settings import (
    ONLY_ML_NODES,
    PRIVATE_IP,
    TRUSTED,
    endpoint_regex,
    is_private,
    put_settings,
    settings_for_connector,
    settings_for_local_models,
)
from opensearch_splade.plugin.ml_tasks import wait_for_task

TOKEN = "".join(["s3", "cret"])


@pytest.fixture
def remote() -> Iterator[Encoder]:
    with encoder() as running:
        yield running


def deployed(client: OpenSearch, name: str, url: str, **how: Any) -> str:
    """A remote model at this address, deployed."""
    put_settings(client, settings_for_connector(client, url))
    model = register_remote(client, name, create_connector(client, connector_body(name, url, **how)))
    return deploy(client, model).id


@pytest.mark.usefixtures("ml_name")
def test_trusted_endpoints_are_added_to_those_of_others(ml_client: OpenSearch) -> None:
    """What somebody else trusts stays trusted, the built-in list too; what is trusted already is not added again."""
    url = "http://127.0.0.1:1/encode"
    before = settings_for_connector(ml_client, url)
    assert before.differing[TRUSTED] == [*before.in_force[TRUSTED], r"^http://127\.0\.0\.1:1/.*$"]
    assert any("openai" in pattern for pattern in before.in_force[TRUSTED])
    ml_client.cluster.put_settings(body={"persistent": {TRUSTED: ["^https://others\\.example/.*$"]}})
    put_settings(ml_client, settings_for_connector(ml_client, url))
    after = settings_for_connector(ml_client, url)
    assert after.in_force[TRUSTED] == ["^https://others\\.example/.*$", endpoint_regex(url)]
    assert after.in_force[PRIVATE_IP] is True
    assert not after.differing
    assert not after.body


@pytest.mark.usefixtures("ml_name")
def test_a_transient_setting_is_changed_where_it_stands(ml_client: OpenSearch) -> None:
    """A persistent value would be hidden by a transient one, so the transient one is changed."""
    ml_client.cluster.put_settings(body={"transient": {ONLY_ML_NODES: True}})
    needed = settings_for_local_models(ml_client)
    assert needed.body["transient"] == {ONLY_ML_NODES: False}
    assert f"{ONLY_ML_NODES}: true -> false" in needed.lines()
    put_settings(ml_client, needed)
    assert not settings_for_local_models(ml_client).differing


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:9/x", True),
        ("http://10.1.2.3/x", True),
        ("http://[::1]:9/x", True),
        ("http://encoder:8080/x", True),
        ("https://encoder.svc.cluster.local/x", True),
        ("https://encoder.example.com/x", False),
        ("https://8.8.8.8/x", False),
    ],
)
def test_private_hosts_are_known_by_their_names(url: str, private: bool) -> None:
    """An address says it; a name without a dot is one of a private network."""
    assert is_private(url) is private


def test_a_remote_model_from_nothing_to_nothing(ml_client: OpenSearch, ml_name: str, remote: Encoder) -> None:
    """Created, found by name, asked with its token, changed, and deleted without a trace."""
    model = deployed(ml_client, ml_name, remote.url, token=TOKEN)
    assert predict_sparse(ml_client, model, ["a paris", "fox"]) == [{"a": 1.0, "paris": 5.0}, {"fox": 3.0}]
    assert (remote.calls, remote.tokens) == ([["a paris", "fox"]], [f"Bearer {TOKEN}"])
    [(connector, body)] = find_connectors(ml_client, ml_name).items()
    assert TOKEN not in str(body) + str(get_connector(ml_client, connector))
    [found] = find_models(ml_client, ml_name)
    assert (found.id, found.is_deployed, found.connector_id) == (model, True, connector)
    assert not find_models(ml_client, ml_name[:-1])

    changed = connector_body(ml_name, remote.url, token=TOKEN[::-1])
    with pytest.raises(MlCommonsError, match="undeploy or delete these models first"):
        update_connector(ml_client, connector, changed)
    undeploy(ml_client, model)
    update_connector(ml_client, connector, changed)
    assert redeploy(ml_client, model).is_deployed
    predict_sparse(ml_client, model, ["fox"])
    assert remote.tokens[-1] == f"Bearer {TOKEN[::-1]}"

    with pytest.raises(MlCommonsError, match="undeploy or delete these models first"):
        delete_connector(ml_client, connector)
    for _ in range(2):  # the second time it is gone, which is success
        delete_model(ml_client, model)
        delete_connector(ml_client, connector)
    assert get_model(ml_client, model) is None
    with pytest.raises(MlCommonsError, match="find model group"):
        call(ml_client, "GET", f"/model_groups/{found.group}")
    assert get_connector(ml_client, connector) is None


def test_models_of_one_name_share_a_group_until_the_last(ml_client: OpenSearch, ml_name: str, remote: Encoder) -> None:
    """The group that came with them goes with the last one."""
    put_settings(ml_client, settings_for_connector(ml_client, remote.url))
    connector = create_connector(ml_client, connector_body(ml_name, remote.url))
    first, second = (register_remote(ml_client, ml_name, connector) for _ in range(2))
    group = find_models(ml_client, ml_name)[0].group
    delete_model(ml_client, first)
    assert call(ml_client, "GET", f"/model_groups/{group}")["name"] == ml_name
    delete_model(ml_client, second)
    with pytest.raises(MlCommonsError, match="find model group"):
        call(ml_client, "GET", f"/model_groups/{group}")


def test_an_encoder_that_answers_something_else_is_told_so(
    ml_client: OpenSearch, ml_name: str, remote: Encoder
) -> None:
    """A prediction is one map for each text, or an error that says what came."""
    model = deployed(ml_client, ml_name, remote.url)
    wrong: dict[str, Any] = {"1 for 2 texts": [{"a": 1.0}], r"\[\[1.0\]": [[1.0], [2.0]], "none": {"error": "none"}}
    for message, answer in wrong.items():
        remote.answer = lambda _texts, answer=answer: (200, answer)  # type: ignore[misc]
        with pytest.raises(MlCommonsError, match=message):
            predict_sparse(ml_client, model, ["a", "b"])
        with pytest.raises(MlCommonsError, match="vectors"):
            predict_dense(ml_client, model, ["a", "b"])


def test_a_package_travels_in_chunks(
    ml_client: OpenSearch, ml_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many chunks, the node puts them together again; its pieces are no models; without one it says so."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    package = pack(Bundle.open("splade-tiny-idf"), tmp_path / "q.zip")
    monkeypatch.setattr(ml_packages, "CHUNK", 400_000)
    sent: list[tuple[int, int]] = []
    model = register_local(
        ml_client, package.path, name=ml_name, function="SPARSE_TOKENIZE", progress=lambda *two: sent.append(two)
    )
    assert sent == [(1, 3), (2, 3), (3, 3)]
    [found] = find_models(ml_client, ml_name)
    assert (found.id, found.content_hash, found.function) == (model, package.sha256, "SPARSE_TOKENIZE")
    assert deploy(ml_client, model).is_deployed
    assert list(predict_sparse(ml_client, model, ["paris"], algorithm="sparse_tokenize")[0]) == ["paris"]


def test_a_failed_upload_leaves_no_model(
    ml_client: OpenSearch, ml_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be sent whole is taken back."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    path = tmp_path / "a.zip"
    path.write_bytes(b"abc" * 100)
    monkeypatch.setattr(ml_packages, "CHUNK", 100)

    def fail(sent: int, _all: int) -> None:
        if sent == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register_local(ml_client, path, name=ml_name, function="SPARSE_TOKENIZE", progress=fail)
    assert not find_models(ml_client, ml_name)
    with pytest.raises(ClusterError, match="cannot be read"):
        register_local(ml_client, tmp_path / "none.zip", name=ml_name, function="SPARSE_TOKENIZE")


def test_a_package_that_is_no_package_says_what_the_node_said(
    ml_client: OpenSearch, ml_name: str, tmp_path: Path
) -> None:
    """The text of the task's error reaches who deployed."""
    put_settings(ml_client, settings_for_local_models(ml_client))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("idf.json", orjson.dumps({"a": 1.0}))
    model = register_local(ml_client, tmp_path / "a.zip", name=ml_name, function="SPARSE_TOKENIZE")
    with pytest.raises(MlCommonsError, match=r"does not deploy the model .*tokenizer"):
        deploy(ml_client, model)


def test_waiting_ends(ml_client: OpenSearch, ml_name: str, remote: Encoder) -> None:
    """Patience is bounded, and the error says what the model was doing; what is not there is no use waiting for."""
    put_settings(ml_client, settings_for_connector(ml_client, remote.url))
    model = register_remote(ml_client, ml_name, create_connector(ml_client, connector_body(ml_name, remote.url)))
    with pytest.raises(ClusterError, match=r"within 0 s: it is REGISTERED.*wait longer"):
        wait_for_state(ml_client, model, "DEPLOYED", patience=0)
    with pytest.raises(MlCommonsError, match="no such model"):
        wait_for_state(ml_client, "none", "DEPLOYED")
    with pytest.raises(MlCommonsError, match="find task"):
        wait_for_task(ml_client, "none", "deploy nothing")


@pytest.mark.filterwarnings("ignore:this request accesses system indices")
def test_a_task_that_says_running_for_good_is_not_waited_for(
    ml_client: OpenSearch, ml_name: str, remote: Encoder
) -> None:
    """ML Commons' two writes of a task's state may come in the wrong order; here the late one is made by hand."""
    put_settings(ml_client, settings_for_connector(ml_client, remote.url))
    model = register_remote(ml_client, ml_name, create_connector(ml_client, connector_body(ml_name, remote.url)))
    task = call(ml_client, "POST", f"/models/{model}/_deploy")["task_id"]
    wait_for_state(ml_client, model, "DEPLOYED")
    wait_for_task(ml_client, task, "deploy it")
    late = {"doc": {"state": "RUNNING"}}
    ml_client.update(index=".plugins-ml-task", id=task, body=late, params={"refresh": "true"})
    with pytest.raises(ClusterError, match="is RUNNING"):
        wait_for_task(ml_client, task, "deploy it", patience=1)
    wait_for_deployment(ml_client, model, task, patience=1)


def test_a_server_without_ml_commons_or_without_anyone_is_told_so() -> None:
    """No traceback of the client's: what does not answer, and what there is not."""
    with connect("http://127.0.0.1:9") as nobody, pytest.raises(ClusterError, match="did not answer to: create"):
        create_connector(nobody, connector_body("x", "http://127.0.0.1:1/x"))


def test_hashes_are_those_of_the_file(tmp_path: Path) -> None:
    """``Package.sha256`` is what ML Commons compares with."""
    package = pack(Bundle.open("splade-tiny-idf"), tmp_path / "q.zip")
    assert hashlib.sha256(package.path.read_bytes()).hexdigest() == package.sha256
