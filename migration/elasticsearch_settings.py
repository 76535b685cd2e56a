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


def keeps_synthetic_source(source: SourceIndex) -> bool:
    """Whether documents are put together from fields when they are read."""
    mode = source.mappings.get("_source", {}).get("mode") or source.settings.get("mapping", {}).get("source", {}).get(
        "mode"
    )
    return str(mode or _DEFAULT_MODES.get(source.settings.get("mode", "standard"), "stored")).lower() != "stored"


_DEFAULT_MODES = {"time_series": "synthetic", "logsdb": "synthetic"}
