"""Surroundings: what else in the clusters touches an old or a new index: names, templates, policies."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from opensearch_splade.migration.finding import Finding, few, many, note, stop, warn
from opensearch_splade.migration.history import OURS
from opensearch_splade.migration.index_traps import flat
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
    found = [one for one in composable if _matches(target, one["index_template"]["index_patterns"])]
    if not found:
        for name, about in legacy.items():
            if _matches(target, about["index_patterns"]):
                yield from _template(name, about, target)
        return
    chosen = max(found, key=lambda one: one["index_template"].get("priority") or 0)  # older kinds count no more then
    if "data_stream" in chosen["index_template"]:
        yield stop(f"the template {chosen['name']!r} makes {target!r} a data stream", "name another target")
        return
    with asking(target):  # with what its component templates say
        whole = client.indices.simulate_index_template(name=target)
    yield from _template(chosen["name"], whole.get("template", {}), target)


def _template(name: str, said: Json, target: str) -> Iterator[Finding]:
    if aliases := sorted(said.get("aliases", {})):
        yield stop(
            f"the template {name!r} puts {target!r} behind the alias {few(aliases)} as soon as it is made: who asks "
            "that alias would see a half-filled index beside the old one",
            "name another target, or take the alias out of the template until cutover",
        )
    fields = [f"the field {field}" for field in said.get("mappings", {}).get("properties", {})]
    if added := [*flat(said.get("settings", {})), *fields]:
        yield warn(
            f"the template {name!r} applies to {target!r} and adds {few(added)}, unless the old index says otherwise",
            "see that this is wanted, or name another target",
        )


def routed(job: Job) -> Iterator[Finding]:
    """Whether documents have a routing of their own.

    Raises:
        ClusterError: The source's cluster does not answer or refuses.
    """
    body: Json = {"size": 0, "query": {"exists": {"field": "_routing"}}, "track_total_hits": True, "stats": [OURS]}
    with asking(job.source.name):
        found = job.source_client.search(index=job.source.name, body=body)["hits"]["total"]["value"]
    if found:
        theirs, keep = ("its", "it keeps") if found == 1 else ("their", "they keep")
        yield note(f"{many(found, 'document')} with a routing of {theirs} own, which {keep}")


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
