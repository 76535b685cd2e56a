"""What tests of ML Commons leave: nothing."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch

from opensearch_splade.plugin.ml_commons import call
from opensearch_splade.plugin.ml_connectors import delete_connector
from opensearch_splade.plugin.ml_models import delete_model

HEAP = "plugins.ml_commons.jvm_heap_memory_threshold"


@contextmanager
def alone() -> Iterator[None]:
    """Cluster settings and the models of a node belong to one process of a run at a time."""
    with Path(os.environ["OSPLADE_TEST_RUN"], "ml.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def own_models(client: OpenSearch) -> Iterator[str]:
    """A name no other test has. Models and connectors that begin with it are deleted, settings are put back."""
    with alone():
        before = _settings(client)
        client.cluster.put_settings(body={"persistent": {HEAP: 100}})  # the heap of tests is small, and full of garbage
        prefix = f"test-{uuid.uuid4().hex[:12]}"
        yield prefix
        _delete(client, prefix)
        now = _settings(client)
        for scope, kept in before.items():
            changed = {name: kept.get(name) for name in kept | now[scope] if kept.get(name) != now[scope].get(name)}
            if changed:
                client.cluster.put_settings(body={scope: changed})


def _delete(client: OpenSearch, prefix: str) -> None:
    for kind, delete in (("models", delete_model), ("connectors", delete_connector)):
        query = {"query": {"prefix": {"name.keyword": prefix}}, "size": 100, "_source": ["name", "chunk_number"]}
        for hit in call(client, "POST", f"/{kind}/_search", query)["hits"]["hits"]:
            if "chunk_number" not in hit["_source"]:
                delete(client, hit["_id"])


def _settings(client: OpenSearch) -> dict[str, dict[str, Any]]:
    """The settings of ML Commons that somebody has put, by scope and name."""
    found = client.cluster.get_settings(params={"flat_settings": "true"})
    scopes = ("persistent", "transient")
    return {scope: {name: value for name, value in found[scope].items() if ".ml_commons." in name} for scope in scopes}
