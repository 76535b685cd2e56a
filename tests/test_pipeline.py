"""The pipeline when something breaks off or trickles: nothing that is known about a document is forgotten."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensearch_splade.errors import ClusterError, DeviceError, LedgerError, SourceError, TargetError
from opensearch_splade.ingest import pipeline, sender
from opensearch_splade.ingest.bulk import Action, Failure, GaveUpError
from opensearch_splade.ingest.channel import BrokenOffError, Channel
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.ingest.document_encoder import Encoded
from opensearch_splade.ingest.ledger import Entry, Ledger, Target
from opensearch_splade.types import Document


class Plain:
    """Stands for an encoder: actions without vectors."""

    dense = None
    counts_all = False
    marker = ("m1",)

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def tokenise(self, documents: Sequence[Document]) -> list[list[int]]:
        """One token each."""
        return [[1]] * len(documents)

    def is_truncated(self, _tokens: Sequence[int]) -> bool:
        """Never."""
        return False

    def sparse_rows(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[Any]:
        """One row each, at once."""
        return ((np.array([1]), np.array([1.0])) for tokens in token_ids if tokens)

    def serialise(self, encoded: Sequence[Encoded], _report: Any) -> list[Action]:
        """One per document."""
        self.encoded += [one.document.id for one in encoded]
        return [Action(one.document.id, b"{}") for one in encoded]


class Leaving:
    """Stands for a cluster that goes away: the first request is given up half-way, the second refused in part."""

    retries = 0

    def write(self, actions: list[Action]) -> list[Failure]:
        """By the request's first document."""
        if actions[0].id == "0":
            raise GaveUpError("The cluster did not take 1 documents", [Failure("1", "400 bad")], pending=1)
        return [Failure(actions[-1].id, "400 worse")]


class Willing:
    """Stands for a cluster that takes everything."""

    retries = 0

    def __init__(self) -> None:
        self.taken: list[str] = []

    def write(self, actions: list[Action]) -> list[Failure]:
        """All of it."""
        self.taken += [action.id for action in actions]
        return []


def documents(count: int) -> list[Document]:
    """Documents by number."""
    return [Document(str(number), "text") for number in range(count)]


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[DeadLetterFile]:
    """An open file of dead letters."""
    with DeadLetterFile(tmp_path / "dead.jsonl") as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of its own."""
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.claim(Target("c", "books", "u1"), noted="", stored=0)
        yield opened


def test_refusals_are_kept_when_the_cluster_goes_away(
    dead: DeadLetterFile, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is on its way is settled before the error is raised: refused documents are in the dead letters."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 4)
    seen: list[tuple[int, int]] = []
    with pytest.raises(ClusterError, match="did not take 1"):
        pipeline.run(
            documents(8),
            Plain(),  # type: ignore[arg-type]
            Leaving(),  # type: ignore[arg-type]
            dead,
            lambda report: seen.append((report.indexed, report.dead)),
            ledger=ledger,
        )
    letters = [json.loads(line) for line in dead.path.read_text().splitlines()]
    kept = {letter["id"]: letter["reason"] for letter in letters}
    assert kept["1"] == "400 bad"
    # The second request is only there if it was sent before the first one failed.
    assert kept.get("7", "400 worse") == "400 worse"
    assert seen[-1] == ((2, 1) if len(kept) == 1 else (5, 2))
    entries = [Entry(one.id, content_hash(one)) for one in documents(8)]
    noted = ledger.look_up(entries, "m1").unchanged
    assert noted == (set() if len(kept) == 1 else {"4", "5", "6"})


def test_a_source_that_breaks_off_is_told_when_the_rest_is_done(dead: DeadLetterFile, ledger: Ledger) -> None:
    """What came before is in the index and in the ledger."""

    def breaking() -> Iterator[Document]:
        yield from documents(3)
        raise SourceError("The disk is gone.")

    cluster = Willing()
    with pytest.raises(SourceError, match=r"The disk is gone\. What came before is done: 3 documents are in the index"):
        pipeline.run(breaking(), Plain(), cluster, dead, ledger=ledger)  # type: ignore[arg-type]
    assert cluster.taken == ["0", "1", "2"]
    assert ledger.documents == 3


@pytest.mark.parametrize("step", ["tokenise", "sparse_rows", "serialise"])
def test_a_step_that_fails_ends_the_run(step: str, dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own error is raised, an endless source is not read on, and no thread stays."""

    def failing(*_: Any) -> Any:
        raise DeviceError("The device is gone.")

    def endless() -> Iterator[Document]:
        number = 0
        while True:
            yield Document(str(number := number + 1), "text")

    before = threading.active_count()
    monkeypatch.setattr(Plain, step, failing)
    with pytest.raises(DeviceError, match="The device is gone"):
        pipeline.run(endless(), Plain(), Willing(), dead)  # type: ignore[arg-type]
    assert threading.active_count() == before


def test_an_index_that_disappears_ends_the_run(dead: DeadLetterFile) -> None:
    """The writer's error is raised as it is."""

    class Gone(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            raise TargetError(f"gone before {len(actions)}")

    with pytest.raises(TargetError, match="gone before 5"):
        pipeline.run(documents(5), Plain(), Gone(), dead)  # type: ignore[arg-type]


def test_what_the_ledger_knows_is_neither_encoded_nor_sent(dead: DeadLetterFile, ledger: Ledger) -> None:
    """A changed document and a new one are; the report tells them apart."""
    encoder, cluster = Plain(), Willing()
    pipeline.run(documents(3), encoder, cluster, dead, ledger=ledger)  # type: ignore[arg-type]
    changed = [*documents(2), Document("2", "other text"), Document("3", "text")]
    report = pipeline.run(changed, encoder, cluster, dead, ledger=ledger)  # type: ignore[arg-type]
    assert (report.read, report.unchanged, report.indexed) == (4, 2, 2)
    assert encoder.encoded == cluster.taken == ["0", "1", "2", "2", "3"]
    assert ledger.documents == 4


def test_a_changed_document_is_forgotten_before_it_is_sent(dead: DeadLetterFile, ledger: Ledger) -> None:
    """Killed between the cluster's word and ours, a source that goes back to its old content is not skipped."""
    pipeline.run(documents(1), Plain(), Willing(), dead, ledger=ledger)  # type: ignore[arg-type]
    known: list[int] = []

    class Watching(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            known.append(ledger.documents)
            return super().write(actions)

    pipeline.run([Document("0", "new")], Plain(), Watching(), dead, ledger=ledger)  # type: ignore[arg-type]
    assert known == [0]
    assert ledger.documents == 1


def test_a_refused_document_is_not_noted(dead: DeadLetterFile, ledger: Ledger) -> None:
    """So the next run tries it again."""

    class Refusing(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            return [Failure(actions[0].id, "400 bad")]

    report = pipeline.run(documents(3), Plain(), Refusing(), dead, ledger=ledger)  # type: ignore[arg-type]
    assert (report.indexed, report.dead, ledger.documents) == (2, 1, 2)


@pytest.mark.parametrize("bad", ["", "x" * 513, "ü" * 257, "\ud800"], ids=ascii)
def test_an_id_that_no_index_takes_is_a_dead_letter(bad: str, dead: DeadLetterFile, ledger: Ledger) -> None:
    """Documents made in Python went through no source; such an id would spoil a whole request, or the ledger."""
    encoder = Plain()
    given = [Document(bad, "a"), Document("x" * 512, "b")]
    report = pipeline.run(given, encoder, Willing(), dead, ledger=ledger)  # type: ignore[arg-type]
    assert encoder.encoded == ["x" * 512]
    assert (report.read, report.indexed, report.dead) == (2, 1, 1)
    assert json.loads(dead.path.read_bytes())["reason"].startswith("The id ")


def test_what_json_cannot_hold_is_a_dead_letter(dead: DeadLetterFile) -> None:
    """And the rest goes on."""
    odd = Document("odd", "text", "", {"big": 2**70})
    report = pipeline.run([odd, *documents(2)], Plain(), Willing(), dead)  # type: ignore[arg-type]
    assert (report.read, report.indexed, report.dead) == (3, 2, 1)
    (letter,) = [json.loads(line) for line in dead.path.read_text().splitlines()]
    assert letter["reason"].startswith("It cannot be written as JSON")


def test_a_ledger_that_cannot_be_written_stops_the_run(
    dead: DeadLetterFile, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster's word still counts, and the rest is not sent."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)

    def full(*_: Any) -> None:
        raise LedgerError("make room")

    monkeypatch.setattr(ledger, "acknowledge", full)
    seen: list[int] = []
    cluster = Willing()
    with pytest.raises(LedgerError, match="make room"):
        pipeline.run(
            documents(5000),
            Plain(),  # type: ignore[arg-type]
            cluster,  # type: ignore[arg-type]
            dead,
            lambda report: seen.append(report.indexed),
            ledger=ledger,
        )
    assert 10 <= seen[-1] == len(cluster.taken) < 5000


def test_bulk_requests_are_limited_by_bytes(dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """By count as well; a document that is larger alone goes alone."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 4)
    monkeypatch.setattr(sender, "BULK_BYTES", 100)
    sizes = [10, 10, 10, 10, 10, 60, 60, 300, 1]

    class Sized(Plain):
        def serialise(self, encoded: Sequence[Encoded], _report: Any) -> list[Action]:
            return [Action(one.document.id, b"x" * sizes[int(one.document.id)]) for one in encoded]

    requests: list[list[int]] = []

    class Listening(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            requests.append([len(action.source) for action in actions])
            return []

    report = pipeline.run(documents(len(sizes)), Sized(), Listening(), dead)  # type: ignore[arg-type]
    assert sorted(requests) == sorted([[10, 10, 10, 10], [10, 60], [60], [300], [1]])
    assert report.bulks == 5


@pytest.mark.parametrize("slow", ["source", "encoder", "cluster"])
def test_the_slowest_step_is_told(slow: str, dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """By which channels are crowded."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)
    monkeypatch.setattr(pipeline, "ROOM", 8)

    def slowly(items: Iterable[Any], step: str) -> Iterator[Any]:
        for item in items:
            if step == slow:
                time.sleep(0.002)
            yield item

    class Slow(Plain):
        def sparse_rows(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[Any]:
            return slowly(super().sparse_rows(token_ids), "encoder")

    class Late(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            return super().write(list(slowly(actions, "cluster")))

    report = pipeline.run(slowly(documents(300), "source"), Slow(), Late(), dead)  # type: ignore[arg-type]
    assert report.slowest == slow


def test_a_trickling_source_is_not_held_up(dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document reaches the cluster though no more follow and the source does not end."""
    monkeypatch.setattr(pipeline, "SENDER_PATIENCE", 0.01)
    arrived = threading.Event()

    class Awaited(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            arrived.set()
            return super().write(actions)

    def trickling() -> Iterator[Document]:
        yield Document("0", "text")
        assert arrived.wait(10)

    assert pipeline.run(trickling(), Plain(), Awaited(), dead).indexed == 1  # type: ignore[arg-type]


# Channels


def test_a_channel_is_bounded_and_keeps_order() -> None:
    """The writer waits while it is full; the reader takes all that is there."""
    channel = Channel[int](3)
    worker = threading.Thread(target=lambda: [*map(channel.put, range(10)), channel.end()])
    worker.start()
    batches = list(channel.takes(1))
    worker.join()
    assert [item for batch in batches for item in batch] == list(range(10))
    assert max(map(len, batches)) <= 3


def test_a_channel_tells_when_nothing_comes() -> None:
    """By an empty list, again and again."""
    channel = Channel[int](3)
    takes = channel.takes(0.001)
    assert [next(takes), next(takes)] == [[], []]
    channel.put(1)
    channel.end()
    assert list(takes) == [[1]]


def test_a_broken_channel_stops_both_sides() -> None:
    """Neither waits for the other."""
    channel = Channel[int](1)
    channel.put(1)
    timer = threading.Timer(0.01, channel.break_off)
    timer.start()
    with pytest.raises(BrokenOffError):
        channel.put(2)
    with pytest.raises(BrokenOffError):
        next(channel.takes(1))
    timer.join()
