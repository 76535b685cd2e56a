"""Asking: the rankings of one system for all questions, in batches of one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from opensearch_splade.errors import ClusterError
from opensearch_splade.evaluation.systems import System
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

BATCH = 32  # questions of one request
_PATIENCE_S = 4.0  # for each of them
_NAMED = 3
_REFUSALS = {400, 413, 429, 503}
"""A body that cannot be parsed is refused with all others of its request; so are bodies that are too large together."""


class BatchClient(Protocol):
    """What is used of an ``opensearchpy.OpenSearch``."""

    def msearch(self, *, body: Any, index: Any, params: Any) -> Any:
        """``POST {index}/_msearch``."""
        ...

    def search(self, *, index: Any, body: Any) -> Any:
        """``POST {index}/_search``."""
        ...


class AskingError(ClusterError):
    """Some questions of a system have no ranking.

    Args:
        system: Its name.
        failures: Query id to reason; of each reason the first question is named.
        asked: How many questions there are.
    """

    def __init__(self, system: str, failures: Mapping[str, str], asked: int) -> None:
        first: dict[str, str] = {}
        for query, reason in failures.items():
            first.setdefault(reason, query)
        named = "; ".join(f"question {query!r}: {reason}" for reason, query in list(first.items())[:_NAMED])
        super().__init__(f"{system}: {len(failures)} of {asked} questions were not answered ({named})")


@dataclass(slots=True)
class Asked:
    """What came of it.

    Attributes:
        run: Query id to document id to score.
        notices: What a reader must know, with the number of questions that it holds for.
    """

    run: dict[str, dict[str, float]] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)


def ask(
    client: BatchClient,
    system: System,
    queries: Mapping[str, str],
    depth: int,
    on_questions: Callable[[int], None] = lambda _: None,
) -> Asked:
    """The ranking of every question.

    What the server refuses or answers in part is asked once more, one at a time: it may have had too much to do.

    Args:
        client: Connected to the cluster.
        system: How to ask.
        queries: Query id to text.
        depth: Hits of each ranking.
        on_questions: Told how many more were asked.

    Raises:
        AskingError: Questions are still without a ranking: measured as nothing found, they would be slandered.
        OspladeError: A question cannot be built, or the cluster does not answer.
    """
    asked, failures = Asked(), dict[str, str]()
    questions = list(queries.items())
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        bodies = {query: system.ranking_body(text, depth) for query, text in batch}
        for query in dict(_answers(client, system, bodies, depth, asked)):
            failures |= dict(_answers(client, system, {query: bodies[query]}, depth, asked))
        on_questions(len(batch))
        if not asked.run:  # it is the system, not some questions
            break
    if failures:
        raise AskingError(system.name, failures, len(queries))
    return asked


def _answers(
    client: BatchClient, system: System, bodies: Mapping[str, Json], depth: int, asked: Asked
) -> Iterator[tuple[str, str]]:
    """Notes the rankings, and gives what failed: query and reason."""
    lines = [line for body in bodies.values() for line in ({}, body)]
    params: Json = {"request_timeout": max(30.0, _PATIENCE_S * len(bodies))}
    try:
        with asking(system.index):
            answers = client.msearch(index=system.index, body=lines, params=params)["responses"]
    except ClusterError as error:
        if getattr(error.__cause__, "status_code", None) not in _REFUSALS:
            raise
        yield from ((query, str(error)) for query in bodies)
        return
    for query, answer in zip(bodies, answers, strict=True):
        if reason := _failure(answer):
            yield query, reason
        else:
            asked.run[query] = _ranking(answer, depth)
            asked.notices.update(_notices(answer, system.fingerprints))


def _failure(answer: Mapping[str, Any]) -> str:
    if error := answer.get("error"):
        causes = error.get("root_cause") or [error] if isinstance(error, dict) else []
        return "; ".join(dict.fromkeys(str(cause.get("reason", cause)) for cause in causes)) or str(error)
    if answer["timed_out"]:
        return "the server ran out of time"
    shards = answer["_shards"]
    return f"{shards['failed']} of {shards['total']} shards did not answer" if shards["failed"] else ""


def _ranking(answer: Mapping[str, Any], depth: int) -> dict[str, float]:
    """Documents with their scores: of several hits with one id, such as passages of a document, the best."""
    found: dict[str, float] = {}
    for place, hit in enumerate(answer["hits"]["hits"]):
        identity = next(iter(hit.get("fields", {}).get("id", ())), hit.get("_id"))
        if identity is not None and len(found) < depth:
            score = hit["_score"]  # None where the user's body sorts
            found.setdefault(str(identity), 1 / (place + 1) if score is None else score)
    return found


def _notices(answer: Mapping[str, Any], fingerprints: frozenset[str]) -> set[str]:
    hits = answer["hits"]["hits"]
    found: set[str] = set()
    if any(not fingerprints <= set(hit.get("fields", {}).get("encoded", ())) for hit in hits):
        found.add("hits that another bundle encoded: their scores cannot be trusted; ingest them again")
    if any(hit.get("_id") is None and not hit.get("fields", {}).get("id") for hit in hits):
        found.add("hits without the field 'id' are left out: others wrote them")
    return found
