"""Indices and index templates as the cluster takes them.

The mapping is the one that ``osplade ingest`` makes, and its ``_meta`` says which bundle's vectors it holds, so that
such an index and one that a client filled can stand in for one another.
"""

from __future__ import annotations

from opensearch_splade.errors import SpecError
from opensearch_splade.index_meta import CLUSTER, DenseMeta, IndexMeta, PassagesMeta, SparseMeta
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.plugin.analysis import Analysis
from opensearch_splade.plugin.index import index_body
from opensearch_splade.provisioning.bundles import Bundles
from opensearch_splade.provisioning.models import Ids, model_name
from opensearch_splade.provisioning.pipelines import pruning
from opensearch_splade.provisioning.spec import (
    DEFAULT_TEXTS,
    DEFAULT_TITLE,
    ClusterSpec,
    Index,
    Ingest,
    Semantic,
    Template,
)
from opensearch_splade.types import Capabilities, Json, Requirement

SEMANTIC = Requirement("a semantic field", (3, 2), "opensearch-neural-search")
EMBEDDING = "text_semantic_info.embedding"
"""Where the server keeps the vector of the semantic field ``text``."""


def index(spec: ClusterSpec, key: str, one: Index, bundles: Bundles, ids: Ids, capabilities: Capabilities) -> Json:
    """The body of ``PUT {index}``."""
    meta = _meta(spec, one, bundles)
    analysis = Analysis(one.analyzer)
    body = index_body(
        sparse=meta.sparse,
        dense=meta.dense,
        passages=meta.passages,
        analysis=analysis,
        shards=one.shards,
        replicas=one.replicas,
        capabilities=capabilities,
    )
    mappings, settings = body["mappings"], body["settings"]["index"]
    if one.replicas is not None:
        settings["auto_expand_replicas"] = "false"  # of an index that had none declared it would put the number back
    properties = mappings["properties"]
    if one.semantic:
        capabilities.require(SEMANTIC)
        properties = {name: properties[name] for name in ("id", "encoded", "metadata")}
        properties["text"] = _semantic(spec, one.semantic, ids)
        settings["neural_search.semantic_ingest_batch_size"] = one.semantic.batch_size
    elif meta.kept:
        properties = {name: field for name, field in properties.items() if name not in {"title", "text", "metadata"}}
        for field in meta.kept.spoken:
            _put(properties, field, {"type": "text", "analyzer": one.analyzer})
    for name, field in one.properties.items():
        if name in {"id", "encoded", "sparse", "dense", "passages", "hash"}:
            raise SpecError(f"indices.{key}.properties: {name!r} is made by the pipeline; call yours otherwise")
        properties[name] = field
    pipeline = one.ingest or _semantic_key(key)
    settings["default_pipeline"] = spec.called(pipeline)
    if one.search:
        settings["search.default_pipeline"] = spec.called(one.search)
    how = {"owner": spec.name, "encoded_by": "semantic" if one.semantic else "pipeline"}
    mappings |= {"dynamic": one.dynamic, "properties": properties, "_meta": {**meta.to_json(), CLUSTER: how}}
    return body


def template(
    spec: ClusterSpec, key: str, one: Template, bundles: Bundles, ids: Ids, capabilities: Capabilities
) -> Json:
    """The body of ``PUT _index_template/{name}``."""
    body = index(spec, key, one, bundles, ids, capabilities)
    body["mappings"]["_meta"][CLUSTER]["by_template"] = key
    return {
        "index_patterns": list(one.patterns),
        "priority": one.priority,
        "_meta": {CLUSTER: {"owner": spec.name}},
        "template": body,
    }


def semantic_pipelines(spec: ClusterSpec) -> dict[str, str]:
    """Key of each pipeline that a semantic field needs, and the model whose fingerprint it writes."""
    return {_semantic_key(key): one.semantic.model for key, one in spec.shaped.items() if one.semantic}


def _semantic_key(key: str) -> str:
    return f"{key}-semantic"


def _meta(spec: ClusterSpec, one: Index, bundles: Bundles) -> IndexMeta:
    if one.semantic:
        sparse = _sparse(bundles, one.semantic.model, one.semantic.prune)
        return IndexMeta(sparse=sparse, kept=KeptMeta(("text",), names={"sparse": EMBEDDING}))
    ingest = spec.ingest[one.ingest or ""]
    return IndexMeta(
        sparse=_sparse(bundles, ingest.sparse, ingest.prune) if ingest.sparse else None,
        dense=_dense(bundles, ingest.dense) if ingest.dense else None,
        passages=_passages(ingest),
        kept=_kept(ingest),
    )


def _sparse(bundles: Bundles, key: str, prune: str) -> SparseMeta:
    manifest = bundles[key].manifest
    return SparseMeta(manifest.fingerprint, manifest.name, manifest.kind, prune)


def _dense(bundles: Bundles, key: str) -> DenseMeta:
    manifest = bundles[key].manifest
    return DenseMeta(manifest.fingerprint, manifest.name, manifest.dimension)


def _passages(ingest: Ingest) -> PassagesMeta | None:
    chunks = ingest.chunks
    if chunks is None:
        return None
    return PassagesMeta(rule=f"text_chunking:{chunks.words}:{chunks.overlap:g}:{chunks.most}", store="nested")


def _kept(ingest: Ingest) -> KeptMeta | None:
    """Of documents with other fields than ours."""
    if (ingest.title, ingest.texts) == (DEFAULT_TITLE, DEFAULT_TEXTS):
        return None
    return KeptMeta(tuple(ingest.texts), ingest.title)


def _put(properties: Json, path: str, field: Json) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        properties.setdefault(head, field)
    else:
        _put(properties.setdefault(head, {"properties": {}}).setdefault("properties", {}), rest, field)


def _semantic(spec: ClusterSpec, one: Semantic, ids: Ids) -> Json:
    return {
        "type": "semantic",
        "raw_field_type": "text",
        "model_id": ids[model_name(spec, one.model, "documents")],
        "search_model_id": ids[model_name(spec, one.search_model or one.model, "queries")],
        # Said in any case: without it the server prunes by max_ratio 0.1.
        "sparse_encoding_config": pruning(one.prune) or {"prune_type": "none"},
    }
