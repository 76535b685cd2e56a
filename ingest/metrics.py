"""Metrics: a run as Prometheus sees it, served while it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opensearch_splade.errors import ClusterError, MissingExtraError
from opensearch_splade.ingest.gate import Gate
from opensearch_splade.ingest.report import IngestReport

LOOPBACK = "127.0.0.1"


class Metrics:
    """The latest report and the gate's own counts, collected whenever somebody scrapes.

    Args:
        gate: Of the run's bulk requests.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._report = IngestReport()

    def update(self, report: IngestReport) -> None:
        """Takes note of a report, which may go on changing."""
        self._report = report

    def collect(self) -> Iterator[Any]:
        """Prometheus' metric families."""
        from prometheus_client import metrics_core as core

        report, gate = self._report, self._gate
        outcomes = {name: getattr(report, name) for name in ("indexed", "unchanged", "superseded", "dead")}
        yield _labelled(core.CounterMetricFamily, "documents", "Documents by what became of them.", outcome=outcomes)
        yield core.CounterMetricFamily(_name("documents_read"), "Records taken from the source.", report.read)
        yield core.CounterMetricFamily(_name("features"), "Features written.", report.features)
        yield _labelled(
            core.CounterMetricFamily, "retries", "Documents that had to be sent again.", reason=dict(gate.retries)
        )
        yield _labelled(core.GaugeMetricFamily, "queue_depth", "Documents that wait before a step.", step=report.queues)
        busy = {step: float(step == report.slowest) for step in report.steps}
        yield _labelled(core.GaugeMetricFamily, "bottleneck", "1 for the step that holds up the rest.", step=busy)
        seconds = core.CounterMetricFamily(
            _name("step_seconds"), "Seconds of a step by what it did.", labels=["step", "state"]
        )
        for step, states in report.steps.items():
            for state, value in states.items():
                seconds.add_metric([step, state], value)
        yield seconds
        buckets, total = gate.histogram()
        yield core.HistogramMetricFamily(
            _name("bulk_seconds"),
            "Latency of acknowledged bulk requests.",
            buckets=[(_bound(bound), count) for bound, count in buckets],
            sum_value=total,
        )
        for name, value, meaning in (
            ("bulk_target_bytes", gate.size, "Bytes that the next bulk request should have."),
            ("bulks_in_flight", gate.flying, "Bulk requests on their way."),
            ("bulks_in_flight_limit", gate.number, "Bulk requests that may be on their way."),
            ("bulks_in_flight_bytes", gate.flying_bytes, "Bytes on their way, before compression."),
        ):
            yield core.GaugeMetricFamily(_name(name), meaning, value)


@contextmanager
def serving(metrics: Metrics, host: str, port: int) -> Iterator[str]:
    """Answers scrapes until it is left; gives the URL.

    Args:
        metrics: What is served.
        host: An address of this machine; 127.0.0.1 is seen from nowhere else.
        port: 0 takes any that is free.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ClusterError: The address cannot be listened at.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise MissingExtraError("prometheus_client", "metrics") from error
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ClusterError(
            f"Metrics cannot be served at {host}:{port} ({error.strerror or error}): name another with --metrics."
        ) from error
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _name(name: str) -> str:
    return f"osplade_ingest_{name}"


def _labelled(family: Any, name: str, meaning: str, **values: Mapping[str, float]) -> Any:
    """A family with one label."""
    ((label, by_value),) = values.items()
    found = family(_name(name), meaning, labels=[label])
    for value, count in by_value.items():
        found.add_metric([value], count)
    return found


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else f"{seconds:g}"
