"""Gate: all bulk requests pass it, so that what one of them meets, all of them heed.

It lets through as many as the pace allows, holds all back while the cluster recovers, and keeps count.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opensearch_splade.ingest.latencies import Latencies
from opensearch_splade.ingest.pacing import Pace


@dataclass(slots=True)
class Flight:
    """One request on its way, or back.

    Attributes:
        size: Bytes before compression.
        compressed: Whether it goes compressed.
        begun: When it was let through.
        seconds: How long it took, once it is back.
        flying: How many were on their way when it came back, itself included.
    """

    size: int
    compressed: bool = False
    begun: float = 0.0
    seconds: float = 0.0
    flying: int = 0


class Gate:
    """Shared by all threads that send.

    Args:
        pace: What it learns from and goes by.
        clock: Seconds that never go back.
    """

    def __init__(self, pace: Pace | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace, self._clock = pace or Pace(), clock
        self._changed = threading.Condition()
        self._open_from = 0.0
        self.flying = self.flying_bytes = 0
        """Requests on their way, and their bytes."""
        self.compressed = 0
        """Acknowledged requests that went compressed."""
        self.latencies = Latencies()
        """Of acknowledged requests."""
        self.retries: Counter[str] = Counter()
        """Documents that had to be sent again, by reason."""

    @property
    def size(self) -> int:
        """Bytes that the next request should have."""
        return self._pace.size

    @property
    def number(self) -> int:
        """Requests that may be on their way."""
        return self._pace.number

    def histogram(self) -> tuple[list[tuple[float, int]], float]:
        """Upper bounds and how many latencies are at most so long, and the sum of all, in seconds."""
        with self._changed:
            return self.latencies.doublings(), self.latencies.total

    @contextmanager
    def request(self, flight: Flight) -> Iterator[None]:
        """Waits until the request may go; to be left when its answer is there."""
        with self._changed:
            while (wait := self._open_from - self._clock()) > 0 or self.flying >= self._pace.number:
                self._changed.wait(wait if wait > 0 else None)
            self.flying += 1
            self.flying_bytes += flight.size
            flight.begun = self._clock()
        try:
            yield
        finally:
            with self._changed:
                flight.seconds, flight.flying = self._clock() - flight.begun, self.flying
                self.flying -= 1
                self.flying_bytes -= flight.size
                self._changed.notify_all()

    def acknowledged(self, flight: Flight) -> None:
        """The cluster took the request, and was not too busy for any of its documents."""
        with self._changed:
            self.latencies.add(flight.seconds)
            self.compressed += flight.compressed
            self._pace.succeeded(
                flight.size, flight.seconds, flying=flight.flying, begun=flight.begun, now=self._clock()
            )
            self._changed.notify_all()

    def refused(self, flight: Flight, reason: str, documents: int, *, timed_out: bool = False) -> None:
        """The cluster was too busy for some documents of a request, or lost it."""
        with self._changed:
            self.retries[reason] += documents
            self._pace.refused(begun=flight.begun, now=self._clock(), timed_out=timed_out)

    def too_large(self, flight: Flight) -> None:
        """The cluster takes no request of this size."""
        with self._changed:
            self._pace.too_large(flight.size)

    def pause(self, seconds: float) -> None:
        """Nobody's next request goes before so many seconds have passed."""
        with self._changed:
            self._open_from = max(self._open_from, self._clock() + seconds)
