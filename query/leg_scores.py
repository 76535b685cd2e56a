"""What each ranking of a hybrid gave to a hit: the server's fusion done once more, from its rankings asked alone.

The server's own explanation (``hybrid_score_explanation``) is no source: 3.6.0 pairs it with hits by place, where it
may meet a neighbour's, and a min_max hybrid that is asked to explain has other scores (.2 % off on SciFact).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.query.batches import together
from opensearch_splade.query.body import ranking_only, search_body
from opensearch_splade.query.boosted_hits import among
from opensearch_splade.query.boosts import boost_part
from opensearch_splade.query.client_fusion import applied_weights, combine, normalise
from opensearch_splade.query.explanation import lexical_contributions
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.hit_json import document_key, flat
from opensearch_splade.types import LegScore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.query.plan import Plan
    from opensearch_splade.types import Combination, Contribution, Hit, Json

SUM_TOLERANCE = 1e-5
"""Relative: the server adds up float32."""

_MOST_CHOICES = 10_000  # of ranks among ties


class Legs:
    """The rankings and boosts behind the scores of some hits.

    Args:
        plan: What was asked.
        pools: Of each leg all hits that were fused, by document key to score, best first. Where scores are added as
            they are, the hits to be explained.
        words: Of hits the server's explanation of their bm25 score, by document key.
        boosts: Of each boost the hits to be explained that it matches, by document key to score.
    """

    def __init__(
        self,
        plan: Plan,
        pools: Sequence[Mapping[str, float]],
        words: Mapping[str, Json],
        boosts: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self._plan = plan
        self._scores = pools
        self._words = words
        self._boosts = boosts
        fusion = plan.fusion or Fusion("raw")
        self.combination: Combination = fusion.combination
        self._normalised = [_normalised(pool, fusion, place) for place, pool in enumerate(pools)]
        self._weights = applied_weights(fusion, len(pools))

    def of(self, hit: Json, sparse: Sequence[Contribution]) -> tuple[LegScore, ...]:
        """What they gave to one hit, in their order; a ranking that has not found it is left out.

        Args:
            hit: Of the hybrid.
            sparse: What each feature gave in the sparse ranking.
        """
        key = document_key(hit)
        score = float(hit["_score"]) - sum(part.score for part in self.boosts(hit))
        places = [place for place, scores in enumerate(self._scores) if key in scores]
        weights = [self._weights[place] for place in places]
        choices = product(*(self._normalised[place][self._scores[place][key]] for place in places))
        nearest = min(
            islice(choices, _MOST_CHOICES),
            key=lambda chosen: abs(combine(chosen, weights, self.combination) - score),
        )
        legs = [self._plan.legs[place] for place in places]
        return tuple(
            LegScore(leg, self._scores[place][key], each, weight, tuple(self._parts(leg, key, sparse)))
            for leg, place, each, weight in zip(legs, places, nearest, weights, strict=True)
        )

    def boosts(self, hit: Json) -> tuple[Contribution, ...]:
        """What each boost that it matches added to a hit."""
        key = document_key(hit)
        each = zip(self._plan.wanted.boosts, self._boosts, strict=False)
        return tuple(boost_part(boost, found[key]) for boost, found in each if key in found)

    def _parts(self, leg: str, key: str, sparse: Sequence[Contribution]) -> Sequence[Contribution]:
        if leg == "bm25":
            return lexical_contributions(self._words[key]) if key in self._words else ()
        return () if leg == "knn" else sparse


def ask_legs(index: str, plan: Plan, shards: int, hits: Sequence[Json], patience_s: float | None) -> Conversation[Legs]:
    """Asks each ranking and each boost alone.

    Of what was fused so many hits of each shard come, since the server fuses those of all. Scores that are added as
    they are need those of the hits alone, and of them a hit may have some that no pool would reach.

    Args:
        index: Where it was asked.
        plan: What was asked.
        shards: How many answered it.
        hits: Those to be explained.
        patience_s: How long one search may take.

    Raises:
        ClusterError: One of them was refused.
    """
    parts = 1 if plan.is_linear else shards
    legs = [_of_hits(query, hits) if plan.is_linear else _pool_body(query, plan.depth) for query in plan.alone]
    bodies = [body for body in legs for _ in range(parts)]
    headers: list[Json] = [{"preference": f"_shards:{shard}"} if parts > 1 else {} for shard in range(parts)]
    headers *= len(legs)
    more = [_of_hits(boost, hits) for boost in plan.wanted.boosts]
    if "bm25" in plan.legs:
        more.append({**_of_hits(plan.alone[plan.legs.index("bm25")], hits), "explain": True})
    asked = together(index, [*bodies, *more], headers=[*headers, *({} for _ in more)], patience_s=patience_s)
    answers = list(_whole((yield from asked)))
    pools = [_pool(answers[place * parts : (place + 1) * parts]) for place in range(len(legs))]
    beside = answers[len(bodies) :]
    boosts = [_pool([answer]) for answer in beside[: len(plan.wanted.boosts)]]
    explained = beside[len(boosts) :]
    words = {document_key(flat(hit)): hit["_explanation"] for answer in explained for hit in answer["hits"]["hits"]}
    return Legs(plan, pools, words, boosts)


def single_leg(plan: Plan, score: float, why: Sequence[Contribution]) -> tuple[LegScore, ...]:
    """A ranking that was asked alone: its score is the hit's."""
    return (LegScore(plan.legs[0], score, score, 1.0, tuple(why)),)


def similarity(score: float) -> float:
    """The inner product behind the score of a kNN query on our ``dense`` field (Lucene's maximum inner product)."""
    return score - 1 if score >= 1 else 1 - 1 / score


def adds_up(hit: Hit) -> bool:
    """Whether what is told of a hit is its score, and what the parts of a leg gave that leg's."""
    parts, weights = [leg.normalised for leg in hit.legs], [leg.weight for leg in hit.legs]
    told = combine(parts, weights, hit.combination) + sum(part.score for part in hit.boosts)
    # Z-scores are of either sign, and a sum of nearly nothing is no more exact than the parts that cancelled.
    size = max(abs(hit.score), abs(combine([abs(part) for part in parts], weights, hit.combination)))
    whole = abs(told - hit.score) <= SUM_TOLERANCE * size
    legs = [leg for leg in hit.legs if leg.why]
    return whole and all(
        abs(sum(one.score for one in leg.why) - leg.score) <= SUM_TOLERANCE * leg.score for leg in legs
    )


def _pool_body(query: Json, depth: int) -> Json:
    return ranking_only(search_body(query, size=depth))


def _of_hits(query: Json, hits: Sequence[Json]) -> Json:
    """The filter stands around kNN too: what is not among its neighbours has nothing of it."""
    return _pool_body({"bool": {"must": [query], "filter": [among(hits)]}}, len(hits))


def _whole(answers: Sequence[Json | ClusterError]) -> Iterator[Json]:
    for answer in answers:
        if isinstance(answer, ClusterError):
            raise answer
        yield answer


def _pool(answers: Sequence[Json]) -> dict[str, float]:
    hits = [flat(hit) for answer in answers for hit in answer["hits"]["hits"]]
    hits.sort(key=lambda hit: -hit["_score"])  # stable: ties stay in the order of shards
    return {document_key(hit): hit["_score"] for hit in hits}


def _normalised(pool: Mapping[str, float], fusion: Fusion, leg: int) -> dict[float, list[float]]:
    """What the fusion makes of each score: one number, or in RRF one for each rank that documents of this score have.

    Which of those that tie across shards comes first the server does not tell; a hit's own score does.
    """
    found: dict[float, list[float]] = {}
    for score, made in zip(pool.values(), normalise(list(pool.values()), fusion, leg), strict=True):
        choices = found.setdefault(score, [])
        if made not in choices:
            choices.append(made)
    return found
