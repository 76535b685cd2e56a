"""Target: the new index, which is the old one with our fields beside its own.

Pure: mapping and settings in, the body of ``PUT {index}`` out.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from opensearch_splade.errors import MigrationError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.plugin.index import index_body
from opensearch_splade.types import Capabilities, Json

PREFIX = "osplade_"
"""Of our fields where the documents have some of those names."""
OUR_FIELDS = ("id", "encoded", "hash", "sparse", "dense", "passages", "static")

NOT_COPIED = {"uuid", "creation_date", "provided_name", "version", "resize", "routing", "history", "blocks", "frozen"}
"""Settings that are the old index' own affair; ``routing`` pins shards to nodes, ``blocks`` would stop the copying."""
AFTERWARDS = ("default_pipeline", "final_pipeline", "search.default_pipeline")
"""Settings that work on what users send: the new index gets them when it takes over, not while it is filled."""


def kept_meta(source: SourceIndex, spec: MigrationSpec) -> KeptMeta | None:
    """What the new index will say of the documents that it keeps; ``None`` where this package wrote them itself."""
    if source.meta and source.meta.kept is None:
        return None
    if source.meta and source.meta.kept and not (spec.texts or spec.title):
        return source.meta.kept
    texts, title = source.offered(spec.texts, spec.title)
    own = source.meta.name if source.meta else None
    theirs = set(source.mappings.get("properties", {})) - ({own(field) for field in OUR_FIELDS} if own else set())
    names = {field: f"{PREFIX}{field}" for field in OUR_FIELDS if field in theirs - set(spec.drop)}
    if clash := sorted(theirs & set(names.values())):
        raise MigrationError(f"index {source.name!r} has a field {clash[0]!r} of its own: it cannot be migrated so.")
    return KeptMeta(texts, title, names)


def target_body(source: SourceIndex, spec: MigrationSpec, meta: IndexMeta, capabilities: Capabilities) -> Json:
    """The body of ``PUT {target}``.

    Args:
        source: The index that is to move.
        spec: What is to become of it.
        meta: What the new index will say of itself.
        capabilities: What the target's server can do.

    Raises:
        CapabilityError: The server lacks a field type.
        MigrationError: Vectors of SEISMIC and kNN would meet in one index.
    """
    mappings = deepcopy(source.mappings)
    properties: dict[str, Any] = mappings.get("properties", {})
    for path in spec.drop:
        _drop(properties, path)
    if source.meta:
        for field in OUR_FIELDS:
            properties.pop(source.meta.name(field), None)
    ours = our_mapping(meta, capabilities)
    mappings["properties"] = properties | ours
    mappings["_meta"] = {**mappings.get("_meta", {}), **meta.to_json()}
    settings = _settings(source, spec)
    if meta.dense:
        settings["knn"] = "true"
    return {"settings": {"index": settings}, "mappings": mappings}


def _drop(properties: dict[str, Any], path: str) -> None:
    head, _, rest = path.partition(".")
    if path in properties:
        del properties[path]
    elif rest and (members := properties.get(head, {}).get("properties")):
        _drop(members, rest)


def our_mapping(meta: IndexMeta, capabilities: Capabilities) -> Json:
    """Our fields by the names that they have in the index."""
    whole = index_body(
        sparse=meta.sparse, dense=meta.dense, passages=meta.passages, added=meta.added, capabilities=capabilities
    )
    fields = whole["mappings"]["properties"]
    if meta.kept is None:
        return dict(fields)
    return {meta.name(field): fields[field] for field in OUR_FIELDS if field in fields}


def _settings(source: SourceIndex, spec: MigrationSpec) -> Json:
    settings: Json = {key: deepcopy(value) for key, value in source.settings.items() if key not in NOT_COPIED}
    for path in AFTERWARDS:
        take(settings, path)
    if spec.shards:
        settings["number_of_shards"] = spec.shards
    if spec.replicas is not None:
        settings.pop("auto_expand_replicas", None)
        settings["number_of_replicas"] = spec.replicas
    return settings


def afterwards(settings: Mapping[str, Any]) -> Json:
    """The settings of ``AFTERWARDS`` that an index has, as ``PUT {index}/_settings`` takes them."""
    found = {path: take(deepcopy(dict(settings)), path) for path in AFTERWARDS}
    return {f"index.{path}": value for path, value in found.items() if value is not None}


def take(settings: dict[str, Any], path: str) -> Any:
    """Takes a setting out, which stands flat or nested."""
    if path in settings:
        return settings.pop(path)
    head, _, rest = path.partition(".")
    inner = settings.get(head)
    return take(inner, rest) if rest and isinstance(inner, dict) else None
