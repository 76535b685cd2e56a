"""Verify: proof that the new index holds every document of the old one, once, with its last state and vector.

All documents of both indices are read and compared by all that they say; vectors are encoded anew for a random sample,
and the server's scores are held against the exact product for some questions. A live index is written to meanwhile:
what differs is looked at again after each round of catching up, and counts only if nobody wrote it in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from opensearch_splade.errors import MigrationError
from opensearch_splade.ingest.audit import audit
from opensearch_splade.migration.copying import Copier
from opensearch_splade.migration.differences import Difference, HitReader, by_id, state
from opensearch_splade.migration.history import NOTHING, PAGE, History
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.samples import comparable, question_of, wrong_scores, wrong_vectors
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.state import State
from opensearch_splade.migration.verification import Verification
from opensearch_splade.plugin.scan import Stored
from opensearch_splade.types import Document, Json

SAMPLE = 200
"""Documents that are encoded anew. If none of so many is wrong, at most 1.5 % of all are, with 95 % confidence."""
QUESTIONS = 50
ROUNDS = 10
"""Of catching up, after which a document that is written again and again is left as pending."""
MOST = 100_000
"""Documents of each kind that are looked at again; of more, the first."""


Told = Callable[[str, int], None]
"""Told what is done just now, and how many documents of it."""


def verify(
    job: Job, sample: int = SAMPLE, seed: int = 0, tell: Told = lambda *_: None, *, repair: bool = False
) -> Verification:
    """Compares all documents, and notes what came of it.

    Args:
        job: Brought over.
        sample: How many documents are encoded anew; as many as there are, for full proof.
        seed: Of the sample.
        tell: Told now and then.
        repair: Bring documents over again that are lost, or other than they should be.

    Raises:
        MigrationError: Nothing was brought over yet, other workers do so just now, or the new index serves already.
        SourceError: An index cannot be read.
        ClusterError: A cluster stayed away for too long.
    """
    _require_begun(job.state)
    if repair and job.in_place:
        raise MigrationError("in place write a wrong document again as your application does: it gets its vector then.")
    found = Verification()
    reader = HitReader(job.meta, frozenset(job.marker), job.spec.vectors, job.spec.drop)
    with Copier(job, tell=lambda copied: tell("catching up", copied.read)) as copier:
        if not copier.has_all:
            raise MigrationError("other workers bring documents over just now: wait for their end, or stop them.")
        copier.round()
        drawn = _Drawn(sample, seed)
        suspects = list(_suspects(job, reader, drawn, found, tell))
        for difference in _settled(job, reader, copier, suspects, found):
            found.add(difference)
    questions = list[str]()
    for ids in _some(sorted(drawn.ids)):
        same = comparable(reader, _pairs(job, ids, ()))
        questions += [text for document, _ in same if (text := question_of(document))]
        found.sampled += len(same)
        tell("encoding the sample", found.sampled)
        for difference in wrong_vectors(job, same):
            found.add(difference)
    tell("asking", 0)
    for difference in wrong_scores(job, questions[:QUESTIONS], found):
        found.add(difference)
    _note(job.state, found)
    if repair and found.repairable:
        _repair(job, found, tell)
    return found


def _require_begun(state: State) -> None:
    if not state.last("caught-up"):
        raise MigrationError("there is nothing to verify yet: bring the documents over with `osplade migrate run`.")
    last = state.last("cut-over", "rolled-back", "cleaned")
    if last and last.step == "cut-over":
        raise MigrationError(
            f"the new index serves since {last.at:%Y-%m-%d %H:%M} UTC, and what was written since then is not in the "
            "old one: they can no longer be compared."
        )
    if last and last.step == "cleaned":
        raise MigrationError("this migration was cleaned up: there is nothing left to compare.")


def _repair(job: Job, found: Verification, tell: Told) -> None:
    with Copier(job, tell=lambda copied: tell("repairing", copied.read)) as copier:
        copier.renew(sorted(found.repairable))
        copier.round()
    found.repaired = len(found.repairable)


def _note(state: State, found: Verification) -> None:
    counts = {kind: count for kind, count in found.counts.items() if count}
    with state.locked():
        state.note(
            "verified",
            clean=found.is_clean,
            old=found.old,
            new=found.new,
            sampled=found.sampled,
            scores=found.scores,
            pending=found.pending,
            differences=counts,
        )


@dataclass
class _Drawn:
    """A uniform sample of a stream of unknown length (Vitter, 1985, algorithm R)."""

    size: int
    seed: int
    ids: list[str] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def add(self, id_: str) -> None:
        self.seen += 1
        if len(self.ids) < self.size:
            self.ids.append(id_)
        elif (place := self._random.randrange(self.seen)) < self.size:
            self.ids[place] = id_


def _suspects(job: Job, reader: HitReader, drawn: _Drawn, found: Verification, tell: Told) -> Iterator[str]:
    """Ids that seem to be wrong, at one glance at all."""
    if job.in_place:
        yield from _unlike_themselves(job, reader, drawn, found, tell)
        return
    unreadable = list[str]()  # of us; the pipeline refused them too

    def records() -> Iterator[Document]:
        for hit in _all(job.history(shard) for shard in range(job.source.shards)):
            found.old += 1
            drawn.add(hit["_id"])
            if reader.content(hit):
                yield reader.document(hit)
            else:
                unreadable.append(hit["_id"])
            if found.old % PAGE == 0:
                tell("reading the old index", found.old)

    def stored() -> Iterator[list[Stored]]:
        for pages in (history.read(NOTHING, history.checkpoint()) for history in _new(job)):
            for hits in pages:
                found.new += len(hits)
                tell("reading the new index", found.new)
                yield [reader.stored(hit) for hit in hits]

    report = audit(records(), stored(), reader.marker, examples=MOST)
    yield from dict.fromkeys([*unreadable, *(id_ for ids in report.examples.values() for id_ in ids)])


def _unlike_themselves(job: Job, reader: HitReader, drawn: _Drawn, found: Verification, tell: Told) -> Iterator[str]:
    """In place there is no other index: documents must only be encoded from what they say."""
    for hit in _all(_new(job)):
        found.old = found.new = found.new + 1
        drawn.add(hit["_id"])
        if found.new % PAGE == 0:
            tell("reading the index", found.new)
        if reader.differences(hit["_id"], [hit], [hit]):
            yield hit["_id"]


def _all(histories: Iterable[History]) -> Iterator[Json]:
    for history in histories:
        for hits in history.read(NOTHING, history.checkpoint()):
            yield from hits


def _new(job: Job) -> list[History]:
    """The shards of the new index, without its vectors."""
    shards = SourceIndex.read(job.client, job.spec.target).shards
    return [History(job.client, job.spec.target, shard, _vectors(job)) for shard in range(shards)]


def _vectors(job: Job) -> tuple[str, ...]:
    return job.meta.name("sparse"), job.meta.name("dense")


def _pairs(job: Job, ids: list[str], without: tuple[str, ...]) -> dict[str, tuple[list[Json], list[Json]]]:
    """Id to what the old and the new index hold under it."""
    new = by_id(History(job.client, job.spec.target, 0, without).look_up(ids))
    old = new if job.in_place else by_id(job.history(0).look_up(ids))
    return {id_: (old.get(id_, []), new.get(id_, [])) for id_ in ids}


def _some(ids: list[str], count: int = 100) -> Iterator[list[str]]:
    return (ids[start : start + count] for start in range(0, len(ids), count))


def _settled(
    job: Job, reader: HitReader, copier: Copier, suspects: list[str], found: Verification
) -> Iterator[Difference]:
    """What is wrong with the suspects for good: nobody wrote them, and a round of catching up did not mend it."""
    waiting = dict[str, object]()
    reasons = dict[str, str]()
    for number in range(ROUNDS):
        ids, before, waiting = (list(waiting) if number else suspects), waiting, {}
        for some in _some(ids):
            for id_, (old, new) in _pairs(job, some, _vectors(job)).items():
                wrong = reader.differences(id_, old, new)
                if wrong and id_ in before and before[id_] == state(old):
                    reasons = reasons or _refused(job.state)
                    yield from (_with_reason(one, reasons) for one in wrong)
                elif wrong:
                    waiting[id_] = state(old)
        if not waiting:
            return
        copier.round()
    found.pending = len(waiting)


def _with_reason(difference: Difference, reasons: dict[str, str]) -> Difference:
    if difference.kind in {"lost", "content"} and (reason := reasons.get(difference.id)):
        return difference._replace(what=f"the new index refused it: {reason}")
    return difference


def _refused(state: State) -> dict[str, str]:
    """Id to why the new index refused the document."""
    if not state.dead_letters.exists():
        return {}
    with state.dead_letters.open("rb") as lines:
        letters = [orjson.loads(line) for line in lines if line.strip()]
    return {letter["id"]: letter["reason"] for letter in letters if letter["id"]}
