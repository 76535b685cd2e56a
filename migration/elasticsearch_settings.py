"""Settings of an Elasticsearch index: those that OpenSearch knows by the same name, and how documents are kept."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.target import NOT_COPIED
from opensearch_splade.types import Json

_KNOWN = {
    "analysis",
    "analyze.max_token_count",
    "auto_expand_replicas",
    "codec",
    "gc_deletes",
    "hidden",
    "highlight.max_analyzed_offset",
    "indexing.slowlog.level",
    "indexing.slowlog.reformat",
    "indexing.slowlog.source",
    "indexing.slowlog.threshold",
    "load_fixed_bitset_filters_eagerly",
    "mapping.coerce",
    "mapping.depth.limit",
    "mapping.field_name_length.limit",
    "mapping.ignore_malformed",
    "mapping.nested_fields.limit",
    "mapping.nested_objects.limit",
    "mapping.total_fields.limit",
    "max_docvalue_fields_search",
    "max_inner_result_window",
    "max_ngram_diff",
    "max_refresh_listeners",
    "max_regex_length",
    "max_rescore_window",
    "max_result_window",
    "max_script_fields",
    "max_shingle_diff",
    "max_slices_per_scroll",
    "max_terms_count",
    "merge.policy.deletes_pct_allowed",
    "merge.policy.expunge_deletes_allowed",
    "merge.policy.floor_segment",
    "merge.policy.max_merge_at_once",
    "merge.policy.max_merged_segment",
    "merge.policy.segments_per_tier",
    "merge.scheduler",
    "number_of_replicas",
    "number_of_routing_shards",
    "number_of_shards",
    "priority",
    "query.default_field",
    "query.parse.allow_unmapped_fields",
    "query_string.lenient",
    "refresh_interval",
    "requests.cache.enable",
    "routing_partition_size",
    "search.idle.after",
    "search.slowlog.level",
    "search.slowlog.threshold",
    "similarity",
    "soft_deletes.retention.operations",
    "soft_deletes.retention_lease.period",
    "sort",
    "translog.durability",
    "translog.flush_threshold_size",
    "translog.sync_interval",
    "unassigned.node_left.delayed_timeout",
    "warmer.enabled",
    "write.wait_for_active_shards",
}
"""With all that is below them. Each was seen to be accepted by OpenSearch 3.6.0."""
_CODECS = ("default", "best_compression")


def known_settings(settings: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """What OpenSearch knows of settings, and notes on what it does not.

    Raises:
        MigrationError: An analyzer takes its synonyms from the other cluster.
    """
    _require_own_synonyms(settings.get("analysis", {}))
    lost: list[str] = []
    found = _known(settings, "", lost)
    if found.get("codec", "default") not in _CODECS:
        lost.append(f"codec = {found.pop('codec')}")
    return found, [f"settings of Elasticsearch left out: {', '.join(sorted(lost))}"] if lost else []


def _known(settings: Mapping[str, Any], path: str, lost: list[str]) -> Json:
    found: Json = {}
    for name, value in settings.items():
        here = f"{path}{name}"
        if here in _KNOWN or here in NOT_COPIED:
            found[name] = deepcopy(value)
        elif isinstance(value, dict) and any(known.startswith(f"{here}.") for known in _KNOWN):
            if inner := _known(value, f"{here}.", lost):
                found[name] = inner
        else:
            lost.append(here)
    return found


def _require_own_synonyms(analysis: Mapping[str, Any]) -> None:
    for name, about in analysis.get("filter", {}).items():
        if "synonyms_set" in about:
            raise MigrationError(
                f"the token filter {name!r} takes its synonyms from the set {about['synonyms_set']!r} of the other "
                "cluster, which OpenSearch does not know. Reindex it there into an index with the synonyms in the "
                "filter itself, and migrate that."
            )


def require_whole_documents(source: SourceIndex, number: str) -> None:
    """Refuses an index whose documents cannot be read as they were written, or not in order.

    Args:
        source: As Elasticsearch gives it.
        number: Its server's version.

    Raises:
        MigrationError: Says what it lacks and how it is had.
    """
    if _has_synthetic_source(source):
        raise MigrationError(
            f"index {source.name!r} keeps no documents but puts their _source together from fields (synthetic), so "
            "that order, numbers and duplicates are not what was written. Reindex it there into an index with "
            "index.mapping.source.mode: stored, and migrate that."
        )
    if _has_no_numbers(source.settings, number):
        raise MigrationError(
            f"index {source.name!r} has no sequence numbers to read it by (index.disable_sequence_numbers). Reindex it "
            "there into an index that has this setting at false, and migrate that."
        )


def _has_synthetic_source(source: SourceIndex) -> bool:
    """As mapping or settings say, else by the index' mode: those for logs, metrics and columns put it together."""
    said = source.mappings.get("_source", {}).get("mode")
    said = said or source.settings.get("mapping", {}).get("source", {}).get("mode")
    if said is None:
        return source.settings.get("mode", "standard") not in _MODES_OF_DOCUMENTS
    return str(said).lower() != "stored"


_MODES_OF_DOCUMENTS = ("standard", "lookup")


def _has_no_numbers(settings: Mapping[str, Any], number: str) -> bool:
    """As it says, else by default: from 9.4 on time series and columns have none."""
    said = settings.get("disable_sequence_numbers")
    if said is not None:
        return str(said) == "true"
    return _version(number) >= (9, 4) and settings.get("mode", "standard") not in (*_MODES_OF_DOCUMENTS, "logsdb")


def leaves_vectors_out(settings: Mapping[str, Any], number: str) -> bool:
    """As it says, else by default: on from 9.2 for indices that were made then; those made before 9.0 are surely not.

    Elasticsearch, pull request 131907.
    """
    said = settings.get("mapping", {}).get("exclude_source_vectors")
    if said is not None:
        return str(said) == "true"
    return _version(number) >= (9, 2) and _made_by(settings) >= 9_000_000


def has_old_semantic_text(settings: Mapping[str, Any]) -> bool:
    """Whether ``semantic_text`` fields write their chunks into documents, as they did before 8.18.

    Elasticsearch, ``InferenceMetadataFieldsMapper.isEnabled``.
    """
    said = settings.get("mapping", {}).get("semantic_text", {}).get("use_legacy_format")
    if said is not None:
        return str(said) == "true"
    made_by = _made_by(settings)
    return made_by < 8_524_000 or 9_000_000 <= made_by < 9_007_000


def _version(number: str) -> tuple[int, int]:
    major, minor = number.split(".")[:2]
    return int(major), int(minor)


def _made_by(settings: Mapping[str, Any]) -> int:
    """The index version: 7_17_22_99 and the like, from 8.11 on a number of its own that begins with the major one."""
    return int(settings.get("version", {}).get("created", 0))
