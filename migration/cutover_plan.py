"""Cutover plan: what will change, or the reason why not now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from opensearch_splade.errors import LedgerError, MigrationError
from opensearch_splade.ingest.ledger import Entry, Ledger
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.order import may_cut_over
from opensearch_splade.migration.switch import Switch, aliases_of, exists
from opensearch_splade.migration.target import afterwards
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator says.

    Attributes:
        take_name: The old index' own name is to lead to the new one.
        aliases: To be made on the target's cluster, where the source is on another one.
        without_verify: Nothing need be proved before.
        accept_dead_letters: Documents that the new index refused may be missing.
    """

    take_name: bool = False
    aliases: tuple[str, ...] = ()
    without_verify: bool = False
    accept_dead_letters: bool = False


@dataclass(frozen=True, slots=True)
class CutoverPlan:
    """What will change.

    Attributes:
        switch: Where names will lead.
        blocks: Whether the old index refuses writes while the last of it is brought over, and stays so.
        settings: What the new index gets just before.
        told: What else one should know.
    """

    switch: Switch
    blocks: bool
    settings: Json
    told: tuple[str, ...]

    @property
    def steps(self) -> list[str]:
        """In their order, in words."""
        switch = self.switch
        first = (
            f"{switch.old} refuses writes (searches go on)" if self.blocks else f"{switch.old} is written to as ever"
        )
        steps = [first, f"the last changes are brought over to {switch.new} and counted"]
        if self.settings:
            steps.append(f"{switch.new} gets {', '.join(f'{key}={value}' for key, value in self.settings.items())}")
        if switch.clone:
            steps.append(f"{switch.old} is cloned to {switch.clone} (hard links, no second copy on the disk)")
        steps.append(
            f"in one call, {', '.join(switch.served)} lead{'' if len(switch.served) > 1 else 's'} to {switch.new}"
        )
        stays = ", read-only" if self.blocks else ""
        return [*steps, f"{switch.kept} stays{stays}, as the way back: osplade migrate rollback"]

    def to_json(self) -> Json:
        """For machines."""
        return {"switch": self.switch.to_json(), "steps": self.steps, "told": list(self.told)}


def cutover_plan(job: Job, choices: Choices) -> CutoverPlan:
    """Looks and changes nothing.

    Raises:
        MigrationError: It is not the time for it, or readers cannot be led over; says what to do first.
        ClusterError: A cluster does not answer or refuses.
    """
    if job.in_place:
        raise MigrationError("in place the index is the same before and after: there is nothing to cut over.")
    may_cut_over(job.state, without_verify=choices.without_verify)
    switch = _switch(job, choices)
    if not choices.accept_dead_letters and (dead := unwritten(job, partial(_known, job))):
        raise MigrationError(
            f"{len(dead)} documents of {switch.old!r} are not in the new index (e.g. {sorted(dead)[0]!r}): see "
            f"{job.state.dead_letters}, mend them and run again, or do without them with --accept-dead-letters."
        )
    settings = _settings(job)
    told = (
        *_told_of_name(switch),
        *_told_of_writes(job),
        *_told_of_templates(job.client, switch.new),
        *_told_of_ism(job, switch),
    )
    return CutoverPlan(switch, job.spec.last_round == "write-block", settings, told)


def _switch(job: Job, choices: Choices) -> Switch:
    old, new = job.source.name, job.spec.target
    if job.spec.is_elsewhere:
        return Switch(old, new, _to_make(job, choices), elsewhere=True)
    if choices.aliases:
        raise MigrationError(
            "the aliases of the old index move as they are: --aliases is for a source on another cluster."
        )
    aliases = aliases_of(job.client, old)
    if not aliases and not choices.take_name:
        raise MigrationError(
            f"no alias leads to {old!r}, so applications ask it by its own name, which cannot be moved. Either give it "
            f"an alias and let them ask that (POST _aliases), then take this step again; or say --take-name: {old!r} "
            "is cloned, deleted, and its name becomes an alias of the new index, in one call."
        )
    if choices.take_name and job.spec.last_round == "dual-write":
        raise MigrationError(
            "--take-name clones the old index, which must not be written to: say last_round write-block."
        )
    clone = _clone_name(job) if choices.take_name else ""
    return Switch(old, new, aliases, clone)


def _to_make(job: Job, choices: Choices) -> dict[str, Json]:
    if choices.take_name or not choices.aliases:
        raise MigrationError(
            f"{job.source.name!r} is on another cluster, and no call changes two clusters at once. Say --aliases A,B: "
            f"they are made here and lead to {job.spec.target!r}; then let the applications ask this cluster."
        )
    for alias in choices.aliases:
        if exists(job.client, alias) and alias not in aliases_of(job.client, job.spec.target):
            raise MigrationError(f"{alias!r} stands for something else on the target's cluster: name another alias.")
    return {alias: {} for alias in choices.aliases}


def _clone_name(job: Job) -> str:
    """A name of today; the one of an attempt that was killed, so that no second clone is left."""
    if (pending := job.state.pending) and (noted := pending.found["switch"]["clone"]):
        return str(noted)
    name = f"{job.source.name}-before-{datetime.now(UTC):%Y-%m-%d}"
    if exists(job.client, name):
        raise MigrationError(f"an index {name!r} is there already: delete it, if nobody needs it.")
    return name


def unwritten(job: Job, knows: Callable[[set[str]], set[str]]) -> set[str]:
    """Ids of the dead letters that the old index holds still and the new one not as they are.

    Args:
        job: Begun.
        knows: Which of some ids the ledgers have.
    """
    if not job.state.dead_letters.exists():
        return set()
    lines = job.state.dead_letters.read_bytes().splitlines()
    ids = {one["id"] for one in map(_parsed, lines) if one.get("id")}
    some = sorted(ids - knows(ids))
    gone = {
        one for start in range(0, len(some), _AT_ONCE) for one in job.history(0).missing(some[start : start + _AT_ONCE])
    }
    return set(some) - gone


def _known(job: Job, ids: set[str]) -> set[str]:
    found = set[str]()
    for shard in range(job.source.shards):
        try:
            with Ledger(job.state.ledger(shard)) as ledger:
                known = ledger.look_up([Entry(id_, "") for id_ in ids], "")
        except LedgerError as error:
            raise MigrationError(f"{error} (A `run --follow` must be ended before.)") from error
        found |= known.changed | known.unchanged
    return found


def _parsed(line: bytes) -> Json:
    try:
        found: Json = orjson.loads(line)
    except orjson.JSONDecodeError:  # half a letter of a run that was killed
        return {}
    return found


def _settings(job: Job) -> Json:
    """What the old index has for its users, and how often it shows what was written."""
    settings = afterwards(job.source.settings)
    with asking(job.spec.target):
        found = job.client.indices.get_settings(index=job.spec.target)
    interval = job.source.settings.get("refresh_interval")
    if found[job.spec.target]["settings"]["index"].get("refresh_interval") != interval:
        settings["index.refresh_interval"] = interval
    return settings


def _told_of_name(switch: Switch) -> Iterator[str]:
    if switch.clone:
        yield (
            f"a node drops the shards of {switch.old} just before it knows the alias, so searches of that moment may "
            "be answered with HTTP 503, which clients repeat; with an alias from the start this cannot happen"
        )


def _told_of_writes(job: Job) -> Iterator[str]:
    new = job.spec.target
    yield (
        f"what applications write to {new} afterwards has no vectors, and is found by its words only, till you encode "
        f"it: osplade migrate run --way in-place --source {new} --target {new} --state {new}-in-place, now and then or "
        "with --follow; or until an ingest pipeline of the cluster does"
    )


def _told_of_templates(client: OpenSearch, name: str) -> Iterator[str]:
    """Templates work when an index is made; they did on the new one, and they would on a later one."""
    with asking(name):
        composable = client.indices.get_index_template().get("index_templates", [])
        legacy = client.indices.get_template()
    patterns: dict[str, list[str]] = {one["name"]: one["index_template"]["index_patterns"] for one in composable}
    patterns |= {name_: one["index_patterns"] for name_, one in legacy.items()}
    for template, globs in patterns.items():
        if any(fnmatchcase(name, glob) for glob in globs):
            yield (
                f"the index template {template!r} fits {name} and had a say in its mapping when it was made: look at "
                f"GET {name}/_mapping"
            )


def _told_of_ism(job: Job, switch: Switch) -> Iterator[str]:
    from opensearchpy.exceptions import TransportError

    try:
        found: Any = job.source_client.transport.perform_request("GET", f"/_plugins/_ism/explain/{switch.old}")
    except TransportError:  # no such plugin, or not for us
        return
    about = found.get(switch.old, {})
    policy = about.get("policy_id") or about.get("index.plugins.index_state_management.policy_id")
    if policy:
        yield (
            f"the ISM policy {policy!r} manages {switch.old} and not {switch.new}: POST _plugins/_ism/add/{switch.new} "
            f'{{"policy_id": "{policy}"}}; it may also delete or change {switch.kept}, the way back: '
            f"POST _plugins/_ism/remove/{switch.kept}"
        )
