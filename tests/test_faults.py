"""Law 5 on the real node: killed, cut off, refused and answered wrongly, each document is there once and as it is now.

``fault_settings.py`` says how many of each and by which seed; ``make faults`` takes many. A table of what happened
stands at the end of the test run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_corpus import Corpus
from fault_proxy import FAULTS, FaultProxy
from fault_settings import FAULT_COUNT, IN_DOUBT, KILLS, NODE_KILLS, PATIENCE, command, small_and_quick
from fault_table import SEED, Row, timed
from opensearchpy import OpenSearch

from opensearch_splade.errors import NodeError
from opensearch_splade.ingest import bulk, documents, sender
from opensearch_splade.ingest.ledger import Entry, Ledger
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.node_config import free_port, is_free
from opensearch_splade.plugin.node_state import LocalNode
from opensearch_splade.plugin.scan import scan

pytestmark = pytest.mark.server

MOMENTS = ("before", "after", "soon after", "any time")
"""A bulk request has not reached the node; was applied, and the client does not know; or was told; or whenever."""


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    """A line of the table."""
    with timed(request.node.name) as made:
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests, soon repeated, in this process."""
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", sender.BULK_DOCUMENTS)
    monkeypatch.setattr(bulk, "RetryPolicy", bulk.RetryPolicy)
    monkeypatch.setattr(documents, "SeenIds", documents.SeenIds)
    small_and_quick()


def luck_of(test: int) -> random.Random:
    return random.Random(SEED + test)  # noqa: S311 - not for secrets


def start(corpus: Corpus, index: str, url: str, patience: float = 240) -> subprocess.Popen[str]:
    """An ingest in a process of its own."""
    corpus.row.runs += 1
    env = os.environ | {PATIENCE: str(patience)}
    arguments = command(*corpus.arguments(index, url))
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.usefixtures("quick")
def test_killed_at_any_moment(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str, row: Row) -> None:
    """SIGKILL around random bulk requests and between. The ledger never says more than the index holds, hardly less."""
    luck = luck_of(1)
    corpus = Corpus(tmp_path, 600, luck, row)
    behind = []
    for count in range(2 * KILLS):  # a run may come through before it is killed
        if row.met.total() == KILLS:
            break
        corpus.change(200, come=10)
        before = unnoted(corpus, client, index_name)
        kill_one(corpus, node.url, index_name, MOMENTS[count % len(MOMENTS)])
        behind.append(len(unnoted(corpus, client, index_name) - before))  # not those of earlier kills
        assert behind[-1] <= IN_DOUBT
    corpus.ingest(index_name, node.url)
    corpus.audit(index_name, node.url)
    corpus.check_vectors(client, index_name)
    assert corpus.ingest(index_name, node.url)["indexed"] == 0
    row.remark = f"acknowledged but not yet noted, so encoded again, {max(behind)} documents at most (bound {IN_DOUBT})"
    assert row.met.total() == KILLS


def kill_one(corpus: Corpus, url: str, index: str, moment: str) -> None:
    """An ingest, killed; or it came through before."""
    at, pause = corpus.luck.randrange(10), corpus.luck.random()
    is_there = threading.Event()
    running: subprocess.Popen[str]

    def kill(number: int) -> None:
        is_there.wait()
        if number == at + (moment == "soon after"):
            time.sleep(pause / 20 if moment == "soon after" else 0)
            running.send_signal(signal.SIGKILL)

    hooks: dict[str, Any] = {"before": {"before": kill}, "any time": {}}.get(moment, {"after": kill})
    with FaultProxy(url, **hooks) as proxy, start(corpus, index, proxy.url) as running:
        is_there.set()
        if moment == "any time":
            time.sleep(pause * 1.5)
            running.send_signal(signal.SIGKILL)
        _, said = running.communicate()
    assert running.returncode in {0, -signal.SIGKILL}, said
    corpus.row.met[f"killed {moment}"] += running.returncode != 0


def unnoted(corpus: Corpus, client: OpenSearch, index: str) -> set[str]:
    """Documents that the index holds as they are now, and the ledger does not know; the other way round: none."""
    entries = corpus.entries()
    if not corpus.ledger(index).exists() or not client.indices.exists(index=index):
        return set()
    stored = {one.id: one.hash for page in scan(client, index, probe(client)) for one in page}
    current = {id_ for id_, content in stored.items() if entries[id_] == content}
    with Ledger(corpus.ledger(index)) as ledger:
        marker = SparseEncoder.load("splade-tiny").fingerprint
        known = ledger.look_up([Entry(*one) for one in entries.items()], marker).unchanged
    assert known <= current
    return current - known


@pytest.mark.usefixtures("quick")
def test_a_cluster_in_trouble(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str, row: Row) -> None:
    """Connections cut before, within and after, refusals, half refusals, answers that are cut, wrong or doubled."""
    luck = luck_of(2)
    corpus = Corpus(tmp_path, 400, luck, row)
    corpus.ingest(index_name, node.url)
    left, retries = FAULT_COUNT, 0
    while left:
        corpus.change(300, come=10, go=8)
        # Every kind as often as any other, mixed with requests that meet no fault.
        some = [FAULTS[(left - each) % len(FAULTS)] for each in range(min(left, 25))]
        left -= len(some)
        faults = [*some, *[""] * 5]
        luck.shuffle(faults)
        with FaultProxy(node.url, faults) as proxy:
            retries += corpus.ingest(index_name, proxy.url)["retries"]
        left += len([one for one in proxy.faults if one])  # the run ended before it met them
        row.met += proxy.met
        corpus.audit(index_name, node.url)
    corpus.check_vectors(client, index_name)
    assert not corpus.dead_letters.exists()
    row.remark = f"{retries:,} documents sent again"
    assert row.met.total() >= FAULT_COUNT * 0.95  # a single document is not refused as too large


@pytest.fixture
def mortal(open_folder: Path) -> Iterator[LocalNode]:
    """A node of this test's own, which may be killed."""
    home = open_folder / "mortal"
    try:
        started = local.start(home, heap="512m", port=free_port(9650))
    except NodeError as error:
        pytest.skip(f"NO NODE WAS KILLED: a second one cannot be started here ({error})")
    yield started
    local.stop(home, purge=True)


def test_a_node_that_is_killed(tmp_path: Path, mortal: LocalNode, index_name: str, row: Row) -> None:
    """SIGKILL to the node, then a start: a patient run goes on; one whose patience ends says so, and is run again."""
    luck = luck_of(3)
    corpus = Corpus(tmp_path, 500, luck, row)
    with start(corpus, index_name, mortal.url) as first:
        assert first.wait() == 0
    for count in range(NODE_KILLS):
        corpus.change(300, come=10)
        is_patient = bool(count % 2)
        with Reaper(mortal, at=luck.randrange(8), before=luck.random() < 0.5) as reaper:
            if is_patient:
                reaper.restart()
            with start(corpus, index_name, reaper.proxy.url, 240 if is_patient else 2) as running:
                _, said = running.communicate()
        row.met["node killed"] += 1
        if is_patient:
            assert running.returncode == 0, said
        else:
            assert running.returncode == 1
            assert "Traceback" not in said
            assert "connection failed" in said
            assert "run the same command again" in " ".join(said.split())
            with start(corpus, index_name, mortal.url) as again:
                _, said = again.communicate()
            assert again.returncode == 0, said
        corpus.audit(index_name, mortal.url)
    with closing(connect(mortal.url)) as client:
        corpus.check_vectors(client, index_name)


class Reaper:
    """Kills a node around a bulk request that goes through its proxy; as a context it starts the node again at its end.

    Args:
        node: Ours.
        at: Number of the request.
        before: Whether the request comes too late to be applied.
    """

    def __init__(self, node: LocalNode, at: int, *, before: bool) -> None:
        self._node, self._at = node, at
        self._dead = threading.Event()
        self._restarting: threading.Thread | None = None
        hooks: dict[str, Any] = {"before" if before else "after": self._reap}
        self.proxy = FaultProxy(node.url, **hooks)

    def _reap(self, number: int) -> None:
        if number == self._at:
            found = local.running_node(self._node.home)
            assert found
            os.kill(found.pid, signal.SIGKILL)
            while found.is_alive:
                time.sleep(0.01)
            self._dead.set()

    def restart(self) -> None:
        """As soon as it is dead, beside the run."""
        self._restarting = threading.Thread(target=self._restart)
        self._restarting.start()

    def _restart(self) -> None:
        assert self._dead.wait(120)
        port = int(self._node.url.rpartition(":")[2])
        while not is_free(port):  # the last thread of the dead process has not ended yet
            time.sleep(0.01)
        local.start(self._node.home, heap="512m", port=port)

    def __enter__(self) -> Reaper:
        self.proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__(None, None, None)
        if self._restarting:
            self._restarting.join()
        else:
            self._restart()
