"""Metrics: what a scrape finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opensearch_splade.errors import MissingExtraError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_NAME = "osplade_serve"


class Metrics:
    """All counters of a server, in a registry of their own.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise MissingExtraError("prometheus_client", "serve") from error
        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)  # process_resident_memory_bytes and the like
        self._requests = self._counter("requests", "Requests by their answer.", "model", "lane", "status")
        self._seconds = self._histogram("request_seconds", "From body to answer.", _SECONDS, "model", "lane")
        self._texts = self._counter("texts", "Texts encoded.", "model", "lane")
        self._tokens = self._counter("tokens", "Tokens encoded, padding left out.", "model", "lane")
        self._batch_texts = self._histogram("batch_texts", "Texts of a batch.", _TEXTS, "model", "lane")
        self._batch_seconds = self._histogram("batch_seconds", "Time of a batch.", _SECONDS, "model", "lane")
        self._waited = self._histogram("wait_seconds", "Wait of a batch's oldest text.", _SECONDS, "model", "lane")
        self._dropped = self._counter("dropped_texts", "Texts whose client went away.", "model", "lane")
        self._queue_texts = self._gauge("queue_texts", "Texts that wait.", "model", "lane")
        self._queue_tokens = self._gauge("queue_tokens", "Tokens that wait.", "model", "lane")
        self.in_flight = self._gauge("in_flight", "Requests that are being answered.")
        self.ready = self._gauge("ready", "1 while texts are taken.")
        self.models = self._gauge("model_info", "1 for each model.", "model", "fingerprint", "kind", "bundle")

    def lane(self, model: str, lane: str) -> LaneMetrics:
        """The counters of one lane."""
        return LaneMetrics(self, model, lane)

    def answered(self, model: str, lane: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(model, lane, str(status)).inc()
        if status == 200:
            self._seconds.labels(model, lane).observe(seconds)

    def page(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its content type."""
        text: bytes = self._prometheus.generate_latest(self.registry)
        return text, self._prometheus.CONTENT_TYPE_LATEST

    def _counter(self, name: str, meaning: str, *labels: str) -> Any:
        return self._prometheus.Counter(f"{_NAME}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Any:
        return self._prometheus.Gauge(f"{_NAME}_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Any:
        return self._prometheus.Histogram(f"{_NAME}_{name}", meaning, labels, registry=self.registry, buckets=buckets)


class LaneMetrics:
    """Counters of one lane of one model.

    Args:
        metrics: Of the server.
        model: Its name.
        lane: ``documents`` or ``queries``.
    """

    def __init__(self, metrics: Metrics, model: str, lane: str) -> None:
        labels = (model, lane)
        self._texts, self._tokens = metrics._texts.labels(*labels), metrics._tokens.labels(*labels)
        self._batch_texts = metrics._batch_texts.labels(*labels)
        self._batch_seconds = metrics._batch_seconds.labels(*labels)
        self._queue = metrics._queue_texts.labels(*labels), metrics._queue_tokens.labels(*labels)
        self.waited, self.dropped = metrics._waited.labels(*labels), metrics._dropped.labels(*labels)

    def watch(self, texts: Callable[[], int], tokens: Callable[[], int]) -> None:
        """Says where the lengths of the queue are read when somebody scrapes."""
        for gauge, length in zip(self._queue, (texts, tokens), strict=True):
            gauge.set_function(length)

    def batch(self, texts: int, tokens: int, seconds: float) -> None:
        """Counts a batch."""
        self._texts.inc(texts)
        self._tokens.inc(tokens)
        self._batch_texts.observe(texts)
        self._batch_seconds.observe(seconds)
