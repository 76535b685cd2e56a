"""Simulated relevance feedback: the qrels judge what is shown, round by round.

Judged documents would come first in the next round and be counted as found, so they are taken out of rankings and
judgements alike (the residual collection; Chang et al. 1971): what is measured is what a user has not seen yet. The
collection shrinks by the round, so each is compared with the question's own ranking, less the same documents, and not
with another round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as Documents
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from opensearch_splade.evaluation.measures import MEASURES, measure_each
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.query import Rocchio

if TYPE_CHECKING:
    from opensearch_splade.evaluation.collection import Collection
    from opensearch_splade.query import Mode, Searcher

T = TypeVar("T")
PLAIN, MOVED = "question", "rocchio"


@dataclass(frozen=True, slots=True)
class Round:
    """What was measured after some judgements.

    Attributes:
        judged: Documents of all questions together that were judged so far.
        relevant: Those of them that are relevant.
        plain: The question's own ranking, less those.
        moved: The ranking by feedback, less those.
    """

    judged: int
    relevant: int
    plain: SystemResult
    moved: SystemResult


def feedback_rounds(
    searcher: Searcher,
    mode: Mode | str,
    collection: Collection,
    *,
    rounds: int = 3,
    shown: int = 10,
    depth: int = 100,
    judge: Callable[[Sequence[str], Sequence[str]], Rocchio] = Rocchio,
    measures: Sequence[str] = MEASURES,
) -> list[Round]:
    """Judge the first hits of each round by the qrels and ask again.

    What nobody judged counts as irrelevant. Questions with no relevant document left are left out of a round's
    measures.

    Args:
        searcher: Asks the index.
        mode: With a sparse ranking.
        collection: Questions and judgements.
        rounds: Of feedback.
        shown: Hits that are judged in each.
        depth: Of the rankings that are measured.
        judge: Makes feedback of the first relevant and irrelevant ids: ``Rocchio``, or it with other weights
            (``partial(Rocchio, beta=0.5)``).
        measures: In the names of ir-measures.

    Raises:
        OspladeError: What ``Searcher.search`` raises.
    """
    size = depth + rounds * shown  # so that taking out what was judged leaves enough
    plain = {
        query: _ranking(searcher, text, mode, size, None)
        for query, text in collection.queries.items()
        if collection.qrels.get(query)
    }
    current, found = plain, list[Round]()
    judged: dict[str, Rocchio] = {}
    for _ in range(rounds):
        for query, ranking in current.items():
            seen = judged[query].ids if query in judged else ()
            new = list(_without(ranking, seen))[:shown]
            if new:
                good = [one for one in new if collection.qrels[query].get(one, 0) > 0]
                bad = [one for one in new if one not in good]
                before = judged.get(query)
                judged[query] = before.judged(good, bad) if before else judge(good, bad)
        current = {
            query: _ranking(searcher, collection.queries[query], mode, size, judged.get(query)) for query in plain
        }
        found.append(_round(plain, current, judged, collection, measures))
    return found


def _round(
    plain: Mapping[str, dict[str, float]],
    moved: Mapping[str, dict[str, float]],
    judged: Mapping[str, Rocchio],
    collection: Collection,
    measures: Sequence[str],
) -> Round:
    seen = {query: set(judged[query].ids) if query in judged else set[str]() for query in plain}
    left = {query: _without(collection.qrels[query], seen[query]) for query in plain}
    left = {query: grades for query, grades in left.items() if any(grade > 0 for grade in grades.values())}
    results = []
    for name, run in ((PLAIN, plain), (MOVED, moved)):
        residual = {query: _without(run[query], seen[query]) for query in left}
        results.append(SystemResult(name, name, residual, measure_each(residual, left, measures)))
    relevant = sum(len(one.relevant) for one in judged.values())
    return Round(sum(map(len, seen.values())), relevant, *results)


def _without(documents: Mapping[str, T], seen: Documents[str]) -> dict[str, T]:
    return {document: value for document, value in documents.items() if document not in seen}


def _ranking(searcher: Searcher, text: str, mode: Mode | str, size: int, feedback: Rocchio | None) -> dict[str, float]:
    found = searcher.search(text, mode=mode, size=size, ids_only=True, feedback=feedback)
    return {hit.id: hit.score for hit in found.hits}
