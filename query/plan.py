"""What a question becomes before it is sent: the rankings, the query weights and the search body."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from opensearch_splade.errors import QueryError
from opensearch_splade.query.body import Returned, ranking_only, search_body
from opensearch_splade.query.boosts import boosted, user_query
from opensearch_splade.query.clauses import filtered
from opensearch_splade.query.document_scores import DocumentScore, passage_pool
from opensearch_splade.query.fusion import CANDIDATES, chosen, hybrid, linear, pool_depth
from opensearch_splade.query.legs import Question
from opensearch_splade.query.limits import count_clauses
from opensearch_splade.query.mode import Mode
from opensearch_splade.query.requirements import PAGINATION_DEPTH
from opensearch_splade.query.rescoring import SECOND_ALONE, rescored, rescorer
from opensearch_splade.query.two_step import in_two_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.query.expansion import Expansion
    from opensearch_splade.query.feedback import Feedback
    from opensearch_splade.query.fusion_spec import Fusion
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.pruning import QueryPruning
    from opensearch_splade.query.rocchio import Rocchio
    from opensearch_splade.query.target import Target
    from opensearch_splade.types import Json


class Options(TypedDict, total=False):
    """``Wanted`` as keyword arguments: ``search("fox", mode="bm25", size=5)``."""

    mode: Mode | str
    size: int
    start: int
    filter: Json | None
    weights: Sequence[float] | None
    explain: bool
    ids_only: bool
    timeout: float | None
    profile: bool
    two_step: QueryPruning | None
    feedback: Feedback | Rocchio | None
    boosts: Sequence[Json]
    passages: DocumentScore | str | None
    rescore: str
    rescore_weights: tuple[float, float]
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a question is asked.

    Attributes:
        mode: A ``Mode`` or its text, e.g. ``neural-sparse`` or ``bm25+knn:rrf``; ``hybrid`` fuses all there is.
        size: Hits to return.
        start: Hits to skip before them.
        filter: One query object that hits must match, e.g. ``{"term": {"metadata.lang": "en"}}``.
        weights: Of the legs of a hybrid, in their order.
        explain: Tell for each hit what gave its score: what each ranking gave, and of it each feature or word. A hybrid
            takes one more request, which asks its rankings alone.
        ids_only: Hits come without text, which is faster where only the ranking matters.
        timeout: Seconds that the server may take, after which it answers with what it has, and a notice says so. The
            client waits a little longer, and then gives up. ``None`` leaves both to their own settings.
        profile: Tell what the server spent its time on (``SearchResult.profile``). A hybrid is asked once more for it,
            since 3.6.0 gives other scores while it profiles.
        two_step: Of one sparse ranking: which features find the candidates, which all features then score.
        feedback: Expands the sparse rankings by features of documents, the best hits or judged ones, which takes one
            more request; bm25 and knn keep the question.
        boosts: Queries whose scores are added to those of hits, such as of ``constant_boost`` and ``feature_boost``;
            alone they find nothing. To one ranking and to a linear combination the server adds them. To the fused
            scores of a hybrid they are added here, among its candidates and by one more request.
        passages: How documents are scored by their passages, as ``DocumentScore`` or its text, e.g.
            ``mixed:0.7/whole``; ``None`` by the best one. Nested ones tell which was the best (``Hit.passage``).
        rescore: Of one ranking: the leg that scores its best hits again, ``bm25``, ``neural-sparse`` or
            ``weighted-terms``; empty for none.
        rescore_weights: Of the first score and the second, whose sum is the hit's.
        window: How many hits of a shard ``two_step`` or ``rescore`` score again, at least to the page's end.

    Raises:
        QueryError: The time-out is not positive and finite, a boost is no query object, or options do not go together.
    """

    mode: Mode | str = "hybrid"
    size: int = 10
    start: int = 0
    filter: Json | None = None
    weights: Sequence[float] | None = None
    explain: bool = False
    ids_only: bool = False
    timeout: float | None = None
    profile: bool = False
    two_step: QueryPruning | None = None
    feedback: Feedback | Rocchio | None = None
    boosts: Sequence[Json] = ()
    passages: DocumentScore | str | None = None
    rescore: str = ""
    rescore_weights: tuple[float, float] = SECOND_ALONE
    window: int = CANDIDATES

    def __post_init__(self) -> None:
        object.__setattr__(self, "boosts", tuple(map(user_query, self.boosts)))
        if self.timeout is not None and not 0.001 <= self.timeout < math.inf:
            raise QueryError(f"a time-out of {self.timeout} s: it is at least .001 s and finite; None sets none")
        self._check_stages()

    def _check_stages(self) -> None:
        if self.rescore:
            rescorer(self.rescore)
        elif self.rescore_weights != SECOND_ALONE:
            raise QueryError("rescore_weights go with rescore")
        if self.window != CANDIDATES and not (self.two_step or self.rescore):
            raise QueryError("a window goes with two_step or rescore")
        if self.two_step and self.rescore:
            raise QueryError("two steps are a rescoring by all features already; leave the rescoring out")
        if self.boosts and (self.two_step or self.rescore):
            raise QueryError("hits are scored again as they are: leave out two_step and rescore, or the boosts")
        if self.passages is not None and self.rescore:
            raise QueryError("documents that are scored by their passages are not rescored: leave out one of both")
        if self.rescore and self.explain:
            raise QueryError("a rescored hit is not explained: its score is of two rankings; ask each of them alone")


@dataclass(frozen=True, slots=True)
class Plan:
    """A question ready to be sent.

    Attributes:
        wanted: How it is asked.
        legs: Its rankings.
        question: Its weights and notices.
        body: The search as one body.
        alone: The query of each leg with the filter.
        depth: How many hits of each leg and shard are fused.
        fusion: How they are; ``None`` for a single ranking.
        gathers: What makes documents of the passages that come; ``None`` where the server does.
    """

    wanted: Wanted
    legs: tuple[Leg, ...]
    question: Question
    body: Json
    alone: tuple[Json, ...]
    depth: int
    fusion: Fusion | None
    gathers: DocumentScore | None = None

    @property
    def is_ranking(self) -> bool:
        """Whether hits come without their documents: what ``sent`` does for hybrids, whose hits are read afterwards."""
        return self.wanted.ids_only or len(self.legs) > 1 or self.gathers is not None

    @property
    def reads_documents(self) -> bool:
        """Whether the documents of the hits take a second request."""
        return self.is_ranking and not self.wanted.ids_only

    @property
    def is_linear(self) -> bool:
        """Whether scores are added up as they are: a single ranking, or a linear combination."""
        return self.fusion is None or self.fusion.normaliser == "raw"

    @property
    def boosts_afterwards(self) -> bool:
        """Whether boosts are still to be added to the scores that the server gives."""
        return bool(self.wanted.boosts) and not self.is_linear

    @property
    def sent(self) -> Json:
        """The first request's body."""
        return ranking_only(self.body) if self.is_ranking else self.body

    @property
    def returned(self) -> Returned:
        """What is wanted of each hit."""
        return _returned(self.question, self.wanted)

    @property
    def scoring(self) -> tuple[Leg, ...]:
        """All rankings that have a part in the scores."""
        return (*self.legs, rescorer(self.wanted.rescore)) if self.wanted.rescore else self.legs


def asked_legs(wanted: Wanted, target: Target) -> tuple[Leg, ...]:
    """The rankings that are asked.

    Raises:
        QueryError: The mode is unknown.
    """
    return _mode(wanted).legs or target.legs


def plan(text: str, target: Target, wanted: Wanted, expansion: Expansion | None = None) -> Plan:
    """Build the search.

    Args:
        text: The question.
        target: What is asked.
        wanted: How.
        expansion: Weights in place of the question's own, for the sparse rankings.

    Raises:
        QueryError: The question, mode, page or weights are out of bounds.
        TargetError: The index or the encoders lack what the mode asks.
        CapabilityError: The server cannot do what the mode asks.
    """
    mode, legs = _mode(wanted), asked_legs(wanted, target)
    score = _document_score(target, legs, wanted)
    question = _question(text, target, legs, wanted, expansion, score)
    depth = pool_depth(wanted.start + wanted.size)
    fusion = chosen(mode.fusion or "min_max", wanted.weights) if len(legs) > 1 else None
    queries = [question.leg(leg, k=depth) for leg in legs]
    question.notices += _missing(mode, target)
    query, pipeline = _query(queries, fusion, legs, target, wanted, depth)
    returned = _returned(question, wanted)
    body = search_body(query, size=wanted.size, start=wanted.start, search_pipeline=pipeline, returned=returned)
    if wanted.explain and legs == ("bm25",) and not wanted.boosts:
        body["explain"] = True
    gathers = score if score and score.is_gathered(target.store) else None
    if gathers:
        body["size"], body["from"] = (passage_pool(depth) if target.store == "documents" else depth), 0
    elif target.store == "documents":  # of the passages of a document the best one is its hit
        if len(legs) == 1:
            body["collapse"] = {"field": "id"}
        else:  # OpenSearch 3.6.0 loses documents where a hybrid collapses, so all candidates come and we do it
            body["size"], body["from"] = depth, 0
    if wanted.boosts and fusion and fusion.normaliser != "raw":  # any candidate may come into the page
        body["size"], body["from"] = depth, 0
    if wanted.timeout is not None:
        body["timeout"] = f"{math.ceil(wanted.timeout * 1000)}ms"
    if wanted.profile and len(legs) == 1:
        body["profile"] = True
    if wanted.two_step:
        body = in_two_steps(body, wanted.two_step, window=wanted.window)
    if wanted.rescore:
        leg = rescorer(wanted.rescore)
        second = _question(text, target, (leg,), wanted, expansion, None)
        body = rescored(body, second.leg(leg, k=depth), window=wanted.window, weights=wanted.rescore_weights)
        question.notices += [notice for notice in second.notices if notice not in question.notices]
    alone = tuple(filtered(query, wanted.filter) if wanted.filter else query for query in queries)
    return Plan(wanted, legs, question, body, alone, depth, fusion, gathers)


def _mode(wanted: Wanted) -> Mode:
    return wanted.mode if isinstance(wanted.mode, Mode) else Mode.parse(wanted.mode)


def _returned(question: Question, wanted: Wanted) -> Returned:
    """The best passage is told by its weights too: faster than ``inner_hits`` (20 ms for each ten hits of SciFact)."""
    shows = wanted.explain or wanted.passages is not None
    return "text and weights" if shows and question.weights else "text"


def _document_score(target: Target, legs: tuple[Leg, ...], wanted: Wanted) -> DocumentScore | None:
    if wanted.passages is None:
        return None
    score = DocumentScore.parse(wanted.passages) if isinstance(wanted.passages, str) else wanted.passages
    score.check(target.store, legs)
    if wanted.explain and score != DocumentScore():
        raise QueryError(f"passages={score} has no explanation: it is made of several passages; ask max with explain")
    if wanted.boosts and score != DocumentScore():
        raise QueryError(f"passages={score} goes without boosts: what is added to a passage would be added up too")
    return score


def _question(
    text: str,
    target: Target,
    legs: tuple[Leg, ...],
    wanted: Wanted,
    expansion: Expansion | None,
    score: DocumentScore | None,
) -> Question:
    # A hybrid puts the filter into every leg, and SEISMIC has it twice; kNN takes a clause too.
    copies = len(legs) + (target.seismic is not None)
    reserved = len(legs) + copies * (count_clauses(wanted.filter) if wanted.filter else 0)
    reserved += sum(map(count_clauses, wanted.boosts))
    counted = sum(leg != "knn" for leg in legs)
    room = target.capabilities.max_clause_count - reserved
    return Question(text, target, room=room, counted_legs=counted, expansion=expansion, score=score)


def _query(
    queries: Sequence[Json],
    fusion: Fusion | None,
    legs: tuple[Leg, ...],
    target: Target,
    wanted: Wanted,
    depth: int,
) -> tuple[Json, Json | None]:
    """The query with its filter, and the pipeline that fuses it."""
    if fusion is None:
        if wanted.weights is not None:
            raise QueryError(f"weights are for the legs of a hybrid; here {legs[0]} is asked alone")
        return boosted(filtered(queries[0], wanted.filter) if wanted.filter else queries[0], wanted.boosts), None
    if fusion.normaliser == "raw":
        return linear(queries, weights=fusion.weights or None, boosts=wanted.boosts, filter=wanted.filter or None), None
    if wanted.start:
        target.capabilities.require(PAGINATION_DEPTH)
    return hybrid(
        queries,
        method=fusion,
        filter=wanted.filter or None,
        pagination_depth=depth,
        capabilities=target.capabilities,
    )


def _missing(mode: Mode, target: Target) -> list[str]:
    """What ``hybrid`` fuses fewer rankings for than the index or the encoders would allow."""
    if mode.legs:
        return []
    given: list[tuple[Leg, object]] = [
        ("neural-sparse", target.sparse or target.meta.sparse),
        ("knn", target.dense or target.meta.dense),
    ]
    lacks = [target.lacks(leg) for leg, anything in given if anything]
    return [f"hybrid without that ranking: {lack}" for lack in lacks if lack]
