"""Service: models by name, loaded, at work, drained. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.serving.lane import Lane
from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.metrics import Metrics
from opensearch_splade.serving.refusals import Refusal, unavailable
from opensearch_splade.serving.sides import Side, sides

State = Literal["loading", "ready", "draining"]
LANES = ("documents", "queries")


@dataclass(frozen=True, slots=True)
class Served:
    """How bundles are run.

    Attributes:
        bundles: By the name that stands in the path.
        device: Where all of them run.
        limits: Of requests and queues.
        concurrency: Batches of documents that a model runs at once; ``None`` leaves it to its plan.
    """

    bundles: Mapping[str, Bundle]
    device: Device
    limits: Limits
    concurrency: int | None = None


class Service:
    """All models of a server.

    Args:
        served: What is served, and how.
        metrics: Where it counts.
    """

    def __init__(self, served: Served, metrics: Metrics) -> None:
        self.served = served
        self.metrics = metrics
        self.state: State = "loading"
        self._draining = False
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._in_flight = 0
        self._idle = asyncio.Event()
        metrics.in_flight.set_function(lambda: self._in_flight)
        metrics.ready.set_function(self._is_ready)
        for name, bundle in served.bundles.items():
            manifest = bundle.manifest
            metrics.models.labels(name, manifest.fingerprint, manifest.kind, manifest.name).set(1)

    async def load(self) -> None:
        """Loads every model and runs each lane once, so that the first request finds all warm."""
        for name, bundle in self.served.bundles.items():
            documents, queries = await asyncio.to_thread(self._load, bundle)
            limits = self.served.limits
            first = Lane(queries, limits, self.metrics.lane(name, "queries"))
            self._lanes[name, "queries"] = first
            self._lanes[name, "documents"] = Lane(documents, limits, self.metrics.lane(name, "documents"), first)
        for lane in self._lanes.values():
            await lane.encode(["a text"])
        if not self._draining:
            self.state = "ready"

    def lane(self, model: str, name: str) -> Lane:
        """A lane that takes texts.

        Raises:
            Refusal: There is no such model, or no texts are taken just now.
        """
        if model not in self.served.bundles:
            known = ", ".join(self.served.bundles)
            raise Refusal(404, "unknown_model", f"There is no model {model!r} here; there are: {known}.")
        self.require_ready()
        return self._lanes[model, name]

    def require_ready(self) -> None:
        """Refuses while loading or draining.

        Raises:
            Refusal: It says which.
        """
        if self.state != "ready":
            raise unavailable(self.state, 1 if self.state == "loading" else 5)

    def _is_ready(self) -> bool:
        return self.state == "ready"

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around each request, so that a drain waits for it."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self) -> None:
        """Takes no more texts; returns when all that were taken are answered."""
        self.state, self._draining = "draining", True
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    def abandon(self) -> None:
        """Refuses what a drain did not get done."""
        for lane in self._lanes.values():
            lane.abandon()

    def close(self) -> None:
        """Ends all threads."""
        for lane in self._lanes.values():
            lane.close()

    def described(self) -> Sequence[dict[str, Any]]:
        """Each model as ``GET /models`` shows it."""
        return [_described(name, bundle, self.served.limits) for name, bundle in self.served.bundles.items()]

    def _load(self, bundle: Bundle) -> tuple[Side, Side]:
        device, plan = self.served.device, None
        if self.served.concurrency is not None:
            plan = Session.plan_of(bundle, device).model_copy(update={"batches": self.served.concurrency})
        both = sides(bundle, device, plan)
        for side in both:
            _ = side.budget, side.nothing  # loads the graph
        return both


def _described(name: str, bundle: Bundle, limits: Limits) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": name,
        "kind": "dense" if manifest.kind == "dense" else "sparse",
        "dimension": manifest.dimension,
        "fingerprint": manifest.fingerprint,
        "bundle": manifest.name,
        "inference_free": manifest.kind == "inference-free",
        "max_length": manifest.max_length,
        "limits": {
            "max_texts": limits.max_texts,
            "max_body_bytes": limits.max_body,
            "max_queue_texts": limits.max_queue,
            "max_queue_tokens": limits.max_queue_tokens,
        },
        "paths": {lane: f"/{name}/{lane}" for lane in LANES},
    }
