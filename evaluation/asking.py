"""Asking: the rankings of one system for all questions, in batches of one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opensearch_splade.errors import ClusterError, OspladeError
from opensearch_splade.evaluation.systems import System
from opensearch_splade.query import SearchClient
from opensearch_splade.query.answer import incomplete
from opensearch_splade.query.batches import BATCH, refusal, together
from opensearch_splade.query.conversation import held
from opensearch_splade.query.kept_fields import translated
from opensearch_splade.types import Json

_NAMED = 3


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
    client: SearchClient,
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
        answers = _answers(client, system, [text for _, text in batch], depth)
        for (query, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, OspladeError):
                failures[query] = str(answer)
            else:
                asked.run[query] = _ranking(system.documents(answer), depth)
                asked.notices.update(_notices(answer, system.fingerprints))
        on_questions(len(batch))
        if not asked.run:  # it is the system, not some questions
            break
    if failures:
        raise AskingError(system.name, failures, len(queries))
    return asked


def _answers(client: SearchClient, system: System, texts: Sequence[str], depth: int) -> list[Json | OspladeError]:
    """To each question its answer, or why there is none."""
    expanded = system.expansions(texts)
    asked = [(text, one) for text, one in zip(texts, expanded, strict=True) if not isinstance(one, OspladeError)]
    bodies = [system.ranking_body(text, depth, one) for text, one in asked]
    answers = iter(held(client, translated(together(system.index, bodies, failure=_failure), system.meta)))
    return [one if isinstance(one, OspladeError) else next(answers) for one in expanded]


def _failure(answer: Mapping[str, Any]) -> str:
    """A ranking in part is none."""
    return refusal(answer) or "; ".join(incomplete(answer))


def _ranking(hits: Sequence[Json], depth: int) -> dict[str, float]:
    """Documents with their scores: of several hits with one id, such as passages of a document, the best."""
    found: dict[str, float] = {}
    for place, hit in enumerate(hits):
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
