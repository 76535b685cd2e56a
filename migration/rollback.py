"""Rollback: in one call all names lead back to the old index, with what was written to the new one meanwhile.

Where the old index was left read-only at the cutover, the order is this, so that no write is lost and writes are
refused no longer than the last few take:

1. the old index takes writes: nobody asks it by an alias, so only the rollback writes to it;
2. what applications wrote to the new index is brought back, round by round, while they go on writing there;
3. the new index refuses writes, which ends those in flight, and the last of them are brought back: this moment only is
   one in which applications are refused;
4. all names lead to the old index, which has all writes and takes the next ones.

The new index stays read-only: a writer that found its way there before the last call and arrives after it is refused
and not forgotten. Where applications write to both indices nothing is ever refused, and the last round comes after the
call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError, OspladeError
from opensearch_splade.migration.bringing_back import BringingBack, doubt
from opensearch_splade.migration.cutover import finished, pipelines, switch_of, take_back
from opensearch_splade.migration.order import may_roll_back
from opensearch_splade.migration.running import LITTLE, MOST_ROUNDS
from opensearch_splade.migration.switch import Switch, aliases_of, settle, take, uuid_of
from opensearch_splade.migration.write_block import block, is_blocked, unblock
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.migration.state import State, StepTaken


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was done.

    Attributes:
        names: They lead to the old index.
        old: The old index, or the clone that has taken its place.
        new: The new index, read-only where the old one was.
        written: Documents that the new index was written since the cutover and that are there still.
        brought: Of these, and of earlier tries, those that this one wrote to the old index.
        deleted: Deleted in the old index, because they were in the new one.
        conflicts: Ids that were left alone, and why.
        blocked_seconds: For which writes were refused.
        others: Aliases that lead to the new index still, because they are younger than the cutover.
    """

    names: tuple[str, ...]
    old: str
    new: str
    written: int = 0
    brought: int = 0
    deleted: int = 0
    conflicts: dict[str, str] | None = None
    blocked_seconds: float = 0.0
    others: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """For machines."""
        return asdict(self)


def rollback_plan(
    state: State, client: OpenSearch, source_client: OpenSearch, *, leave_writes: bool = False
) -> list[str]:
    """What would be done, in words.

    Raises:
        MigrationError: There is nothing to roll back.
    """
    if pending := state.pending:
        switch = switch_of(pending)
        if pending.step != "complete" or not switch.is_done(client):
            return [f"the cutover that was killed is taken back: {switch.old} takes writes again, all names lead to it"]
        done = pending
    else:
        done = _required(state, source_client)
    switch = switch_of(done)
    brought = "what was written to the new index since stays there only"
    if not leave_writes:
        brought = f"what was written to {switch.new} since is brought back, without our fields"
    refused = (
        [] if leave_writes or not done.found["blocks"] else [f"{switch.new} refuses writes, from the last moment on"]
    )
    return [
        f"{switch.kept} takes writes",
        brought,
        *refused,
        f"in one call, {', '.join(switch.served)} lead{'' if len(switch.served) > 1 else 's'} away from {switch.new}"
        + ("" if switch.elsewhere else f" to {switch.kept}"),
    ]


def roll_back(
    state: State,
    client: OpenSearch,
    source_client: OpenSearch,
    *,
    leave_writes: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> RolledBack:
    """Takes the step.

    Args:
        state: Of a migration that is cut over, or was killed at it.
        client: Connected to the target's cluster.
        source_client: To the source's.
        leave_writes: Writes to the new index stay there; the way out if it cannot be read.
        tell: Told what is done.

    Raises:
        MigrationError: There is nothing to roll back, or it failed: the new index goes on serving then.
    """
    with state.locked():
        finished(state, client)
        if pending := state.pending:
            switch = switch_of(pending)
            take_back(state, client, source_client)
            return RolledBack(tuple(switch.served), switch.old, switch.new)
        done = _required(state, source_client)
        return _Rollback(state, done, client, source_client, tell).run(leave_writes=leave_writes)


def _required(state: State, source_client: OpenSearch) -> StepTaken:
    done = may_roll_back(state)
    kept = switch_of(done).kept
    if uuid_of(source_client, kept) != state.record.source_uuid:
        raise MigrationError(f"the old index {kept!r} is gone or was made anew: there is no way back to it.")
    return done


@dataclass
class _Rollback:
    state: State
    done: StepTaken
    client: OpenSearch
    source_client: OpenSearch
    tell: Callable[[str], None]

    @property
    def _switch(self) -> Switch:
        return switch_of(self.done)

    def run(self, *, leave_writes: bool) -> RolledBack:
        switch, blocks = self._switch, bool(self.done.found["blocks"])
        back: BringingBack | None = None
        seconds = 0.0
        is_done = switch.is_undone(self.client) and (leave_writes or is_blocked(self.client, switch.new))
        if not is_done:  # else it was killed after its call
            try:
                unblock(self.source_client, switch.kept)
                back = None if leave_writes else self._bring_back()
                began = time.monotonic()
                if back and blocks:
                    self._bring_the_last(back)
                take(self.client, switch.back, switch.new)
                seconds = time.monotonic() - began if back and blocks else 0.0
            except BaseException as error:  # noqa: BLE001 - raised again there, or done after all
                self._take_back(error, leave_writes=leave_writes)
        self.tell(f"{', '.join(switch.served)}: now {switch.kept}")
        if back and not blocks:
            back.round()
            back.delete()
        return self._end(back, round(seconds, 3))

    def _bring_back(self) -> BringingBack:
        self.tell("bringing back what was written since the cutover")
        back = BringingBack(self.state, self.done, self.client, self.source_client)
        for _ in range(MOST_ROUNDS):
            if back.round() <= LITTLE:
                break
        back.delete()
        return back

    def _bring_the_last(self, back: BringingBack) -> None:
        self.tell(f"{self._switch.new} refuses writes")
        block(self.client, self._switch.new)
        while back.round():
            pass
        back.delete()

    def _take_back(self, error: BaseException, *, leave_writes: bool) -> None:
        """Lets the new index serve on, unless only an answer was lost."""
        switch = self._switch
        try:
            settle(self.client, switch.new)
            if switch.is_undone(self.client):
                if isinstance(error, OspladeError):
                    return
                raise error
            unblock(self.client, switch.new)
            if self.done.found["blocks"]:
                block(self.source_client, switch.kept)
        except OspladeError as another:
            raise MigrationError(f"{error} ({another}) Take `osplade migrate rollback` again.") from error
        if not isinstance(error, OspladeError):
            raise error
        way = "" if leave_writes else " With --leave-writes it goes back at once, and new writes stay in the new index."
        raise MigrationError(
            f"{error} The rollback was taken back: {switch.new!r} serves and takes writes.{way}"
        ) from error

    def _end(self, back: BringingBack | None, seconds: float) -> RolledBack:
        switch, found = self._switch, self.done.found
        written = self._doubt()
        with asking(switch.new):
            if keys := pipelines(found["settings"]):
                self.client.indices.put_settings(index=switch.new, body=dict.fromkeys(keys))
        if found["had_block"]:
            block(self.source_client, switch.kept)
        told = RolledBack(
            tuple(switch.served),
            switch.kept,
            switch.new,
            written,
            len(back.written) if back else 0,
            len(back.deleted) if back else 0,
            dict(back.conflicts) if back else {},
            seconds,
            tuple(aliases_of(self.client, switch.new)),
        )
        self.state.note("rolled-back", **told.to_json())
        return told

    def _doubt(self) -> int:
        try:
            return doubt(self.state, self.done, self.client, self.source_client)
        except OspladeError as error:
            raise MigrationError(
                f"all names lead to the old index again, but what the new one holds could not be read ({error}): take "
                "the step again before you run the migration again, or end it with `osplade migrate clean --target`."
            ) from error
