"""Cutover: the last changes are brought over, everything is counted, and in one call the new index takes over.

Each step is noted before it is taken. Whatever ends a cutover before that call is taken back, at once or, after a kill,
when the step is taken again; whatever ends it after that call is only noted. So there is one question to ask after a
kill, and the cluster answers it: where do the names lead?
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import MigrationError, OspladeError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.migration.copying import Copier, count
from opensearch_splade.migration.cutover_plan import Choices, CutoverPlan, cutover_plan, unwritten
from opensearch_splade.migration.dual_writes import newer_left_out
from opensearch_splade.migration.history import History
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.order import may_roll_back
from opensearch_splade.migration.running import MOST_ROUNDS, catch_up
from opensearch_splade.migration.switch import Switch, settle, take, uuid_of
from opensearch_splade.migration.write_block import block, is_blocked, unblock
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.migration.state import State, StepTaken

_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class CutOver:
    """What was done.

    Attributes:
        names: They lead to the new index now.
        new: The new index.
        kept: What holds the old documents.
        documents: Brought over.
        blocked_seconds: For which writes were refused; 0 where they were not.
        without_vectors: Documents of the new index that applications wrote to it and nobody encoded.
    """

    names: tuple[str, ...]
    new: str
    kept: str
    documents: int
    blocked_seconds: float
    without_vectors: int = 0

    def to_json(self) -> Json:
        """For machines."""
        return asdict(self)


def finished(state: State, client: OpenSearch) -> CutOver | None:
    """Notes a cutover that was killed after its call and before its note.

    Args:
        state: Opened.
        client: Connected to the target's cluster.

    Returns:
        What was done, if there was such a one.

    Raises:
        ClusterError: The cluster does not answer.
    """
    pending = state.pending
    if pending is None or pending.step != "complete" or not switch_of(pending).is_done(client):
        return None
    _note(state, client, pending.found)
    return _told(state, client)


def cut_over(job: Job, choices: Choices | None = None, tell: Callable[[str], None] = lambda _: None) -> CutOver:
    """Takes the step, or goes on with it.

    Args:
        job: Brought over and verified.
        choices: What the operator says.
        tell: Told what is done.

    Raises:
        MigrationError: It is refused, or failed and was taken back.
        OspladeError: As ``Copier.round``, before anything was changed.
    """
    state = job.state
    with state.locked():
        done = state.last("cut-over", "rolled-back")
        if done and done.step == "cut-over" and not done.found.get("quiet", True):
            return _until_quiet(job, tell)
        if state.pending:
            tell("taking back the cutover that was killed")
            take_back(state, job.client, job.source_client)
        plan = cutover_plan(job, choices or Choices())
        with Copier(job) as copier:
            if not copier.has_all:
                raise MigrationError("other workers bring documents over: end their `osplade migrate run` first.")
            tell("bringing over what changed")
            catch_up(copier)
            try:
                _take_over(job, plan, copier, tell)
            except BaseException as error:
                if not _is_done_after_all(job, error):
                    raise
        return _until_quiet(job, tell) if not plan.blocks else _told(state, job.client)


def _take_over(job: Job, plan: CutoverPlan, copier: Copier, tell: Callable[[str], None]) -> None:
    state, switch = job.state, plan.switch
    found: dict[str, Any] = {"switch": switch.to_json(), "settings": sorted(plan.settings), "quiet": plan.blocks}
    found["blocks"] = plan.blocks
    found["had_block"] = is_blocked(job.source_client, switch.old)
    state.note("blocked", **found)
    began = time.monotonic()
    if plan.blocks:
        tell(f"{switch.old} refuses writes")
        block(job.source_client, switch.old)
    found["documents"], found["missing"] = _bring_the_last(job, copier, is_exact=plan.blocks)
    if plan.settings:
        with asking(switch.new):
            job.client.indices.put_settings(index=switch.new, body=plan.settings)
    if switch.clone:
        _clone(job, switch)
    found |= {"new_uuid": uuid_of(job.client, switch.new), **_checkpoints(job, switch)}
    state.brought_back.unlink(missing_ok=True)
    state.note("complete", **found)
    take(job.client, switch.forth, switch.new)
    found["blocked_seconds"] = round(time.monotonic() - began, 3) if plan.blocks else 0.0
    tell(f"{', '.join(switch.served)}: now {switch.new}")
    _note(state, job.client, found)


def _bring_the_last(job: Job, copier: Copier, *, is_exact: bool) -> tuple[int, int]:
    """Until nothing is left and counts agree.

    Returns:
        Documents that were brought over, and those that the new index refused.
    """
    for _ in range(MOST_ROUNDS):
        gap = copier.round()
        there, dead = count(job), len(unwritten(job, copier.knows))
        if gap == 0 and copier.documents + dead == there:
            break
        if is_exact and gap == 0:
            raise MigrationError(
                f"the old index holds {there:,} documents, the ledgers know {copier.documents:,}, {dead:,} were "
                "refused: this should agree. Run `osplade migrate run --again`, then verify."
            )
    else:
        raise MigrationError("the old index is written to faster than it is read: take last_round write-block.")
    with asking(job.spec.target):
        job.client.indices.refresh(index=job.spec.target)
        held = int(job.client.count(index=job.spec.target)["count"])
    most = copier.documents + dead if is_exact else held  # of those that it refused it may have an older version
    if not copier.documents <= held <= most:
        raise MigrationError(
            f"the new index holds {held:,} documents and should hold {copier.documents:,}: `osplade migrate verify` "
            "says which differ."
        )
    return copier.documents, dead


def _clone(job: Job, switch: Switch) -> None:
    """Hard links to the same files, under another name; settings go along, but for the number of replicas."""
    keys = ("number_of_replicas", "auto_expand_replicas")
    settings = {f"index.{key}": job.source.settings[key] for key in keys if key in job.source.settings}
    with asking(switch.clone):
        job.client.indices.clone(index=switch.old, target=switch.clone, body={"settings": settings})
        waiting = {"wait_for_status": "yellow", "request_timeout": 60}
        health = job.client.cluster.health(index=switch.clone, params=waiting)
        held = int(job.client.count(index=switch.clone)["count"])
    if health["timed_out"] or held != count(job):
        raise MigrationError(f"the clone {switch.clone!r} does not hold what {switch.old!r} holds.")


def _checkpoints(job: Job, switch: Switch) -> dict[str, list[int]]:
    """How far both indices are written: what comes later was written by applications."""
    with asking(switch.new):
        settings = job.client.indices.get_settings(index=switch.new)[switch.new]["settings"]["index"]
    shards = range(int(settings["number_of_shards"]))
    return {
        "checkpoints": [History(job.client, switch.new, shard).checkpoint() for shard in shards],
        "old_checkpoints": [job.history(shard).checkpoint() for shard in range(job.source.shards)],
    }


def _note(state: State, client: OpenSearch, found: dict[str, Any]) -> None:
    switch = Switch(**found["switch"])
    if switch.clone:  # from now on the old index' name is an alias
        state.record.source_index, state.record.source_uuid = switch.clone, uuid_of(client, switch.clone)
    state.note("cut-over", **found)


def switch_of(step: StepTaken) -> Switch:
    """What a step was to change, or did."""
    return Switch(**step.found["switch"])


def take_back(state: State, client: OpenSearch, source_client: OpenSearch) -> None:
    """Makes a cutover that did not come to its call as if it had not begun.

    Raises:
        ClusterError: A cluster does not answer: nothing is known then, and the step must be taken again.
    """
    pending = state.pending
    if pending is None:
        return
    switch = switch_of(pending)
    if switch.clone:
        _delete_clone(client, switch)
    if pending.found["settings"]:
        with asking(switch.new):
            client.indices.put_settings(index=switch.new, body=dict.fromkeys(pipelines(pending.found["settings"])))
    if not pending.found["had_block"]:
        unblock(source_client, switch.old)
    before = state.last("caught-up")
    state.note("caught-up", **(before.found if before else {}))


def pipelines(settings: list[str]) -> list[str]:
    """What must not work on documents that are brought over."""
    return [key for key in settings if key.endswith("_pipeline")]


def _delete_clone(client: OpenSearch, switch: Switch) -> None:
    if uuid_of(client, switch.clone) and uuid_of(client, switch.old):
        with asking(switch.clone):
            client.indices.delete(index=switch.clone)


def _is_done_after_all(job: Job, error: BaseException) -> bool:
    """After a failure: whether only the answer was lost; else it is as if nothing had been."""
    state = job.state
    try:
        settle(job.client, job.spec.target)
        if finished(state, job.client):
            return isinstance(error, OspladeError)
        take_back(state, job.client, job.source_client)
    except OspladeError as another:
        raise MigrationError(
            f"{error} And the cutover could not be taken back ({another}): the old index may refuse writes until you "
            "take `osplade migrate cutover` again, or `osplade migrate rollback`."
        ) from error
    if isinstance(error, OspladeError):
        raise MigrationError(
            f"{error} The cutover was taken back: all names lead where they led, and the old index takes writes."
        ) from error
    return False


def _until_quiet(job: Job, tell: Callable[[str], None]) -> CutOver:
    """Brings over what the old index was written last, where applications write to both."""
    state = job.state
    done = may_roll_back(state)
    tell("bringing over the last writes to the old index")
    with Copier(job, through=newer_left_out(job)) as copier:
        quiet = 0
        for _ in range(MOST_ROUNDS):
            read = copier.copied.read
            gap = copier.round()
            quiet = quiet + 1 if gap == 0 and copier.copied.read == read else 0
            if quiet > 1:
                break
            time.sleep(_PAUSE)
    state.note("cut-over", **{**done.found, "quiet": True})
    return _told(state, job.client)


def _told(state: State, client: OpenSearch) -> CutOver:
    done = may_roll_back(state)
    switch = switch_of(done)
    told = CutOver(
        tuple(switch.served), switch.new, switch.kept, done.found["documents"], done.found.get("blocked_seconds", 0.0)
    )
    return replace(told, without_vectors=without_vectors(client, switch.new))


def without_vectors(client: OpenSearch, index: str) -> int:
    """How many documents nobody encoded."""
    field = IndexMeta.read(client, index).name("encoded")
    with asking(index):
        client.indices.refresh(index=index)
        body = {"query": {"bool": {"must_not": {"exists": {"field": field}}}}}
        return int(client.count(index=index, body=body)["count"])
