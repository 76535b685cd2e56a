"""Status: how far a migration is, read without disturbing who works on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from opensearch_splade.errors import TargetError
from opensearch_splade.migration.progress import ProgressFile, is_locked
from opensearch_splade.migration.running import LITTLE
from opensearch_splade.migration.state import State, Step, StepTaken
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard of the old index.

    Attributes:
        shard: Its number.
        position: Sequence number up to which all is in the new index; -1 before the first.
        reading: Up to which was read.
        checkpoint: Up to which it was written; ``None`` if the index is gone or the shard does not answer.
        at: When a worker noted this last.
        worker: Process and machine that bring it over just now; empty if none does.
        slowed: What holds that one back.
    """

    shard: int
    position: int
    reading: int
    checkpoint: int | None
    at: datetime | None
    worker: str = ""
    slowed: str = ""

    @property
    def gap(self) -> int | None:
        """Writes that are not brought over."""
        return None if self.checkpoint is None else max(0, self.checkpoint - self.position)


@dataclass(frozen=True, slots=True)
class Status:
    """A migration.

    Attributes:
        source: The concrete old index.
        target: The new one.
        way: How it goes there.
        steps: Taken so far.
        shards: Of the old index; none if it is gone.
        source_documents: Documents that can be seen in it; ``None`` if it is gone.
        target_documents: The same of the new one; it refreshes on its own, so the last seconds may be missing.
        dead: Dead letters.
        is_stepping: Whether another process takes a step just now, as ``cutover`` is.
    """

    source: str
    target: str
    way: str
    steps: tuple[StepTaken, ...]
    shards: tuple[ShardStatus, ...]
    source_documents: int | None
    target_documents: int | None
    dead: int
    is_stepping: bool

    @property
    def gap(self) -> int | None:
        """Writes of the old index that are not brought over; ``None`` if it does not say."""
        gaps = [shard.gap for shard in self.shards]
        return None if not gaps or None in gaps else sum(gap for gap in gaps if gap is not None)

    @property
    def workers(self) -> tuple[str, ...]:
        """Processes that bring shards over just now."""
        return tuple(sorted({shard.worker for shard in self.shards if shard.worker}))

    @property
    def next(self) -> str:
        """What to do."""
        if self.is_stepping:
            return "another process takes a step just now: wait for its end"
        last: Step | None = self.steps[-1].step if self.steps else None
        if last in _NEXT:
            return _NEXT[last]
        if self.workers:
            return "osplade migrate run is at work: let it go on"
        if self.target_documents is None or last in (None, "planned", "begun") or self.gap is None or self.gap > LITTLE:
            return "osplade migrate run goes on where it was"
        if last == "verified":
            return "osplade migrate compare with questions of yours, then osplade migrate cutover"
        return "osplade migrate verify, then osplade migrate cutover"


_NEXT: dict[Step | None, str] = {
    "blocked": "a cutover was begun: osplade migrate cutover ends it, osplade migrate rollback takes it back",
    "complete": "a cutover was begun: osplade migrate cutover ends it, osplade migrate rollback takes it back",
    "cut-over": "done; osplade migrate rollback goes back, osplade migrate clean ends it when nobody wants to",
    "rolled-back": "osplade migrate cutover again, or osplade migrate clean to end it",
    "cleaned": "nothing: this migration is over",
}


def status(client: OpenSearch, source_client: OpenSearch, state: State) -> Status:
    """How far it is; nothing is written, neither here nor there.

    Args:
        client: Connected to the target's cluster.
        source_client: To the source's.
        state: Opened.

    Raises:
        ClusterError: A cluster does not answer or refuses.
    """
    record = state.record
    checkpoints = _checkpoints(source_client, record.source_index)
    return Status(
        source=record.source_index,
        target=record.spec.target,
        way=record.spec.way,
        steps=tuple(record.steps),
        shards=tuple(_shard(state, shard, checkpoint) for shard, checkpoint in checkpoints.items()),
        source_documents=_count(source_client, record.source_index),
        target_documents=_count(client, record.spec.target),
        dead=_lines(state),
        is_stepping=is_locked(state.folder / "lock"),
    )


def _shard(state: State, shard: int, checkpoint: int | None) -> ShardStatus:
    file = ProgressFile(state.ledger(shard).parent, shard)
    noted = file.read()
    if noted is None:
        return ShardStatus(shard, -1, -1, checkpoint, None)
    is_worked_on = file.is_worked_on
    worker = f"process {noted.pid} on {noted.host}" if is_worked_on else ""
    slowed = noted.slowed if is_worked_on else ""
    return ShardStatus(shard, noted.position, noted.reading, checkpoint, noted.at, worker, slowed)


def _checkpoints(client: OpenSearch, index: str) -> dict[int, int | None]:
    """Shard to its global checkpoint, of those that are there."""
    try:
        with asking(index):
            settings = client.indices.get_settings(index=index)
            stats = client.indices.stats(index=index, metric="docs", params={"level": "shards"})
    except TargetError:
        return {}
    found = dict.fromkeys(range(int(settings[index]["settings"]["index"]["number_of_shards"])))
    checkpoints: dict[int, int | None] = {**found}
    for shard, copies in stats["indices"].get(index, {}).get("shards", {}).items():
        primary = next((copy for copy in copies if copy["routing"]["primary"]), None)
        if primary:
            checkpoints[int(shard)] = int(primary["seq_no"]["global_checkpoint"])
    return checkpoints


def _count(client: OpenSearch, index: str) -> int | None:
    try:
        with asking(index):
            return int(client.count(index=index)["count"])
    except TargetError:
        return None


def _lines(state: State) -> int:
    try:
        with state.dead_letters.open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0
