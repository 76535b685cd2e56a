"""A hybrid asked leg by leg and fused on the client: for servers without hybrid queries, and what they fuse otherwise.

Slower than the server's hybrid (one request for each leg and one or more for the texts), but any server has it, RRF
is exact on any number of shards, and all pages come from one ranking.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from opensearch_splade.errors import QueryError
from opensearch_splade.query.answer import SearchResult
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.client_fusion import applied_weights, comparable, fuse
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.mode import Mode
from opensearch_splade.types import LegScore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opensearch_splade.query.searcher import Searcher
    from opensearch_splade.types import Contribution, Hit, Json


def search_fused(  # noqa: PLR0913 - all but two are named
    searcher: Searcher,
    text: str,
    *,
    mode: Mode | str = "hybrid",
    fusion: Fusion | None = None,
    size: int = 10,
    start: int = 0,
    candidates: int = CANDIDATES,
    filter: Json | None = None,
    explain: bool = False,
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
        explain: Tell for each hit what gave its score, as ``Searcher.search`` does. Each leg is then asked for all hits
            that it found, not only for those that no leg before it has. In ``linear`` a leg cut off before a hit is
            told with the score that it counts with, and without parts.

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
    chosen = fusion or Fusion.parse(mode.fusion or "min_max")
    check_page(size, start, candidates)
    asked = [Asked(searcher, text, Mode((leg,))) for leg in mode.legs or searcher.target.legs]
    return ranked_page(
        asked,
        ask_each(asked, candidates, filter),
        lambda rankings: fuse(rankings, chosen, candidates=candidates),
        size=size,
        start=start,
        explained_by=(chosen, candidates) if explain else None,
    )


class Asked(NamedTuple):
    """One ranking.

    Attributes:
        searcher: Who asks.
        text: What is asked.
        mode: In which way.
    """

    searcher: Searcher
    text: str
    mode: Mode


def check_page(size: int, start: int, candidates: int) -> None:
    """Refuse a page that the candidates do not hold.

    Raises:
        QueryError: It ends beyond them, or they are too many.
    """
    if size < 1 or start < 0 or not start + size <= candidates <= MAX_RESULT_WINDOW:
        raise QueryError(
            f"size {size} from {start} on with {candidates} candidates: a page ends within the candidates, and these "
            f"are at most {MAX_RESULT_WINDOW:,}"
        )


def ask_each(asked: Sequence[Asked], candidates: int, filter: Json | None = None) -> list[SearchResult]:
    """Ids and scores of so many hits of each ranking; errors are those of ``Searcher.search``."""
    return [
        one.searcher.search(one.text, mode=one.mode, size=candidates, filter=filter, ids_only=True) for one in asked
    ]


def ranked_page(
    asked: Sequence[Asked],
    answers: Sequence[SearchResult],
    rank: Callable[[Sequence[Mapping[str, float]]], Mapping[str, float]],
    *,
    size: int,
    start: int,
    explained_by: tuple[Fusion, int] | None = None,
) -> SearchResult:
    """One page of some rankings that a function makes one of, with texts.

    Args:
        asked: The rankings.
        answers: Their ids and scores.
        rank: From document to score of each ranking, best first, to that of all.
        size: Hits to return.
        start: Hits to skip before them.
        explained_by: The fusion that ``rank`` is and its candidates, if it is to be told what each ranking gave.

    Raises:
        OspladeError: What ``Searcher.search`` says while texts are read.
    """
    # Behind an alias an id may stand twice: the first of them is the better one.
    rankings = [{hit.id: hit.score for hit in reversed(answer.hits)} for answer in answers]
    rankings = [dict(reversed(ranking.items())) for ranking in rankings]
    page = dict(list(rank(rankings).items())[start : start + size])
    if explained_by:
        texts, notices = _explained(asked, rankings, list(page), *explained_by)
    else:
        texts, notices = _texts(asked, rankings, list(page))
    notices = [*(notice for answer in answers for notice in answer.notices), *notices]
    return SearchResult(
        tuple(replace(texts[document], score=score) for document, score in page.items() if document in texts),
        took_ms=sum(answer.took_ms for answer in answers),
        body=answers[-1].body,
        notices=tuple(dict.fromkeys(notices)),
    )


def _texts(
    asked: Sequence[Asked], rankings: Sequence[dict[str, float]], page: Sequence[str]
) -> tuple[dict[str, Hit], list[str]]:
    """The hits of a page with their texts: asked of the rankings that found them, each document once."""
    hits: dict[str, Hit] = {}
    notices: list[str] = []
    for (searcher, text, mode), ranking in zip(asked, rankings, strict=True):
        wanted = [document for document in page if document in ranking and document not in hits]
        if wanted:
            answer = searcher.search(text, mode=mode, size=len(wanted), filter=searcher.target.only(wanted))
            hits |= {hit.id: hit for hit in answer.hits}
            notices += answer.notices
    return hits, [*notices, *_gone(page, hits)]


def _explained(
    asked: Sequence[Asked],
    rankings: Sequence[dict[str, float]],
    page: Sequence[str],
    fusion: Fusion,
    candidates: int,
) -> tuple[dict[str, Hit], list[str]]:
    """The hits of a page with what each leg gave to them."""
    hits: dict[str, Hit] = {}
    told: dict[str, list[LegScore]] = {document: [] for document in page}
    notices: list[str] = []
    columns = comparable(rankings, fusion, candidates)
    for (searcher, text, mode), ranking, (column, absent), weight in zip(
        asked, rankings, columns, applied_weights(fusion, len(asked)), strict=True
    ):
        leg = str(mode)
        why: dict[str, Sequence[Contribution]] = {}
        if wanted := [document for document in page if document in ranking]:
            only = searcher.target.only(wanted)
            answer = searcher.search(text, mode=mode, size=len(wanted), filter=only, explain=True)
            why = {hit.id: hit.why for hit in answer.hits if leg != "knn"}
            hits = {hit.id: hit for hit in answer.hits} | hits
            notices += answer.notices
        for document in page:
            if document in column:
                parts = tuple(why.get(document, ()))
                told[document].append(LegScore(leg, ranking[document], column[document], weight, parts))
            elif absent:
                told[document].append(LegScore(leg, absent, absent, weight))
    return {
        document: replace(hit, legs=tuple(told[document]), combination=fusion.combination)
        for document, hit in hits.items()
    }, [*notices, *_gone(page, hits)]


def _gone(page: Sequence[str], hits: dict[str, Hit]) -> list[str]:
    gone = [document for document in page if document not in hits]
    if not gone:
        return []
    return [f"{len(gone)} hits (e.g. {gone[0]!r}) could not be read any more: deleted in the meantime?"]
