"""Surroundings: what else in the clusters touches an old or a new index: names, templates, policies."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from opensearch_splade.migration.finding import Finding, note, stop, warn
from opensearch_splade.migration.history import OURS
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.rehearsal import left_over
from opensearch_splade.migration.state import State
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_MANAGEMENT = "opensearch-index-management"


def surroundings(job: Job) -> Iterator[Finding]:
    """Everything that has to be asked for.

    Raises:
        ClusterError: A cluster does not answer or refuses.
    """
    if not job.in_place:
        yield from _name(job)
        yield from _templates(job.client, job.spec.target)
    for index in left_over(job):
        yield note(f"{index!r} was left by a plan that was killed", f"DELETE {index}")
    if _MANAGEMENT in job.capabilities.plugins:
        yield from _management(job)


def _name(job: Job) -> Iterator[Finding]:
    target = job.spec.target
    with asking(target):
        found = job.client.indices.get(index=target, ignore_unavailable=True)
    if not found:
        return
    ledgers = [
        one["mappings"].get("_meta", {}).get("opensearch_splade", {}).get("ledger", {}).get("name")
        for one in found.values()
    ]
    is_begun = (job.folder / "migration.json").exists()
    if is_begun and ledgers == [State.open(job.folder).record.ledger_name]:
        yield note(f"the new index {target!r} is there: the migration was begun")
    else:
        yield stop(
            f"an index or alias {target!r} is there already", "name another target, or delete it if nobody needs it"
        )


def _templates(client: OpenSearch, target: str) -> Iterator[Finding]:
    with asking(target):
        composable = client.indices.get_index_template()["index_templates"]
        legacy = client.indices.get_template()
    remedy = "name another target, or see that it leaves our fields and settings as they are"
    for one in composable:
        about = one["index_template"]
        if _matches(target, about["index_patterns"]):
            if "data_stream" in about:
                yield stop(f"the template {one['name']!r} makes {target!r} a data stream", "name another target")
            else:
                yield warn(f"the template {one['name']!r} applies to {target!r} and adds what it says to it", remedy)
    for name, about in legacy.items():
        if _matches(target, about["index_patterns"]):
            yield warn(f"the template {name!r} applies to {target!r} and adds what it says to it", remedy)


def routed(job: Job) -> Iterator[Finding]:
    """Whether documents have a routing of their own.

    Raises:
        ClusterError: The source's cluster does not answer or refuses.
    """
    body: Json = {"size": 0, "query": {"exists": {"field": "_routing"}}, "track_total_hits": True, "stats": [OURS]}
    with asking(job.source.name):
        found = job.source_client.search(index=job.source.name, body=body)["hits"]["total"]["value"]
    if found:
        yield note(f"{found:,} documents have a routing of their own, which they keep")


def _management(job: Job) -> Iterator[Finding]:
    from opensearchpy.exceptions import OpenSearchException

    try:
        ask = job.client.transport.perform_request
        explained = ask("GET", f"/_plugins/_ism/explain/{job.source.name}")
        policies = ask("GET", "/_plugins/_ism/policies", params={"size": 1000})
    except OpenSearchException as error:
        yield note(f"policies of index state management could not be read ({type(error).__name__})")
        return
    yield from policies_found(job.source.name, job.spec.target, explained, policies)


def policies_found(source: str, target: str, explained: Json, policies: Json) -> Iterator[Finding]:
    """Policies of index state management that touch either index.

    Args:
        source: The old index.
        target: The new one.
        explained: Answer of ``GET _plugins/_ism/explain/{source}``.
        policies: Answer of ``GET _plugins/_ism/policies``.
    """
    about = explained.get(source, {})
    if policy := about.get("policy_id") or about.get("index.plugins.index_state_management.policy_id"):
        yield warn(
            f"the policy {policy!r} manages {source!r}: it may roll it over, shrink or delete it meanwhile; the new "
            "index is not managed",
            f"take it away until cutover (POST _plugins/_ism/remove/{source}), and add it to the new index then",
        )
    for one in policies.get("policies", []):
        for template in one.get("policy", {}).get("ism_template") or []:
            if _matches(target, template.get("index_patterns", [])):
                yield warn(f"the policy {one['_id']!r} will manage {target!r} by its name", "see that this is wanted")


def _matches(name: str, patterns: Any) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))
