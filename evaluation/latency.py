"""Latency: single searches for the page that a user sees, one after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from opensearch_splade.errors import OspladeError
from opensearch_splade.evaluation.results import Latency
from opensearch_splade.evaluation.systems import System
from opensearch_splade.query import SearchClient
from opensearch_splade.transport import asking

SHOWN = 10  # hits with their text: what a user sees
SAMPLE = 100
_WARM_UP = 5  # searches that are not counted: they load what the first ones always load


def time_searches(
    client: SearchClient, system: System, queries: Mapping[str, str], on_question: Callable[[], None] = lambda: None
) -> Latency:
    """Times a system over a sample of the questions, spread evenly.

    Args:
        client: Connected to the cluster.
        system: How to ask.
        queries: Query id to text; ``sample`` says which are asked.
        on_question: Called after each of them.

    Raises:
        OspladeError: What ``Searcher.search`` raises.
    """
    texts = sample(list(queries.values()))
    for text in texts[:_WARM_UP]:
        _took_ms(client, system, text)
    client_ms, server_ms = list[float](), list[float]()
    for text in texts:
        start = time.perf_counter()
        server_ms.append(_took_ms(client, system, text))
        client_ms.append((time.perf_counter() - start) * 1000)
        on_question()
    return Latency(
        round(percentile(client_ms, 50), 2), round(percentile(client_ms, 95), 2), round(percentile(server_ms, 50), 2)
    )


def sample(texts: Sequence[str]) -> list[str]:
    """At most ``SAMPLE`` of them, evenly spread."""
    count = min(SAMPLE, len(texts))
    return [texts[place * len(texts) // count] for place in range(count)]


def percentile(values: Sequence[float], share: int) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def _took_ms(client: SearchClient, system: System, text: str) -> float:
    """What the server says that one search took, in milliseconds."""
    spec, searcher = system.spec, system.searcher
    if searcher and spec.mode and not spec.has_stages:  # as an application asks: hybrids take two requests
        weights = spec.weights or None
        found = searcher.search(
            text, mode=spec.mode, size=SHOWN, filter=spec.filter, weights=weights, feedback=spec.feedback
        )
        return float(found.took_ms)
    [expansion] = system.expansions([text])
    if isinstance(expansion, OspladeError):
        raise expansion
    with asking(system.index):
        answer = client.search(index=system.index, body=system.page_body(text, SHOWN, expansion))
    return float(answer["took"]) + (expansion.took_ms if expansion else 0)
