"""The pace against simulated clusters: time is given in, nothing sleeps."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable

import pytest

from opensearch_splade.ingest.gate import Flight, Gate
from opensearch_splade.ingest.latencies import Latencies
from opensearch_splade.ingest.pacing import Pace, PaceLimits

Latency = Callable[[int, int], float]
"""Seconds of a request, by its bytes and how many are on their way."""


def works_on(most: int, speed: float) -> Latency:
    """A cluster that works on so many requests at once, each at so many bytes a second; more share that."""
    return lambda size, flying: 0.005 + size / speed * max(1.0, flying / most)


def drive(pace: Pace, latency: Latency, requests: int, *, begin: float = 0.0) -> float:
    """Keeps as many on their way as the pace allows, each as large as it says. Gives the time of the last answer."""
    now, flying = begin, list[tuple[float, float, int]]()
    while requests:
        while len(flying) < pace.number:
            heapq.heappush(flying, (now + latency(pace.size, len(flying) + 1), now, pace.size))
        count = len(flying)
        now, begun, size = heapq.heappop(flying)
        pace.succeeded(size, now - begun, flying=count, begun=begun, now=now)
        requests -= 1
    return now


@pytest.mark.parametrize("speed", [800_000.0, 2_000_000.0, 5_000_000.0])
def test_a_request_comes_to_take_the_target_time(speed: float) -> None:
    """From far below and from far above."""
    for size in (250_000, 8_000_000):
        pace = Pace(PaceLimits(most=1), size=size, number=1)
        drive(pace, works_on(1, speed), 30)
        assert pace.size == pytest.approx(speed, rel=0.05)


def test_sizes_stay_between_floor_and_ceiling() -> None:
    """However slow or fast the cluster is."""
    slow, fast = Pace(), Pace()
    drive(slow, works_on(1, 1000.0), 50)
    drive(fast, works_on(1, 1e9), 50)
    assert (slow.size, fast.size) == (slow.limits.floor, fast.limits.ceiling)


def test_small_requests_do_not_shrink_the_size() -> None:
    """A half-empty request that was answered soon says nothing about full ones, one that was slow does."""
    pace = Pace(size=4_000_000)
    pace.succeeded(10_000, 0.5, flying=1, begun=0.0, now=0.5)
    assert pace.size == 4_000_000
    pace.succeeded(10_000, 5.0, flying=1, begun=1.0, now=6.0)
    assert pace.size < 4_000_000


@pytest.mark.parametrize("most", [1, 2, 4, 6])
def test_as_many_are_on_their_way_as_bring_more(most: int) -> None:
    """It finds what the cluster works on at once, and goes on with one more at most while it tries."""
    pace = Pace()
    drive(pace, works_on(most, 2_000_000.0), 400)
    assert most <= pace.number <= most + 1


def test_it_follows_a_cluster_that_changes() -> None:
    """One that grows gets more requests; one that shrinks gets fewer."""
    pace = Pace()
    now = drive(pace, works_on(2, 2_000_000.0), 300)
    now = drive(pace, works_on(5, 2_000_000.0), 600, begin=now)
    assert 5 <= pace.number <= 6
    drive(pace, works_on(1, 2_000_000.0), 600, begin=now)
    assert pace.number <= 2


def test_where_the_number_does_not_limit_it_stays() -> None:
    """With a slow encoder one request is on its way at a time, which says nothing about two."""
    pace = Pace()
    for now in range(100):
        pace.succeeded(pace.size, 0.2, flying=1, begun=now, now=now + 0.2)
    assert pace.number == 2


def test_a_refusal_halves_the_number_once() -> None:
    """All requests that were on their way together are refused together."""
    pace = Pace(number=8)
    for _ in range(8):
        pace.refused(begun=1.0, now=2.0)
    assert pace.number == 4
    pace.refused(begun=2.5, now=3.0)
    assert pace.number == 2


def test_the_size_shrinks_when_the_number_cannot() -> None:
    """Or when requests time out, which are then too large in any number."""
    pace = Pace(size=4_000_000, number=1)
    pace.refused(begun=1.0, now=2.0)
    assert (pace.number, pace.size) == (1, 2_000_000)
    pace = Pace(size=4_000_000, number=4)
    pace.refused(begun=1.0, now=31.0, timed_out=True)
    assert (pace.number, pace.size) == (2, 2_000_000)


def test_it_recovers_step_by_step() -> None:
    """After a refusal it comes back to what pays."""
    pace = Pace(number=4)
    pace.refused(begun=1.0, now=2.0)
    pace.refused(begun=3.0, now=4.0)
    assert pace.number == 1
    drive(pace, works_on(4, 2_000_000.0), 300, begin=5.0)
    assert 4 <= pace.number <= 5


def test_what_is_too_large_is_not_tried_again() -> None:
    """A proxy's limit holds for the whole run, below the floor too."""
    pace = Pace(size=1_000_000)
    pace.too_large(300_000)
    drive(pace, works_on(1, 1e9), 50)
    assert pace.size == 150_000


# The gate


class Clock:
    """Time that goes by only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_the_gate_lets_through_as_many_as_the_pace_allows() -> None:
    """Whoever comes then waits until one is back."""
    gate = Gate(Pace(number=1))
    first, inside, entered = gate.request(Flight(10)), threading.Event(), threading.Event()

    def second() -> None:
        inside.set()
        with gate.request(Flight(20)):
            entered.set()

    worker = threading.Thread(target=second)
    with first:
        worker.start()
        inside.wait()
        assert not entered.wait(0.05)
        assert (gate.flying, gate.flying_bytes) == (1, 10)
    worker.join()
    assert entered.is_set()
    assert (gate.flying, gate.flying_bytes) == (0, 0)


def test_a_refusal_holds_everybody_back() -> None:
    """Not only the request that was refused; and all wait as long as the longest pause."""
    clock, entered = Clock(), threading.Event()
    gate = Gate(Pace(number=4), clock)
    flight = Flight(10)
    with gate.request(flight):
        clock.now += 1
    gate.refused(flight, "HTTP 429", 5)
    gate.pause(0.3)
    gate.pause(0.01)
    assert (gate.number, gate.retries) == (2, {"HTTP 429": 5})

    def another() -> None:
        with gate.request(Flight(10)):
            entered.set()

    worker = threading.Thread(target=another)
    worker.start()
    assert not entered.wait(0.1)
    clock.now += 1
    worker.join()


def test_the_gate_measures_and_learns() -> None:
    """Latency is from being let through to the answer, the waiting before it left out."""
    clock = Clock()
    gate = Gate(Pace(size=1_000_000), clock)
    for _ in range(10):
        flight = Flight(gate.size, compressed=True)
        with gate.request(flight):
            clock.now += 0.25
        gate.acknowledged(flight)
    assert gate.size > 3_000_000
    assert gate.compressed == 10
    assert gate.latencies.quantiles()["max"] == 0.25
    gate.too_large(flight)
    assert gate.size <= flight.size // 2


def test_latencies_are_kept_within_a_fifth() -> None:
    """Quantiles are upper bounds; the buckets of a scrape count all."""
    latencies = Latencies()
    assert latencies.quantiles() == {}
    values = [number / 1000 for number in range(1, 1001)] + [500.0]
    for value in values:
        latencies.add(value)
    found = latencies.quantiles()
    for name, exact in {"p50": 0.5, "p90": 0.9, "p99": 0.99}.items():
        assert exact <= found[name] <= exact * 1.2
    assert found["max"] == 500
    counts = latencies.doublings()
    assert counts[0] == (0.005, 5)
    assert counts[-1] == (float("inf"), 1001)
    assert latencies.total == pytest.approx(sum(values))
