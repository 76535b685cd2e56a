"""A search ranked by a learned rescoring: each of its legs asked alone, and its coefficients applied here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.client_search import Asked, ask_each, check_page, ranked_page
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearch_splade.query.answer import SearchResult
    from opensearch_splade.query.learned_rescoring import LearnedRescorer
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.searcher import Searcher
    from opensearch_splade.types import Json

_SIDE = " query-side="


def search_learned(
    searchers: Mapping[str, Searcher],
    text: str,
    model: LearnedRescorer,
    *,
    size: int = 10,
    start: int = 0,
    filter: Json | None = None,
) -> SearchResult:
    """Ask all legs that a model was learned with, and rank what they found by it.

    A request for each leg and one or more for the texts, so slower than a hybrid.

    Args:
        searchers: Query side (``siamese``, ``inference-free``) to who asks so, the preferred one first; a model may
            have learned with both.
        text: The question.
        model: What ``osplade tune-search`` learned on the very bundles and analyzer of this index: nothing checks it.
        size: Hits to return.
        start: Hits to skip before them.
        filter: One query object that hits must match; every leg has it.

    Raises:
        QueryError: A leg of the model is not one that can be asked here, or what ``Searcher.search`` says.
        TargetError: The index lacks what a leg needs.
        ClusterError: The cluster does not answer or refuses.
    """
    check_page(size, start, CANDIDATES)
    asked = [Asked(searcher, text, Mode((leg,))) for searcher, leg in (_asker(name, searchers) for name in model.legs)]
    return ranked_page(
        asked,
        ask_each(asked, CANDIDATES, filter),
        lambda rankings: model.rank(dict(zip(model.legs, rankings, strict=True))),
        size=size,
        start=start,
    )


def _asker(name: str, searchers: Mapping[str, Searcher]) -> tuple[Searcher, Leg]:
    """Who asks a leg that is named as an evaluation names it: ``knn``, ``neural-sparse query-side=siamese``."""
    ranking, _, side = name.partition(_SIDE)
    [leg, *others] = Mode.parse(ranking).legs or ("", "")
    if not leg or others:
        raise QueryError(f"the rescoring was learned with {name!r}, which is no leg; learn it again")
    if side and side not in searchers:
        raise QueryError(
            f"the rescoring was learned with {side} questions; this index can be asked "
            f"{' and '.join(filter(None, searchers)) or 'bm25 and knn only'}: give the bundle, or learn it again here"
        )
    return searchers[side] if side else next(iter(searchers.values())), leg
