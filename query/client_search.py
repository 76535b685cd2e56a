"""A hybrid asked leg by leg and fused on the client: for servers without hybrid queries, and what they fuse otherwise.

Slower than the server's hybrid (one request for each leg and one or more for the texts), but any server has it, RRF
is exact on any number of shards, and all pages come from one ranking.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.answer import SearchResult
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.searcher import Searcher
    from opensearch_splade.types import Hit, Json


def search_fused(
    searcher: Searcher,
    text: str,
    *,
    mode: Mode | str = "hybrid",
    fusion: Fusion | None = None,
    size: int = 10,
    start: int = 0,
    candidates: int = CANDIDATES,
    filter: Json | None = None,
) -> SearchResult:
    """Ask each leg alone and fuse their hits here.

    Args:
        searcher: Asks the index.
        text: The question.
        mode: As ``Searcher.search`` takes it.
        fusion: In place of the mode's: weights, bounds, a rank constant.
        size: Hits to return.
        start: Hits to skip before them.
        candidates: Hits of each leg that are fused. Keep it the same over the pages of one question: they are then
            cuts of one ranking.
        filter: One query object that hits must match; every leg has it.

    Returns:
        Hits with fused scores, each document once: of passages, those that a leg finds best are fused, where a hybrid
        of the server fuses passages and keeps the best of them. ``took_ms`` is that of all legs, ``body`` that of the
        last one.

    Raises:
        QueryError: The page ends beyond the candidates, or what ``Searcher.search`` says.
        TargetError: What ``Searcher.search`` says.
        CapabilityError: The server cannot answer a leg.
        ClusterError: The cluster does not answer or refuses.
    """
    mode = mode if isinstance(mode, Mode) else Mode.parse(mode)
    how = fusion or Fusion.parse(mode.fusion or "min_max")
    return search_legs(
        [(searcher, leg) for leg in mode.legs or searcher.target.legs],
        text,
        lambda rankings: fuse(rankings, how, candidates=candidates),
        size=size,
        start=start,
        candidates=candidates,
        filter=filter,
    )


def search_legs(
    legs: Sequence[tuple[Searcher, Leg]],
    text: str,
    rank: Callable[[Sequence[Mapping[str, float]]], Mapping[str, float]],
    *,
    size: int = 10,
    start: int = 0,
    candidates: int = CANDIDATES,
    filter: Json | None = None,
) -> SearchResult:
    """Ask each leg alone and rank what they found by a function: what ``search_fused`` and ``search_learned`` share.

    Args:
        legs: Who asks, and which ranking.
        text: The question.
        rank: From document to score of each leg, best first, to that of all.
        size: Hits to return.
        start: Hits to skip before them.
        candidates: Hits of each leg.
        filter: One query object that hits must match.

    Raises:
        QueryError: The page ends beyond the candidates, or what ``Searcher.search`` says, as for the other errors.
    """
    if size < 1 or start < 0 or not start + size <= candidates <= MAX_RESULT_WINDOW:
        raise QueryError(
            f"size {size} from {start} on with {candidates} candidates: a page ends within the candidates, and these "
            f"are at most {MAX_RESULT_WINDOW:,}"
        )
    answers = [
        searcher.search(text, mode=Mode((leg,)), size=candidates, filter=filter, ids_only=True)
        for searcher, leg in legs
    ]
    # Behind an alias an id may stand twice: the first of them is the better one.
    rankings = [{hit.id: hit.score for hit in reversed(answer.hits)} for answer in answers]
    rankings = [dict(reversed(ranking.items())) for ranking in rankings]
    page = dict(list(rank(rankings).items())[start : start + size])
    texts, notices = _texts(text, legs, rankings, list(page))
    notices = [*(notice for answer in answers for notice in answer.notices), *notices]
    return SearchResult(
        tuple(replace(texts[document], score=score) for document, score in page.items() if document in texts),
        took_ms=sum(answer.took_ms for answer in answers),
        body=answers[-1].body,
        notices=tuple(dict.fromkeys(notices)),
    )


def _texts(
    text: str, legs: Sequence[tuple[Searcher, Leg]], rankings: Sequence[dict[str, float]], page: Sequence[str]
) -> tuple[dict[str, Hit], list[str]]:
    """The hits of a page with their texts: asked of the legs that found them, each document once."""
    hits: dict[str, Hit] = {}
    notices: list[str] = []
    for (searcher, leg), ranking in zip(legs, rankings, strict=True):
        wanted = [document for document in page if document in ranking and document not in hits]
        if wanted:
            answer = searcher.search(text, mode=Mode((leg,)), size=len(wanted), filter=_only(searcher, wanted))
            hits |= {hit.id: hit for hit in answer.hits}
            notices += answer.notices
    if gone := [document for document in page if document not in hits]:
        notices.append(f"{len(gone)} hits (e.g. {gone[0]!r}) could not be read any more: deleted in the meantime?")
    return hits, notices


def _only(searcher: Searcher, documents: Sequence[str]) -> Json:
    """Passages have ids of their own and their document's in a field, which is slower to filter by."""
    if searcher.target.store == "documents":
        return {"terms": {"id": list(documents)}}
    return {"ids": {"values": list(documents)}}
