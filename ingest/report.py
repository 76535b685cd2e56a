"""Report: what a run did, told while it goes on and at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class IngestReport:
    """What a run did. Counts are documents.

    Attributes:
        read: Records taken from the source.
        unchanged: In the index already, by the ledger; not encoded again.
        indexed: Acknowledged by the cluster.
        superseded: Old dead letters of which a later version is in the index.
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
        slowest: What holds the rest up just now: ``source``, ``encoder`` or ``cluster``; at the end, what did so most
            often.
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

    @property
    def rate(self) -> float:
        """Documents per second."""
        return self.indexed / self.seconds if self.seconds else 0.0


Progress = Callable[[IngestReport], None]


class Teller:
    """Tells the report on; called from several threads.

    Args:
        report: Each of its counts is kept by one thread.
        refresh: Brings in what others count.
        on_progress: Who is told.
    """

    def __init__(self, report: IngestReport, refresh: Callable[[], None], on_progress: Progress) -> None:
        self._report, self._refresh, self._on_progress = report, refresh, on_progress
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Tells how things are now."""
        with self._lock:
            self._refresh()
            self._report.seconds = time.monotonic() - self._start
            self._on_progress(self._report)
