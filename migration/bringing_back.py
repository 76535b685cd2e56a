"""Bringing back: what applications wrote to the new index since the cutover goes to the old one, without our fields.

The old index takes a write only if it has the document just as it was at the cutover, or as it was brought back before;
otherwise somebody wrote it meanwhile, and the document is a conflict that is told and left alone. The cluster checks it
with the write (``if_seq_no``, ``op_type=create``), so there is no moment between looking and writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import MigrationError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.bulk import Action, BulkWriter
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.ledger import Entry, Ledger
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.documents import theirs
from opensearch_splade.migration.history import History
from opensearch_splade.migration.switch import Switch
from opensearch_splade.transport import asking
from opensearch_splade.types import Document, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.migration.state import State, StepTaken

_AT_ONCE = 500
_DELETED = ""
"""Instead of a content's hash."""


@dataclass
class Journal:
    """What was ever sent to the old index: id to hashes of contents; a line each, on the disk before it is sent."""

    path: Path
    sent: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            try:
                id_, content = orjson.loads(line)
            except ValueError:  # half a line of a run that was killed, whose document was not sent
                continue
            self.sent.setdefault(id_, set()).add(content)

    def add(self, sent: dict[str, str]) -> None:
        """These are about to be sent."""
        with self.path.open("ab") as file:
            file.write(b"\n" + b"".join(orjson.dumps([*one]) + b"\n" for one in sent.items()))
        for id_, content in sent.items():
            self.sent.setdefault(id_, set()).add(content)


class BringingBack:
    """Writes to the old index what the new one was written since the cutover.

    Args:
        state: Of a migration that is cut over.
        done: The cutover.
        client: Connected to the target's cluster.
        source_client: To the source's.

    Raises:
        ClusterError: A cluster does not answer.
    """

    def __init__(self, state: State, done: StepTaken, client: OpenSearch, source_client: OpenSearch) -> None:
        self._state, self._client, self._source_client = state, client, source_client
        self._switch = Switch(**done.found["switch"])
        self._missing = done.found["missing"]
        meta = IndexMeta.read(client, self._switch.new)
        self._kept: KeptMeta | None = meta.kept
        vectors = tuple(meta.name(ours) for ours in ("sparse", "dense", "passages"))
        self._position = list[int](done.found["checkpoints"])
        self._new = [History(client, self._switch.new, shard, vectors) for shard in range(len(self._position))]
        self._old_checkpoints = list[int](done.found["old_checkpoints"])
        self._old = [History(source_client, self._switch.kept, shard) for shard in range(len(self._old_checkpoints))]
        self._writer = BulkWriter(source_client, self._switch.kept)
        self._journal = Journal(state.brought_back)
        self.written = set[str]()
        """Ids that the old index took."""
        self.deleted = set[str]()
        """Ids that the old index deleted."""
        self.conflicts = dict[str, str]()
        """Ids that it did not take, and why."""

    def round(self) -> int:
        """Brings back what was written up to now.

        Returns:
            How many writes came meanwhile.

        Raises:
            MigrationError: The documents are this package's own and cannot be brought back.
            SourceError: The new index cannot be read.
            ClusterError: The old index' cluster stayed away for too long.
            TargetError: The old index takes no writes.
        """
        self._refresh()
        for shard, history in enumerate(self._new):
            upto = history.checkpoint()
            for hits in history.read(self._position[shard], upto):
                self._bring([hit for hit in hits if hit["_id"] not in self.conflicts])
            self._position[shard] = upto
        self._look_again()
        return sum(history.checkpoint() - at for history, at in zip(self._new, self._position, strict=True))

    def _refresh(self) -> None:
        with asking(self._switch.kept):
            self._source_client.indices.refresh(index=self._switch.kept)

    def _look_again(self) -> None:
        """Conflicts that an answer which was lost, or the application itself, has settled."""
        if self.conflicts:
            self._refresh()
        ids = sorted(self.conflicts)
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            hits = [hit for history in self._new for hit in history.find(some)]
            self._bring(hits)
            there = {hit["_id"] for hit in hits} | {id_ for id_, _ in self._held(some)}
            for gone in set(some) - there:
                del self.conflicts[gone]

    def _bring(self, hits: list[Json]) -> None:
        if hits and self._kept is None:
            raise MigrationError(
                f"{self._switch.new!r} was written by osplade ingest since the cutover, with vectors that the old "
                "index must not mix with its own: roll back with --leave-writes, and ingest into the old index."
            )
        there = self._held([hit["_id"] for hit in hits])
        actions, sent = list[Action](), dict[str, str]()
        for hit in hits:
            key = hit["_id"], hit.get("_routing", "")
            old = there.get(key)
            source = self._source(hit, old)
            content = _content(source)
            self.conflicts.pop(key[0], None)
            if old and _content(self._theirs(old)) == content:
                continue
            if reason := self._foreign(key[0], old):
                self.conflicts[key[0]] = reason
                continue
            version = (old["_seq_no"], old["_primary_term"]) if old else None
            actions.append(Action(key[0], orjson.dumps(source), key[1], version, old is None, "_none"))
            sent[key[0]] = content
        self._send(actions, sent, self.written)

    def _send(self, actions: list[Action], sent: dict[str, str], done: set[str]) -> None:
        if sent:
            self._journal.add(sent)
        failures = self._writer.write(actions)
        self.conflicts |= {one.id: "written meanwhile" if one.superseded else one.reason for one in failures}
        done |= {action.id for action in actions} - {failure.id for failure in failures}

    def _source(self, hit: Json, old: Json | None) -> Json:
        """As the application wrote it, with what only the old index has of it."""
        new = theirs(hit["_source"], self._kept or KeptMeta(()))
        if old:
            for path in self._state.record.spec.drop:
                new = _completed(new, old["_source"], path)
        return new

    def _theirs(self, old: Json) -> Json:
        return theirs(old["_source"], self._kept or KeptMeta(()))

    def _held(self, ids: list[str]) -> dict[tuple[str, str], Json]:
        """What the old index has of these, each with whether it is as at the cutover."""
        found = dict[tuple[str, str], Json]()
        for history, upto in zip(self._old, self._old_checkpoints, strict=True) if ids else ():
            for hit in history.find(ids):
                found[hit["_id"], hit.get("_routing", "")] = {**hit, "untouched": hit["_seq_no"] <= upto}
        return found

    def _foreign(self, id_: str, old: Json | None) -> str:
        """Why the old index' version is not ours to replace; empty if it is."""
        sent = self._journal.sent.get(id_, set())
        if old is None:
            return "deleted in the old index meanwhile" if sent and _DELETED not in sent else ""
        is_ours = old["untouched"] or _content(self._theirs(old)) in sent
        return "" if is_ours else "written in the old index meanwhile"

    def delete(self) -> None:
        """Deletes in the old index what was deleted in the new one; after a round.

        Raises:
            OspladeError: As ``round``.
        """
        self._refresh()
        with asking(self._switch.new):
            held = int(self._client.count(index=self._switch.new)["count"])
        with asking(self._switch.kept):
            old = int(self._source_client.count(index=self._switch.kept)["count"])
        if held == old and not self._missing and not self.conflicts:
            return  # both held the same at the cutover, and whatever came was brought back
        for ids in self._known():
            gone = self._new[0].missing(ids) if ids else []
            there = self._held(gone)
            self._delete([hit for hit in there.values() if not self._kept_for(hit)])

    def _kept_for(self, old: Json) -> bool:
        if reason := self._foreign(old["_id"], old):
            self.conflicts[old["_id"]] = reason
        return bool(reason)

    def _delete(self, there: list[Json]) -> None:
        actions = [
            Action(old["_id"], None, old.get("_routing", ""), (old["_seq_no"], old["_primary_term"])) for old in there
        ]
        self._send(actions, {action.id: _DELETED for action in actions}, self.deleted)

    def _known(self) -> Iterator[list[str]]:
        """Ids that both indices had at the cutover or since."""
        sent = sorted(self._journal.sent)
        yield from (sent[start : start + _AT_ONCE] for start in range(0, len(sent), _AT_ONCE))
        with ledgers(self._state, len(self._old)) as opened:
            for ledger in opened:
                yield from ledger.ids()


def _completed(new: Json, old: Json, path: str) -> Json:
    """With what the old document has at ``a.b``, if the new one has nothing there."""
    head, _, rest = path.partition(".")
    if path in old:
        return {path: old[path], **new}
    if rest and isinstance(new.get(head), dict) and isinstance(old.get(head), dict):
        return {**new, head: _completed(new[head], old[head], rest)}
    return new


def _content(source: Json) -> str:
    return content_hash(Document("", "", "", source))


@contextmanager
def ledgers(state: State, shards: int) -> Iterator[list[Ledger]]:
    """All ledgers of a migration, while nobody else has them.

    Raises:
        LedgerError: Somebody has.
    """
    with ExitStack() as opened:
        yield [opened.enter_context(Ledger(state.ledger(shard))) for shard in range(shards)]


def doubt(state: State, done: StepTaken, client: OpenSearch, source_client: OpenSearch) -> int:
    """Makes the ledgers forget what applications changed in the new index, so that the next run puts it right.

    What only the new index has is noted as if it came from the old one, so that the next run deletes it.

    Returns:
        How many documents were written to the new index since the cutover.

    Raises:
        OspladeError: The new index cannot be read.
    """
    switch = Switch(**done.found["switch"])
    checkpoints, shards = done.found["checkpoints"], len(done.found["old_checkpoints"])
    new = [History(client, switch.new, shard, ("*",)) for shard in range(len(checkpoints))]
    now = [history.checkpoint() for history in new]
    if now == checkpoints:
        return 0
    old, written = History(source_client, switch.kept, 0), 0
    with ledgers(state, shards) as opened:
        for ledger in opened:
            ledger.reach(-1)
            for ids in ledger.ids():
                ledger.forget(new[0].missing(ids))
        for history, after, upto in zip(new, checkpoints, now, strict=True):
            for hits in history.read(after, upto):
                ids = [hit["_id"] for hit in hits]
                written += len(ids)
                for ledger in opened:
                    ledger.forget(ids)
                opened[0].acknowledge([Entry(id_, "00") for id_ in old.missing(ids)], "")
    return written
