"""Elasticsearch: an index of it, said in the words of OpenSearch, or refused with the reason.

The two were one until 7.10; each has had fields and settings of its own since. Documents come over whole in any case:
what has no field type of the same use is kept in them and not searched (``object``, not enabled), and told. Sources:
Elastic's reference, "Field data types", "Mapping parameters" and "Index modules" of 7.17, 8.19 and 9.2; of OpenSearch
what 3.6.0 was seen to accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.elasticsearch_settings import (
    has_old_semantic_text,
    known_settings,
    leaves_vectors_out,
    require_whole_documents,
)
from opensearch_splade.migration.elasticsearch_templates import said_singly
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.types import Capabilities, Json

_ROOT = {
    "_field_names",
    "_meta",
    "_routing",
    "_source",
    "date_detection",
    "dynamic",
    "dynamic_date_formats",
    "dynamic_templates",
    "numeric_detection",
    "properties",
    "subobjects",
}
"""What a mapping may hold beside fields; all else is Elasticsearch's own."""
_PARAMETERS = ("on_script_error", "script", "synthetic_source_keep", "time_series_dimension", "time_series_metric")
"""Parameters of fields that OpenSearch does not know."""
_PARAMETERS_OF = {
    "boolean": ("ignore_malformed",),
    "constant_keyword": ("meta",),
    "rank_feature": ("null_value",),
}
"""Those that it knows of other types only."""
_RENAMED = {"counted_keyword": "keyword", "flattened": "flat_object", "pattern_text": "match_only_text"}
_UNSEARCHED = (
    "dense_vector",
    "exponential_histogram",
    "histogram",
    "point",
    "rank_vectors",
    "shape",
    "sparse_vector",
    "tdigest",
)
_VECTORS = ("dense_vector", "rank_vectors", "sparse_vector")
_SPACES = {"cosine": "cosinesimil", "dot_product": "innerproduct", "l2_norm": "l2", "max_inner_product": "innerproduct"}
"""Similarity of a ``dense_vector`` to the space of a ``knn_vector``."""
_KNN = "opensearch-knn"


def translated(source: SourceIndex, number: str, spec: MigrationSpec, capabilities: Capabilities) -> SourceIndex:
    """The index in OpenSearch's words, with notes on what changed.

    Args:
        source: As Elasticsearch gives it.
        number: Its version, e.g. ``8.19.3``.
        spec: What is to become of it.
        capabilities: What the target's server can do.

    Raises:
        MigrationError: Documents or vectors would not come as they were written.
    """
    require_whole_documents(source, number)
    leaves_out = leaves_vectors_out(source.settings, number)
    if spec.vectors and leaves_out:
        raise MigrationError(
            f"index {source.name!r} leaves vectors out of _source (index.mapping.exclude_source_vectors, the default "
            f"from Elasticsearch 9.2), so {spec.vectors!r} cannot be read. Reindex it there into an index that has "
            "this setting at false and migrate that, or encode anew with way copy."
        )
    with_knn = _KNN in capabilities.plugins and spec.sparse_field == "rank_features" and not leaves_out
    words = _Translation(with_knn, has_old_semantic_text(source.settings), spec.drop)
    mappings = words.mapping(source.mappings)
    settings, lost = known_settings(source.settings)
    by = settings.get("sort", {}).get("field", [])
    if any(source.fields.get(path) == "unsigned_long" for path in ([by] if isinstance(by, str) else by)):
        del settings["sort"]
        lost = [*lost, f"index.sort left out: OpenSearch does not sort an index by unsigned_long ({by})"]
    if words.has_vectors:
        settings["knn"] = "true"
    if leaves_out and any(kind in _VECTORS for kind in source.fields.values()):
        lost = [*lost, "documents come without vectors (index.mapping.exclude_source_vectors): those stay behind"]
    return replace(source, mappings=mappings, settings=settings, notes=(*source.notes, *words.notes, *lost))


@dataclass
class _Translation:
    """One mapping.

    Attributes:
        with_knn: Whether ``knn_vector`` fields can be had.
        old_semantic_text: See ``has_old_semantic_text``.
        drop: Fields that stay behind anyway.
        notes: What changed.
        has_vectors: Whether there are ``knn_vector`` fields.
    """

    with_knn: bool
    old_semantic_text: bool
    drop: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    has_vectors: bool = False
    _objects: set[str] = field(default_factory=set)

    def mapping(self, mappings: Mapping[str, Any]) -> Json:
        """The whole."""
        for name in sorted(set(mappings) - _ROOT):
            self.notes.append(f"{name} is Elasticsearch's own: left out{_instead(name)}")
        found: Json = {name: deepcopy(value) for name, value in mappings.items() if name in _ROOT}
        found.get("_source", {}).pop("mode", None)
        if not found.get("_source", True):
            del found["_source"]
        self._object("", found)
        if "dynamic_templates" in found:
            found["dynamic_templates"] = self._templates(found["dynamic_templates"])
        self._drop_references(found.get("properties", {}))
        return found

    def _object(self, path: str, about: Json) -> None:
        """An object, or the root, in place."""
        is_flat = about.pop("subobjects", True) in (False, "false")
        if about.get("dynamic") == "runtime":
            about["dynamic"] = "false"
            self.notes.append(f"{path or 'the mapping'}: dynamic = runtime became false: new fields are not searched")
        properties = about.get("properties", {})
        for name, one in properties.items():
            whole = f"{path}.{name}" if path else name
            properties[name] = one if whole in self.drop else self._field(whole, one)
        if is_flat and (clash := next((name for name in sorted(properties) if _is_in_another(name, properties)), None)):
            self._keep_flat(path, clash, about)

    def _keep_flat(self, path: str, clash: str, about: Json) -> None:
        """A field beside those whose names go on from its own, which no object can have."""
        places = {f"{path}.{name}" if path else name: one for name, one in about["properties"].items()}
        objects = {place for place, one in places.items() if one.get("type", "object") in ("object", "nested")}
        if objects := objects - set(self.drop):
            raise MigrationError(
                f"{path or 'the mapping'} has a field {clash!r} and one that its name begins with (subobjects: false); "
                f"OpenSearch has no objects beside such names: leave {', '.join(sorted(objects))} behind with --drop."
            )
        about["disable_objects"] = True

    def _field(self, path: str, about: Json) -> Json:
        kind = about.get("type", "object")
        if dropped := [name for name in (*_PARAMETERS, *_PARAMETERS_OF.get(kind, ())) if name in about]:
            about = {name: value for name, value in about.items() if name not in dropped}
            self.notes.append(f"{path}: {', '.join(dropped)} left out")
        own: dict[str, Callable[[str, Json], Json]] = {
            "aggregate_metric_double": self._metrics,
            "constant_keyword": self._constant,
            "dense_vector": self._vector,
            "passthrough": self._passthrough,
            "semantic_text": self._semantic_text,
        }
        if kind in own:
            return own[kind](path, about)
        if kind in _UNSEARCHED:
            return self._unsearched(path, kind)
        if kind in ("object", "nested"):
            self._object(path, about)
        for name, one in about.get("fields", {}).items():
            about["fields"][name] = self._field(f"{path}.{name}", one)
        if kind in _RENAMED:
            self.notes.append(f"{path}: {kind} became {_RENAMED[kind]}")
            about = {"type": "flat_object"} if kind == "flattened" else about | {"type": _RENAMED[kind]}
        return about

    def _unsearched(self, path: str, kind: str) -> Json:
        self.notes.append(f"{path}: {kind} is kept in documents and not searched (--drop {path} leaves it behind)")
        self._objects.add(path)
        return {"type": "object", "enabled": False}

    def _vector(self, path: str, about: Json) -> Json:
        space = _SPACES.get(about.get("similarity", ""))
        is_plain = about.get("element_type", "float") == "float" and about.get("index", True) is not False
        if not (self.with_knn and space and is_plain and "dims" in about):
            return self._unsearched(path, "dense_vector")
        self.has_vectors = True
        self.notes.append(f"{path}: dense_vector became knn_vector; it is asked by knn queries of OpenSearch")
        method = {"name": "hnsw", "engine": "lucene", "space_type": space}
        return {"type": "knn_vector", "dimension": about["dims"], "method": method}

    def _semantic_text(self, path: str, about: Json) -> Json:
        text: Json = {"type": "text", **{name: about[name] for name in ("fields",) if name in about}}
        if not self.old_semantic_text:
            self.notes.append(f"{path}: semantic_text became text; its vectors, hidden beside documents, stay behind")
            return text
        self.notes.append(f"{path}: semantic_text became the object that documents hold: text at {path}.text")
        self._objects.add(path)
        return {"properties": {"text": text, "inference": {"type": "object", "enabled": False}}}

    def _metrics(self, path: str, about: Json) -> Json:
        self.notes.append(f"{path}: aggregate_metric_double became an object of numbers")
        self._objects.add(path)
        return {"properties": {metric: {"type": "double"} for metric in about["metrics"]}}

    def _constant(self, path: str, about: Json) -> Json:
        if "value" in about:
            return about
        self.notes.append(f"{path}: constant_keyword without a value became keyword")
        return {"type": "keyword"}

    def _passthrough(self, path: str, about: Json) -> Json:
        self.notes.append(f"{path}: passthrough became object: its fields are asked for by their whole names")
        about = {name: value for name, value in about.items() if name not in ("type", "priority")}
        self._object(path, about)
        return about

    def _templates(self, templates: list[Json]) -> list[Json]:
        for name, one in ((name, one) for entry in templates for name, one in entry.items()):
            one["mapping"] = self._field(f"dynamic template {name}", one.get("mapping", {}))
        singly, notes = said_singly(templates)
        self.notes.extend(notes)
        return singly

    def _drop_references(self, properties: Json) -> None:
        """Other names of what is an object now, and copies into it, cannot be had."""
        for name, about in list(properties.items()):
            if about.get("type") == "alias" and about.get("path") in self._objects:
                self.notes.append(f"{name}: left out, another name of {about['path']}, which is an object now")
                del properties[name]
                continue
            copied = about.get("copy_to", [])
            copied = [copied] if isinstance(copied, str) else copied
            if lost := [path for path in copied if path in self._objects]:
                self.notes.append(f"{name}: not copied to {', '.join(lost)}, which is an object now")
                about["copy_to"] = [path for path in copied if path not in lost]
            self._drop_references(about.get("properties", {}))


def _is_in_another(name: str, properties: Mapping[str, Any]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:place]) in properties for place in range(1, len(parts)))


def _instead(name: str) -> str:
    return " (derived fields of OpenSearch are like them)" if name == "runtime" else ""
