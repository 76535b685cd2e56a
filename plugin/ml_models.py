"""Models of the cluster: found, registered by a connector, deployed, waited for, undeployed, deleted."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import MlCommonsError
from opensearch_splade.plugin.ml_commons import call, is_missing, refused
from opensearch_splade.plugin.ml_tasks import PATIENCE, PAUSE, require_time, wait_for_task

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

_GROUP_PATIENCE = 10.0

_OFF = frozenset({"REGISTERED", "UNDEPLOYED", "DEPLOY_FAILED"})
"""On no node. That a model was undeployed ML Commons' own housekeeping may take for a failure of its deployment."""

RemoteKind = Literal["sparse_encoding", "text_embedding"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the cluster keeps it.

    Attributes:
        id: Of the cluster's making.
        name: Not unique.
        function: ``REMOTE``, ``SPARSE_TOKENIZE``, ``SPARSE_ENCODING`` or ``TEXT_EMBEDDING``.
        state: Such as ``REGISTERED``, ``DEPLOYING``, ``DEPLOYED``, ``UNDEPLOYED``, ``DEPLOY_FAILED``.
        connector_id: Of remote models.
        content_hash: sha256 of the package, of local models.
        description: For people; ML Commons drops that of an uploaded package.
        config: ``model_config``.
        group: Id of its model group; models of one name have one.
    """

    id: str
    name: str
    function: str
    state: str
    connector_id: str | None = None
    content_hash: str | None = None
    description: str = ""
    config: Json = field(default_factory=dict)
    group: str | None = None

    @property
    def is_deployed(self) -> bool:
        """Whether every node that should have it has it."""
        return self.state == "DEPLOYED"

    @classmethod
    def read(cls, model_id: str, source: Json) -> Model:
        """From a model's document."""
        return cls(
            id=model_id,
            name=source.get("name", ""),
            function=source.get("algorithm") or source.get("function_name", ""),
            state=source.get("model_state", ""),
            connector_id=source.get("connector_id"),
            content_hash=source.get("model_content_hash_value"),
            description=source.get("description", ""),
            config=source.get("model_config") or {},
            group=source.get("model_group_id"),
        )


def get_model(client: OpenSearch, model_id: str) -> Model | None:
    """A model; ``None`` if there is none of this id.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    try:
        return Model.read(model_id, call(client, "GET", f"/models/{model_id}", what=f"read the model {model_id}"))
    except MlCommonsError as error:
        if is_missing(error):
            return None
        raise


def find_models(client: OpenSearch, name: str) -> list[Model]:
    """The models of exactly this name, the newest first.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    hits = [hit for hit in _models(client, "name.keyword", name) if hit["_source"].get("name") == name]
    hits.sort(key=lambda hit: hit["_source"].get("created_time", 0), reverse=True)
    return [Model.read(hit["_id"], hit["_source"]) for hit in hits]


def register_remote(
    client: OpenSearch,
    name: str,
    connector_id: str,
    *,
    kind: RemoteKind = "sparse_encoding",
    description: str = "",
    config: Json | None = None,
) -> str:
    """Registers a model that calls out by a connector, and gives its id. It is not deployed yet.

    Args:
        client: Connected to the cluster.
        name: What it is found by; not unique, so look with ``find_models`` first.
        connector_id: See ``ml_connectors``.
        kind: What it gives. A semantic field refuses a remote model that does not say.
        description: For people.
        config: More of ``model_config``; a dense model in a semantic field needs ``embedding_dimension``,
            ``framework_type``, ``additional_config`` with ``space_type``.

    Raises:
        MlCommonsError: It is refused.
        ClusterError: The cluster does not answer.
    """
    body: Json = {
        "name": name,
        "function_name": "remote",
        "description": description or name,
        "connector_id": connector_id,
        "model_config": {"model_type": kind, **(config or {})},
    }
    answer = call(client, "POST", "/models/_register", body, what=f"register the remote model {name!r}")
    return str(answer["model_id"])


def deploy(client: OpenSearch, model_id: str, *, patience: float = PATIENCE) -> Model:
    """Deploys a model and waits until it is; one that is deployed stays as it is.

    A node refuses while its heap is nearly full, garbage included, and takes the model a moment later; so it is asked
    again while there is patience.

    Raises:
        MlCommonsError: It is refused or fails; says what the nodes said.
        ClusterError: The cluster does not answer, or time is up.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return _deployed(client, model_id, patience)
        except MlCommonsError as error:
            if not error.reason.startswith("Memory Circuit Breaker") or time.monotonic() > deadline:
                raise
        time.sleep(5 * PAUSE)


def _deployed(client: OpenSearch, model_id: str, patience: float) -> Model:
    what = f"deploy the model {model_id}"
    answer = call(client, "POST", f"/models/{model_id}/_deploy", what=what)
    if task := answer.get("task_id"):
        wait_for_deployment(client, model_id, task, patience=patience)
    return wait_for_state(client, model_id, "DEPLOYED", patience=patience)


def wait_for_deployment(client: OpenSearch, model_id: str, task_id: str, *, patience: float = PATIENCE) -> None:
    """Waits for a deployment's task, which says why one fails, or for the model, which knows when one is done.

    ML Commons notes that nodes began in one write and that they ended in another, and does not order them: a remote
    model is deployed so fast that its task may say ``RUNNING`` for good.

    Args:
        client: Connected to the cluster.
        model_id: Of the model.
        task_id: As ``_deploy`` gave it.
        patience: Seconds.

    Raises:
        MlCommonsError: It failed, on one node at least; says what each said.
        ClusterError: The cluster does not answer, or time is up.
    """

    def deployed() -> bool:
        model = get_model(client, model_id)
        return model is not None and model.is_deployed

    wait_for_task(client, task_id, f"deploy the model {model_id}", patience=patience, or_else=deployed)


def undeploy(client: OpenSearch, model_id: str, *, patience: float = PATIENCE) -> None:
    """Takes a model off the nodes and waits until it is off; one that is gone or not deployed is success.

    ML Commons deploys it again by itself when a remote model is asked meanwhile.

    Raises:
        ClusterError: The cluster does not answer or refuses, or time is up.
    """
    model = get_model(client, model_id)
    if model is None or model.state in _OFF:
        return
    call(client, "POST", f"/models/{model_id}/_undeploy", what=f"undeploy the model {model_id}")
    wait_for_state(client, model_id, "UNDEPLOYED", patience=patience)


def redeploy(client: OpenSearch, model_id: str, *, patience: float = PATIENCE) -> Model:
    """Undeploys and deploys: what a changed connector or ``private_ip_enabled`` needs to be read.

    Raises:
        ClusterError: As ``undeploy`` and ``deploy``.
    """
    undeploy(client, model_id, patience=patience)
    return deploy(client, model_id, patience=patience)


def delete_model(client: OpenSearch, model_id: str, *, patience: float = PATIENCE) -> None:
    """Undeploys and deletes a model, and the group that ML Commons made for it; one that is gone already is success.

    Raises:
        ClusterError: The cluster does not answer or refuses, or time is up.
    """
    model = get_model(client, model_id)
    if model is None:
        return
    undeploy(client, model_id, patience=patience)
    try:
        call(client, "DELETE", f"/models/{model_id}", what=f"delete the model {model_id}")
    except MlCommonsError as error:
        if not is_missing(error):
            raise
    if model.group:
        _delete_group(client, model.group, model.name)


def _delete_group(client: OpenSearch, group: str, name: str) -> None:
    """Deletes a group that came with models of this name, with the last of them; an empty one that stays is no harm."""
    deadline = time.monotonic() + _GROUP_PATIENCE
    with suppress(MlCommonsError):
        while call(client, "GET", f"/model_groups/{group}")["name"] == name and not _models(
            client, "model_group_id", group
        ):
            try:
                call(client, "DELETE", f"/model_groups/{group}")
            except MlCommonsError:  # a package's pieces are deleted after the answer, and count as models until then
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)


def _models(client: OpenSearch, field: str, value: str) -> list[Json]:
    """Documents of models. The pieces of packages lie in the same index, with their model's name and group."""
    pieces = {"exists": {"field": "chunk_number"}}
    body: Json = {"query": {"bool": {"filter": {"term": {field: value}}, "must_not": pieces}}, "size": 100}
    hits: list[Json] = call(client, "POST", "/models/_search", body, what="look for models")["hits"]["hits"]
    return hits


def wait_for_state(client: OpenSearch, model_id: str, state: str, *, patience: float = PATIENCE) -> Model:
    """Waits until a model is in a state and gives it.

    Args:
        client: Connected to the cluster.
        model_id: Of the model.
        state: Such as ``DEPLOYED`` or ``UNDEPLOYED``; see ``Model.state``.
        patience: Seconds.

    Raises:
        MlCommonsError: The model is gone or its deployment failed.
        ClusterError: The cluster does not answer, or time is up.
    """
    deadline = time.monotonic() + patience
    what = f"bring the model {model_id} to {state}"
    while True:
        model = get_model(client, model_id)
        if model is None:
            raise refused(client, what, "there is no such model")
        if model.state == state or (state in _OFF and model.state in _OFF):
            return model
        if model.state == "DEPLOY_FAILED":
            raise refused(client, what, "its deployment failed")
        require_time(client, deadline, what, f"it is {model.state}", patience)
