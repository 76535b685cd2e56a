"""Report: what a run did, told while it goes on and at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

TICK = 0.5
"""Seconds after which is told how things are, though nothing was settled."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How bulk requests go.

    Attributes:
        size: Bytes that the next one should have.
        number: How many may be on their way.
        flying: How many are.
        flying_bytes: Their bytes before compression.
        compressed: Acknowledged ones that went compressed.
        seconds: Latency of acknowledged ones: ``p50``, ``p90``, ``p99`` and ``max``.
        retries: Documents that had to be sent again, by reason.
    """

    size: int = 0
    number: int = 0
    flying: int = 0
    flying_bytes: int = 0
    compressed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class IngestReport:
    """What a run did. Counts are documents.

    Attributes:
        read: Records taken from the source.
        unchanged: In the index already, by the ledger; not encoded again.
        indexed: Acknowledged by the cluster.
        superseded: Of which a later version is in the index: old dead letters, or written in place by others meanwhile.
        dead: Put into the dead letters.
        truncated: At the bundle's maximum length, so most likely longer: what comes after it is found by BM25 only.
        featureless: Without any feature: found by BM25 and kNN only.
        passages: What one vector could stand for: documents, or what they were cut into.
        gated: Passages that the gate left without a vector.
        features: Features written, added ones not counted.
        clipped: Of these, with a weight above the ceiling of a ``sparse_vector`` field, to which SEISMIC cuts it.
        bulks: Bulk requests' worth of documents that were settled.
        retries: Documents that had to be sent again.
        seconds: Wall time.
        slowest: The step that holds the rest up just now; at the end, the one that worked most of the time: ``source``,
            ``tokenizer``, ``encoder``, ``dense encoder``, ``codec`` or ``cluster``.
        steps: Seconds of each step by what it did: ``busy``, ``starved`` (waiting for the step before it), ``blocked``
            (waiting for the one after it).
        queues: Documents that wait before each step.
        sending: How bulk requests go.
    """

    read: int = 0
    unchanged: int = 0
    indexed: int = 0
    superseded: int = 0
    dead: int = 0
    truncated: int = 0
    featureless: int = 0
    passages: int = 0
    gated: int = 0
    features: int = 0
    clipped: int = 0
    bulks: int = 0
    retries: int = 0
    seconds: float = 0.0
    slowest: str = ""
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    sending: Sending = field(default_factory=Sending)

    @property
    def rate(self) -> float:
        """Documents per second."""
        return self.indexed / self.seconds if self.seconds else 0.0


Progress = Callable[[IngestReport], None]


class Teller:
    """Tells the report on; called from several threads. As a context it also does so from time to time.

    Args:
        report: Each of its counts is kept by one thread.
        refresh: Brings in what others count.
        on_progress: Who is told.
    """

    def __init__(self, report: IngestReport, refresh: Callable[[], None], on_progress: Progress) -> None:
        self._report, self._refresh, self._on_progress = report, refresh, on_progress
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="teller")

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._ticker.join()

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            self()

    def __call__(self) -> None:
        """Tells how things are now."""
        with self._lock:
            self._refresh()
            self._report.seconds = time.monotonic() - self._start
            self._on_progress(self._report)
