"""The pace of a migration: users come first, and it ends all the same. Time is given in; the last test asks a node."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from migrations import make_old, open_job

from opensearch_splade.migration import pacing
from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.history import History
from opensearch_splade.migration.pacing import LEAST, Pacer, Searches, Throttle, Window, pacer, users_searches
from opensearch_splade.plugin.client import connect
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

FULL = 400.0
"""Documents a second that the simulated pipeline takes."""

windows = st.builds(
    Window,
    st.floats(0.5, 30),
    st.integers(0, 20_000),
    st.builds(Searches, st.integers(0, 500), st.floats(0, 1e5)),
)


@given(st.lists(windows, max_size=80), st.sampled_from([5.0, 100.0, math.inf]))
def test_the_rate_stays_between_the_least_and_the_most(seen: list[Window], most: float) -> None:
    """Whatever the cluster says."""
    throttle = Throttle(most)
    for window in seen:
        throttle.judge(window)
        assert min(LEAST, most) <= throttle.rate <= most


@given(st.lists(windows, max_size=30), st.lists(windows, max_size=30))
def test_nobody_holds_back_whom_nobody_sees(before: list[Window], after: list[Window]) -> None:
    """Without users' searches the rate never falls, whatever happened before; nor if it is told to look away."""
    throttle, blind = Throttle(), Throttle(worst=None)
    for window in before:
        throttle.judge(window)
        blind.judge(window)
    assert blind.rate == math.inf
    for window in after:
        rate = throttle.rate
        throttle.judge(window._replace(users=Searches()))
        assert throttle.rate >= rate


@given(st.lists(windows, min_size=1, max_size=60))
def test_slow_searches_never_raise_the_rate_and_quick_ones_never_lower_it(seen: list[Window]) -> None:
    """The rate moves the way that the last look says."""
    throttle = Throttle()
    for window in seen:
        rate, baseline, alone = throttle.rate, throttle.baseline, throttle.alone
        throttle.judge(window)
        if alone or baseline is None or window.users.count < pacing.ENOUGH:
            assert throttle.rate >= rate
        elif window.users.mean > 1.5 * baseline:
            assert throttle.rate <= rate
        else:
            assert throttle.rate >= rate


@dataclass
class Cluster:
    """Users search it 20 times a second; ``latency`` says how long that takes while so many documents a second come."""

    latency: Callable[[float, float], float]  # of time and rate, in milliseconds
    queries: float = 20.0
    now: float = 0.0
    count: float = 0.0
    ms: float = 0.0
    documents: int = 0
    rate: float = 0.0  # of the last second or so

    def sleep(self, seconds: float) -> None:
        """Time passes, and users search."""
        self.now += seconds
        self.rate *= math.exp(-seconds)
        self.count += seconds * self.queries
        self.ms += seconds * self.queries * self.latency(self.now, self.rate)

    def read(self, pace: Pacer, seconds: float) -> float:
        """Reads for so long. Gives documents a second."""
        begun, before = self.now, self.documents
        for _ in pace(self._documents()):
            self.documents += 1
            self.rate += 1.0
            self.sleep(1 / FULL)
            if self.now - begun >= seconds:
                break
        return (self.documents - before) / (self.now - begun)

    @staticmethod
    def _documents() -> Iterator[Document]:
        while True:
            yield Document("1", "text")

    def pacer(self, throttle: Throttle) -> Pacer:
        """At work here."""
        seen = lambda: Searches(int(self.count), self.ms)  # noqa: E731 - of this cluster
        return Pacer(seen, throttle, clock=lambda: self.now, sleep=self.sleep)


@pytest.mark.parametrize("most", [1.0, 7.0, 50.0, 300.0])
def test_no_more_than_the_most_is_read(most: float) -> None:
    """Over any time, however uneven the documents come."""
    cluster = Cluster(lambda _now, _rate: 2.0)
    pace = cluster.pacer(Throttle(most))
    assert cluster.read(pace, 100) == pytest.approx(most, rel=0.05)
    cluster.sleep(60)  # time that passed unused is not made up for
    assert cluster.read(pace, 20) <= most * 1.05 + 1


def test_users_that_do_not_suffer_change_nothing() -> None:
    """The pipeline's own pace is the pace."""
    cluster = Cluster(lambda _now, _rate: 2.0)
    pace = cluster.pacer(Throttle())
    assert cluster.read(pace, 200) == pytest.approx(FULL, rel=0.05)
    assert (pace.said, pace.throttle.baseline) == ("", pytest.approx(2.0, rel=0.05))


def test_reading_slows_down_to_what_users_bear() -> None:
    """Searches take 1 ms more for each 100 documents a second: 100 are borne. It stays near, and recovers after."""
    cluster = Cluster(lambda now, rate: 2.0 + (rate / 100 if now < 600 else 0.0))
    pace = cluster.pacer(Throttle(worst=1.5))
    cluster.read(pace, 100)
    assert "slowed down to" in pace.said
    assert 50 <= cluster.read(pace, 400) <= 125
    cluster.read(pace, 250)
    assert (pace.said, cluster.read(pace, 50)) == ("", pytest.approx(FULL, rel=0.05))


def test_users_that_are_slow_without_us_do_not_hold_back_for_ever() -> None:
    """From some hour on their searches take thrice as long, whoever reads: a look at them alone shows it."""
    cluster = Cluster(lambda now, _rate: 2.0 if now < 60 else 6.0)
    pace = cluster.pacer(Throttle())
    cluster.read(pace, 50)
    cluster.read(pace, 250)
    assert pace.throttle.baseline == pytest.approx(6.0, rel=0.05)
    assert cluster.read(pace, 50) == pytest.approx(FULL, rel=0.05)


def test_users_that_come_later_are_looked_at_alone_first() -> None:
    """Nobody searched when it began, so what a search takes without us is found out when the first ones do."""
    cluster = Cluster(lambda _now, rate: 2.0 + rate / 100, queries=0.0)
    pace = cluster.pacer(Throttle())
    cluster.read(pace, 20)
    assert pace.throttle.baseline is None
    cluster.queries = 20.0
    cluster.read(pace, 60)
    assert pace.throttle.baseline == pytest.approx(2.0, rel=0.1)
    assert pace.throttle.is_slowed


def test_a_cluster_that_says_nothing_is_read_at_full_speed() -> None:
    """And it is told that users cannot be seen."""
    cluster = Cluster(lambda _now, _rate: 2.0)
    pace = Pacer(lambda: None, Throttle(), clock=lambda: cluster.now, sleep=cluster.sleep)
    assert cluster.read(pace, 30) == pytest.approx(FULL, rel=0.05)
    assert pace.said == "does not see users' searches"


def test_counts_that_begin_anew_say_nothing() -> None:
    """As they do when a shard moves to another node."""
    assert Searches(5, 10.0).since(Searches(90, 400.0)) == Searches()
    assert Searches(95, 410.0).since(Searches(90, 400.0)) == Searches(5, 10.0)


def test_our_own_searches_are_no_users(client: OpenSearch, index_name: str) -> None:
    """What a migration reads is counted apart; what others ask is theirs. An index that is gone says nothing."""
    make_old(client, index_name, 20, shards=1)
    before = users_searches(client, index_name)
    history = History(client, index_name, 0)
    read = sum(len(hits) for hits in history.read(-1, history.checkpoint(), page=5))
    assert before is not None
    assert read == 20
    assert users_searches(client, index_name) == before
    for _ in range(3):
        client.search(index=index_name, body={"query": {"match": {"body": "fox"}}})
    after = users_searches(client, index_name)
    assert after is not None
    assert after.count == before.count + 3
    assert users_searches(client, f"{index_name}-gone") is None


def test_a_migration_yields_to_users_of_a_live_index(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches that grow heavy while we read slow it down, and everything is brought over all the same."""
    monkeypatch.setattr(pacing, "LOOK", 0.3)
    monkeypatch.setattr(pacing, "_SETTLE", 0.1)
    make_old(client, f"{index_name}-old", 200, shards=1)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    begin(job)
    pace = pacer(client, job.source.name, 50, 1.5)
    over, slowed = threading.Event(), list[str]()
    script = "double x = 0; for (int i = 0; i < params.n; ++i) { x += Math.sin(i) } return x + 1"

    def search() -> None:
        with connect(node.url) as user:
            while not over.is_set():
                n = 1 if pace.throttle.baseline is None else 800  # as if it were us who slow them down
                source = {"source": script, "params": {"n": n}}
                query = {"script_score": {"query": {"match_all": {}}, "script": source}}
                user.search(index=job.source.name, body={"query": query, "size": 1})

    thread = threading.Thread(target=search)
    thread.start()
    while (seen := users_searches(client, job.source.name)) is None or seen.count < 100:  # until it is warm
        time.sleep(0.1)
    try:
        with Copier(job, pace=pace, tell=lambda copied: slowed.append(copied.slowed)) as copier:
            copier.round()
    finally:
        over.set()
        thread.join()
    assert any("slowed down to" in said for said in slowed)
    assert (copier.copied.indexed, copier.copied.gap) == (200, 0)
