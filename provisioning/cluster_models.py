"""Models of the cluster and those that are wanted: found, compared, made, deleted.

A model is never changed. One that is to be otherwise is made beside the old one, deployed and verified; then pipelines
are pointed to it, and the old one goes. So nobody who writes or asks meanwhile meets a model that is away.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.errors import SpecError
from opensearch_splade.onnx_models.ml_commons_package import Package, What, pack
from opensearch_splade.plugin.ml_commons import call
from opensearch_splade.plugin.ml_connectors import create_connector, delete_connector, get_connector
from opensearch_splade.plugin.ml_models import Model, delete_model, get_model, register_remote
from opensearch_splade.plugin.ml_packages import register_local
from opensearch_splade.provisioning.comparing import NOTHING, Difference, differences
from opensearch_splade.provisioning.models import WantedModel, prefix
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_COMPARED = ("name", "description", "protocol", "parameters", "actions", "client_config")
"""Of a connector; its credential never comes back."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model of an owner as the cluster has it.

    Attributes:
        model: By ML Commons.
        connector: Of a remote one; ``None`` if it is gone.
    """

    model: Model
    connector: Json | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """All of ML Commons that is an owner's.

    Attributes:
        models: By name, the newest first.
        connectors: Id to name of those that no model uses, as a killed run leaves them.
    """

    models: dict[str, list[Found]]
    connectors: dict[str, str]


def owned(client: OpenSearch, owner: str) -> Owned:
    """Finds them by their names.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    begins = prefix(owner)
    models: dict[str, list[Found]] = {}
    connectors = {key: one["name"] for key, one in _named(client, "connectors", begins).items()}
    for key, source in _named(client, "models", begins).items():
        # The index of models is behind by a refresh; what a model is now, it says itself.
        model = get_model(client, key)
        if model is None:
            continue
        connector = get_connector(client, model.connector_id) if model.connector_id else None
        connectors.pop(model.connector_id or "", None)
        models.setdefault(source["name"], []).append(Found(model, connector))
    return Owned(models, connectors)


def model_differences(found: Found, wanted: WantedModel) -> list[Difference]:
    """Where a model, or the connector it calls by, is otherwise than wanted."""
    model = found.model
    if not wanted.is_remote:
        local = {"function": model.function, "content_hash": model.content_hash or ""}
        return list(differences(local, {"function": wanted.function, "content_hash": package_hash(wanted)}))
    if model.function.upper() != "REMOTE" or found.connector is None:
        return [Difference(("connector",), NOTHING, wanted.url)]
    # Whether there is a token is seen; which one is not.
    body = wanted.connector("unseen" if wanted.declared.token_env else None)
    has: Json = {name: found.connector.get(name, {}) for name in _COMPARED}
    has["actions"] = [{**one, "action_type": one.get("action_type", "").lower()} for one in has["actions"]]
    wants = {name: body[name] for name in _COMPARED}
    found_config = {"model_type": model.config.get("model_type")}
    return [
        *differences(has, wants, whole=False, parts=("connector",)),  # the server adds defaults of its own
        *differences(_headers(has), _headers(wants), parts=("connector", "headers")),
        *differences(found_config, {"model_type": wanted.kind}, whole=False, parts=("model_config",)),
    ]


def _headers(connector: Json) -> list[str]:
    """Names of the headers that it sends."""
    return sorted(name for action in connector["actions"] for name in action.get("headers") or {})


def make(client: OpenSearch, wanted: WantedModel, done: Callable[[str, Callable[[], None]], None]) -> str:
    """Registers a model, with its connector; gives its id. It is not deployed yet.

    Args:
        client: Connected to the cluster.
        wanted: What it must be.
        done: Told of each thing made, with what unmakes it.

    Raises:
        SpecError: The token that it needs is not in the environment.
        ClusterError: The cluster does not answer or refuses.
    """
    if not wanted.is_remote:
        with tempfile.TemporaryDirectory(prefix="osplade-") as folder:
            package = _packed(wanted, folder)
            model = register_local(
                client, package.path, name=wanted.name, function=package.function, config=package.config or None
            )
    else:
        connector = create_connector(client, wanted.connector(token(wanted)))
        done(f"connector {wanted.name}", lambda: delete_connector(client, connector))
        model = register_remote(
            client,
            wanted.name,
            connector,
            kind=wanted.kind,
            description=wanted.description,
            config=wanted.config,
        )
    done(f"model {wanted.name}", lambda: delete_model(client, model))
    return model


def unmake(client: OpenSearch, found: Found) -> None:
    """Deletes a model and its connector.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    delete_model(client, found.model.id)
    if found.model.connector_id:
        delete_connector(client, found.model.connector_id)


def token(wanted: WantedModel) -> str | None:
    """The endpoint's token from the environment, if one is declared.

    Raises:
        SpecError: It is declared and not there.
    """
    name = wanted.declared.token_env
    if name and not os.environ.get(name):
        raise SpecError(f"models.{wanted.key}: the environment has no {name}, which holds the endpoint's token")
    return os.environ.get(name) if name else None


@cache
def package_hash(wanted: WantedModel) -> str:
    """sha256 of the package, which is the same whenever it is made."""
    with tempfile.TemporaryDirectory(prefix="osplade-") as folder:
        return _packed(wanted, folder).sha256


def _packed(wanted: WantedModel, folder: str) -> Package:
    what: What = "queries" if wanted.declared.in_cluster == "tokenizer" else "dense" if wanted.is_dense else "documents"
    return pack(wanted.bundle, Path(folder) / "package.zip", what)


def search(client: OpenSearch, what: str, query: Json) -> dict[str, Json]:
    """Id to body of connectors or models that match, the newest first.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    newest = {"created_time": {"order": "desc", "unmapped_type": "date"}}
    body: Json = {"query": query, "size": 1000, "sort": [newest]}
    found = call(client, "POST", f"/{what}/_search", body, what=f"look for {what}")
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


def _named(client: OpenSearch, what: str, begins: str) -> dict[str, Json]:
    query: Json = {"filter": {"prefix": {"name.keyword": begins}}, "must_not": {"exists": {"field": "chunk_number"}}}
    found = search(client, what, {"bool": query})
    return {key: source for key, source in found.items() if source["name"].startswith(begins)}
