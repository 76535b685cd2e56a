"""Connectors: how the cluster calls an encoder outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import MlCommonsError
from opensearch_splade.plugin.ml_commons import call, is_missing

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

CONNECTIONS = 30
"""Calls at once that ML Commons makes by default of ours; the encoder's backlog must hold as many."""


def connector_body(
    name: str,
    url: str,
    *,
    token: str | None = None,
    description: str = "",
    connections: int = CONNECTIONS,
    timeout: float = 60.0,
) -> Json:
    """The body of a connector to an encoder that answers as ``osplade serve`` does.

    It sends ``{"input": [text, ...]}`` and takes a bare array of one map of token to weight for each text, in their
    order. No function processes either: what ML Commons does by default is right.

    Args:
        name: What it is found by.
        url: ``http(s)://host:port/path`` that texts are posted to, as the nodes reach it.
        token: Bearer token; kept in ``credential``, which the cluster encrypts and never gives back.
        description: For people.
        connections: Calls at once from each node.
        timeout: Seconds to wait for an answer.
    """
    # A credential is refused if it is missing, even where nothing reads it.
    credential, authorised = {"token": token or "unused"}, {"authorization": "Bearer ${credential.token}"}
    return {
        "name": name,
        "description": description or f"encoder at {url}",
        "version": "1",
        "protocol": "http",
        "parameters": {},
        "credential": credential,
        "actions": [
            {
                "action_type": "predict",
                "method": "POST",
                "url": url,
                "headers": {"content-type": "application/json", **(authorised if token else {})},
                "request_body": '{ "input": ${parameters.input} }',
                "pre_process_function": "connector.pre_process.default.embedding",
            }
        ],
        "client_config": {
            "max_connection": connections,
            "connection_timeout": 5000,
            "read_timeout": round(1000 * timeout),
            "max_retry_times": 2,
            "retry_backoff_policy": "constant",
            "retry_backoff_millis": 200,
        },
    }


def create_connector(client: OpenSearch, body: Json) -> str:
    """Creates a connector and gives its id. Names are not unique; see ``find_connectors``.

    Raises:
        MlCommonsError: Its address is not trusted (``ml_settings.settings_for_connector``), or it is refused.
        ClusterError: The cluster does not answer.
    """
    answer = call(client, "POST", "/connectors/_create", body, what=f"create the connector {body['name']!r}")
    return str(answer["connector_id"])


def get_connector(client: OpenSearch, connector_id: str) -> Json | None:
    """A connector as it is kept, without its credential; ``None`` if there is none.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    try:
        return call(client, "GET", f"/connectors/{connector_id}", what=f"read the connector {connector_id}")
    except MlCommonsError as error:
        if is_missing(error):
            return None
        raise


def update_connector(client: OpenSearch, connector_id: str, body: Json) -> None:
    """Changes a connector to this body. A model that is deployed by it must be undeployed first, then deployed again.

    Raises:
        MlCommonsError: It is refused, or a deployed model uses it.
        ClusterError: The cluster does not answer.
    """
    # Its protocol is fixed and refused even when it is the same.
    changed = {name: value for name, value in body.items() if name != "protocol"}
    call(client, "PUT", f"/connectors/{connector_id}", changed, what=f"update the connector {connector_id}")


def delete_connector(client: OpenSearch, connector_id: str) -> None:
    """Deletes a connector; one that is gone already is success.

    Raises:
        MlCommonsError: A model uses it.
        ClusterError: The cluster does not answer or refuses.
    """
    try:
        call(client, "DELETE", f"/connectors/{connector_id}", what=f"delete the connector {connector_id}")
    except MlCommonsError as error:
        if not is_missing(error):
            raise


def find_connectors(client: OpenSearch, name: str) -> dict[str, Json]:
    """Id to body of the connectors of exactly this name.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    body: Json = {"query": {"term": {"name.keyword": name}}, "size": 100}
    found = call(client, "POST", "/connectors/_search", body, what=f"look for the connector {name!r}")
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"] if hit["_source"].get("name") == name}
