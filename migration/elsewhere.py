"""Elsewhere: what an index of another cluster brings along that has no meaning in the new one.

Pure: an index and what its server says of itself in, the same index as the new cluster can have it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.elasticsearch import translated
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.migration.target import AFTERWARDS, take
from opensearch_splade.types import Capabilities, Json

_OF_THE_CLUSTER = (
    "allocation.existing_shards_allocator",
    "opendistro",
    "plugins",
    "remote_store",
    "search.throttled",
    "store.hybrid",
    "store.snapshot",
)
"""Settings that other nodes, other plugins or (``store.hybrid``) versions before 3.0 give a meaning to."""


def brought(
    source: SourceIndex, version: Mapping[str, Any], spec: MigrationSpec, capabilities: Capabilities
) -> SourceIndex:
    """The index as the new cluster can have it, with notes on what it cannot have.

    Args:
        source: As its cluster gives it.
        version: What ``GET /`` of its cluster says below ``version``.
        spec: What is to become of it.
        capabilities: What the target's server can do.

    Raises:
        MigrationError: It cannot be read, or documents would not come whole.
    """
    settings: Json = deepcopy(source.settings)
    pipelines = {path: take(settings, path) for path in AFTERWARDS}
    notes = [
        f"{path} = {name!r} names a pipeline of the other cluster: make it on the new one, then set it there"
        for path, name in pipelines.items()
        if name and name != "_none"
    ]
    source = replace(source, settings=settings, notes=tuple(notes))
    if version.get("distribution") != "opensearch":
        _require_readable(source, version)
        return translated(source, str(version["number"]), spec, capabilities)
    taken = [path for path in _OF_THE_CLUSTER if take(settings, path) is not None]
    notes += [f"the setting {path} belongs to the other cluster: left out" for path in taken]
    return replace(source, notes=tuple(notes))


def _require_readable(source: SourceIndex, version: Mapping[str, Any]) -> None:
    if version.get("build_flavor") == "serverless":
        raise MigrationError(
            f"index {source.name!r} is on Elasticsearch Serverless, which has no shards to read one after the other: "
            "take its documents once with `osplade ingest index:URL/NAME`."
        )
    if int(str(version["number"]).partition(".")[0]) < 7:
        raise MigrationError(
            f"index {source.name!r} is on Elasticsearch {version['number']}, whose mappings have types and whose "
            "shards have no history to read by: from 7.0 on it can be followed. Take its documents once with "
            "`osplade ingest index:URL/NAME`."
        )
