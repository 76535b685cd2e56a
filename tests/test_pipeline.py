"""The pipeline when something breaks off or trickles: nothing that is known about a document is forgotten."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opensearch_splade.errors import ClusterError, DeviceError, LedgerError, SourceError, TargetError
from opensearch_splade.ingest import encoder_step, pipeline, report, sender, waits
from opensearch_splade.ingest.bulk import Action, Failure, GaveUpError
from opensearch_splade.ingest.channel import BrokenOffError, Channel
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.ingest.document_encoder import Tokenised
from opensearch_splade.ingest.gate import Gate
from opensearch_splade.ingest.ledger import Entry, Ledger, Target
from opensearch_splade.ingest.passages import Passage
from opensearch_splade.ingest.serialiser import Encoded
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.stream import in_order
from opensearch_splade.types import Document, Features


class Plain:
    """Stands for an encoder: actions without vectors."""

    dense = None
    counts_all = False
    marker = ("m1",)

    def __init__(self) -> None:
        self.encoded: list[str] = []

    @property
    def serialiser(self) -> Plain:
        """Itself."""
        return self

    def tokenise(self, documents: Sequence[Document]) -> list[Tokenised]:
        """One token each."""
        return [Tokenised([Passage(0, len(one.text))], [[1]]) for one in documents]

    def added_to(self, _document: Document) -> tuple[Features, Features]:
        """Nothing."""
        return {}, {}

    def sparse_rows(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[Any]:
        """One row each, at once."""
        return ([(np.array([1]), np.array([1.0]))] for tokens in token_ids if tokens)

    def passage_rows(self, _pieces: Sequence[Any], rows: Sequence[list[Any]]) -> list[Any]:
        """As they are."""
        return [row for each in rows for row in each]

    def actions(self, encoded: Sequence[Encoded], _report: Any) -> list[list[Action]]:
        """One per document."""
        self.encoded += [one.document.id for one in encoded]
        return [[Action(one.document.id, b"{}")] for one in encoded]


class Leaving:
    """Stands for a cluster that goes away: the first request is given up half-way, the second refused in part."""

    def __init__(self) -> None:
        self.gate = Gate()

    def write(self, actions: list[Action]) -> list[Failure]:
        """By the request's first document."""
        if actions[0].id == "0":
            raise GaveUpError("The cluster did not take 1 documents", [Failure("1", "400 bad")], pending=["3"])
        return [Failure(actions[-1].id, "400 worse")]


class Willing:
    """Stands for a cluster that takes everything."""

    def __init__(self) -> None:
        self.gate = Gate()
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


@pytest.mark.parametrize("step", ["tokenise", "sparse_rows", "actions"])
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
        def actions(self, encoded: Sequence[Encoded], _report: Any) -> list[list[Action]]:
            return [[Action(one.document.id, b"x" * sizes[int(one.document.id)])] for one in encoded]

    requests: list[list[int]] = []

    class Listening(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            requests.append([action.size for action in actions])
            return []

    report = pipeline.run(documents(len(sizes)), Sized(), Listening(), dead)  # type: ignore[arg-type]
    assert sorted(requests) == sorted([[10, 10, 10, 10], [10, 60], [60], [300], [1]])
    assert report.bulks == 5


class Ahead(Plain):
    """An encoder as the real one is: it reads a window ahead and works on batches in threads of its own."""

    plan = Plan(batches=2, threads=1, token_budget=4)
    token_budget = 4

    def sparse_rows(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[Any]:
        """By way of the real stream."""
        return ([row] for row in in_order(token_ids, self.run, self))

    def run(self, batch: list[Sequence[int]]) -> list[Any]:
        """One batch."""
        return [[(np.array([1]), np.array([1.0]))]] * len(batch)


class Slow:
    """Makes one step slow: so many seconds a document."""

    def __init__(self, step: str, seconds: float = 0.002) -> None:
        self.step, self.seconds = step, seconds

    def work(self, step: str, documents: int) -> None:
        """Takes its time if it is the slow step."""
        if step == self.step:
            time.sleep(self.seconds * documents)

    def source(self, count: int) -> Iterator[Document]:
        """Documents."""
        for document in documents(count):
            self.work("source", 1)
            yield document

    def encoder(self) -> Plain:
        """An encoder and what belongs to it."""

        class Encoder(Ahead):
            def tokenise(encoder, documents: Sequence[Document]) -> list[Tokenised]:  # noqa: N805 - two of them
                self.work("tokenizer", len(documents))
                return super().tokenise(documents)

            def run(encoder, batch: list[Sequence[int]]) -> list[Any]:  # noqa: N805
                self.work("encoder", 2 * len(batch))  # of which two run at once
                return super().run(batch)

            def actions(encoder, encoded: Sequence[Encoded], report: Any) -> list[list[Action]]:  # noqa: N805
                self.work("codec", len(encoded))
                return super().actions(encoded, report)

        return Encoder()

    def cluster(self) -> Willing:
        """A writer."""

        class Cluster(Willing):
            def write(cluster, actions: list[Action]) -> list[Failure]:  # noqa: N805
                self.work("cluster", 8 * len(actions))  # of which up to eight are on their way
                return super().write(actions)

        return Cluster()


STEPS = ["source", "tokenizer", "encoder", "codec", "cluster"]


@pytest.mark.parametrize("name", STEPS)
def test_the_slowest_step_is_told(name: str, dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that waits least for its neighbours, be the channels full or empty."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)
    monkeypatch.setattr(pipeline, "ROOM", 8)
    slow = Slow(name)
    report = pipeline.run(slow.source(300), slow.encoder(), slow.cluster(), dead)  # type: ignore[arg-type]
    assert report.slowest == name
    assert list(report.steps) == STEPS
    assert max(report.steps, key=lambda step: report.steps[step]["busy"]) == name
    assert report.indexed == 300


def test_what_is_slow_just_now_is_told_just_now(dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source first, then the encoder: what came first is forgotten after some seconds, here fractions of one."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)
    monkeypatch.setattr(pipeline, "ROOM", 8)
    monkeypatch.setattr(waits, "_SPAN", 0.2)
    monkeypatch.setattr(report, "TICK", 0.02)
    slow = Slow("source", 0.004)

    def changing() -> Iterator[Document]:
        for number, document in enumerate(slow.source(500)):
            if number == 250:
                slow.step = "encoder"
            yield document

    told: list[str] = []
    pipeline.run(
        changing(),
        slow.encoder(),  # type: ignore[arg-type]
        slow.cluster(),  # type: ignore[arg-type]
        dead,
        lambda one: told.append(one.slowest),
    )
    middle = [name for name in told if name in {"source", "encoder"}]
    changes = [after for before, after in pairwise(middle) if before != after]
    assert middle[0] == "source"
    assert changes[:1] == ["encoder"]


def test_it_is_told_while_nothing_is_settled(dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that takes minutes for its first request: queues, and what is waited for, are told meanwhile."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)
    monkeypatch.setattr(pipeline, "ROOM", 8)
    monkeypatch.setattr(report, "TICK", 0.01)
    seen = threading.Event()

    class Stuck(Willing):
        def write(self, actions: list[Action]) -> list[Failure]:
            assert seen.wait(10)
            return super().write(actions)

    def watch(told: report.IngestReport) -> None:
        if not told.indexed and told.slowest == "cluster" and told.queues["codec"] == 8:
            seen.set()

    done = pipeline.run(documents(300), Ahead(), Stuck(), dead, watch)  # type: ignore[arg-type]
    assert seen.is_set()
    assert (done.indexed, done.queues["codec"]) == (300, 0)


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


def test_a_channel_is_bounded_by_size_too() -> None:
    """What is larger than the whole room passes alone."""
    channel = Channel[int](100, size=lambda item: item, sizes=10)
    worker = threading.Thread(target=lambda: [*map(channel.put, [4, 5, 2, 30, 1, 9, 1]), channel.end()])
    worker.start()
    batches = list(channel.takes(1))
    worker.join()
    assert [item for batch in batches for item in batch] == [4, 5, 2, 30, 1, 9, 1]
    assert all(sum(batch) <= 10 or batch == [30] for batch in batches)


def test_an_encoder_holds_few_long_documents(dead: DeadLetterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window counts tokens, of which a long text has no more than the model takes: it goes on before it is full."""
    monkeypatch.setattr(encoder_step, "HELD", 100)
    monkeypatch.setattr(pipeline, "ROOM_SIZE", 100)
    held: list[int] = []

    class Counting(Ahead):
        token_budget = 1000

        def sparse_rows(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[Any]:
            def counted() -> Iterator[Sequence[int] | None]:
                for tokens in token_ids:
                    held.append(0 if tokens is None else held[-1] + 1 if held else 1)
                    yield tokens

            return super().sparse_rows(counted())

    many = [Document(str(number), "x" * 30) for number in range(100)]
    assert pipeline.run(many, Counting(), Willing(), dead).indexed == 100  # type: ignore[arg-type]
    assert max(held) <= 8


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
