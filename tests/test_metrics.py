"""Metrics: what a scrape finds while a run goes on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest
from test_pipeline import Plain, Willing, documents

from opensearch_splade.cli import options
from opensearch_splade.cli.progress import said
from opensearch_splade.errors import ClusterError, MissingExtraError
from opensearch_splade.ingest import pipeline, sender
from opensearch_splade.ingest.bulk import Action, Failure
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.ingest.gate import Flight
from opensearch_splade.ingest.metrics import LOOPBACK, Metrics, serving
from opensearch_splade.ingest.report import IngestReport, Sending


class Scraped(Willing):
    """A cluster that keeps the last request waiting until somebody has scraped."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = str(last)
        self.reached, self.scraped = threading.Event(), threading.Event()

    def write(self, actions: list[Action]) -> list[Failure]:
        """Through the gate, as the real one."""
        flight = Flight(1000 * len(actions))
        with self.gate.request(flight):
            if actions[-1].id == self.last:
                self.reached.set()
                assert self.scraped.wait(10)
        self.gate.acknowledged(flight)
        self.gate.refused(flight, "HTTP 429", 2)
        return super().write(actions)


def scrape(url: str) -> dict[str, float]:
    """Samples by name and labels, as they stand in the text."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_scrape_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, queues, the limits of bulk requests and their latencies, by Prometheus' conventions."""
    pytest.importorskip("prometheus_client", reason="needs the [metrics] extra")
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", 10)
    cluster, found = Scraped(last=99), dict[str, float]()
    metrics = Metrics(cluster.gate)

    def watch() -> None:
        assert cluster.reached.wait(10)
        while scrape(url).get('osplade_ingest_documents_total{outcome="indexed"}') != 90:
            pass
        found.update(scrape(url))
        cluster.scraped.set()

    with DeadLetterFile(tmp_path / "dead.jsonl") as dead, serving(metrics, LOOPBACK, 0) as url:
        watcher = threading.Thread(target=watch)
        watcher.start()
        pipeline.run(documents(100), Plain(), cluster, dead, metrics.update)  # type: ignore[arg-type]
        watcher.join()
        last = scrape(url)
    assert found['osplade_ingest_documents_total{outcome="dead"}'] == 0
    assert found["osplade_ingest_documents_read_total"] == 100
    assert found["osplade_ingest_bulks_in_flight"] == 1
    assert found["osplade_ingest_bulks_in_flight_bytes"] == 10_000
    assert found["osplade_ingest_bulks_in_flight_limit"] >= 1
    assert found["osplade_ingest_bulk_seconds_count"] == found['osplade_ingest_bulk_seconds_bucket{le="+Inf"}'] == 9
    assert found['osplade_ingest_retries_total{reason="HTTP 429"}'] == 18
    assert found['osplade_ingest_queue_depth{step="encoder"}'] == 0
    assert sum(value for name, value in found.items() if name.startswith("osplade_ingest_bottleneck")) == 1
    assert found['osplade_ingest_step_seconds_total{state="busy",step="source"}'] > 0
    assert last['osplade_ingest_documents_total{outcome="indexed"}'] == 100
    with pytest.raises(OSError, match="refused"):
        scrape(url)


def test_a_place_that_is_taken_is_told() -> None:
    """Before anything is read."""
    pytest.importorskip("prometheus_client", reason="needs the [metrics] extra")
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ClusterError, match=rf"cannot be served at 127\.0\.0\.1:{port} .*--metrics"),
            serving(Metrics(Willing().gate), LOOPBACK, port),
        ):
            pass


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is missing."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'opensearch-splade\[metrics\]'"),
        serving(Metrics(Willing().gate), LOOPBACK, 0),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "address"),
    [("9464", ("127.0.0.1", 9464)), ("0.0.0.0:9464", ("0.0.0.0", 9464)), ("[::1]:0", ("::1", 0))],  # noqa: S104
)
def test_only_this_machine_sees_them_unless_a_host_is_named(text: str, address: tuple[str, int]) -> None:
    """A port alone is one of the loopback interface."""
    assert options.address(Any, Any, text) == address  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "1.5", "70000", "host:", "host:port"])
def test_what_is_no_port_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(click.BadParameter, match="9464 is an example"):
        options.address(Any, Any, text)  # type: ignore[arg-type]


def test_the_progress_says_what_holds_it_up() -> None:
    """Rate, bottleneck, queues, and requests on their way."""
    report = IngestReport(
        indexed=50,
        seconds=10.0,
        slowest="encoder",
        retries=3,
        queues={"tokenizer": 256, "codec": 0},
        sending=Sending(size=2_500_000, number=4, flying=3),
    )
    assert said(report) == (
        "5/s by the encoder's pace, waiting: tokenizer 256, 3 of 4 bulks of 2.5 MB on their way, 3 sent again"
    )
    assert said(report, 7.0).startswith("7/s")
    assert said(IngestReport()) == ""


def test_the_library_is_loaded_only_when_it_is_wanted() -> None:
    """The command starts without it."""
    program = "import sys, opensearch_splade.cli.main; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
