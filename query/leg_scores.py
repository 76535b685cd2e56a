"""What each ranking of a hybrid gave to a hit: the server's fusion done once more, from its rankings asked alone.

The server's own explanation (``hybrid_score_explanation``) is no source: 3.6.0 pairs it with hits by place, where it
may meet a neighbour's, and a min_max hybrid that is asked to explain has other scores (.2 % off on SciFact).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from operator import mul
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.query.batches import together
from opensearch_splade.query.body import ranking_only, search_body
from opensearch_splade.query.clauses import filtered
from opensearch_splade.query.client_fusion import applied_weights, normalise
from opensearch_splade.query.explanation import lexical_contributions
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.hit_json import document_key, flat
from opensearch_splade.types import LegScore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.query.plan import Plan
    from opensearch_splade.types import Contribution, Json

SUM_TOLERANCE = 1e-5
"""Relative: the server adds up float32."""

_MOST_CHOICES = 10_000  # of ranks among ties


class Legs:
    """The rankings that a hybrid fused.

    Args:
        plan: The hybrid's.
        pools: Of each leg all hits that were fused, by document key to score, best first.
        words: Of hits the server's explanation of their bm25 score, by document key.
    """

    def __init__(self, plan: Plan, pools: Sequence[Mapping[str, float]], words: Mapping[str, Json]) -> None:
        self._plan = plan
        self._scores = pools
        self._words = words
        fusion = plan.fusion or Fusion()
        self._normalised = [_normalised(pool, fusion, place) for place, pool in enumerate(pools)]
        self._weights = applied_weights(fusion, len(pools))

    def of(self, hit: Json, sparse: Sequence[Contribution]) -> tuple[LegScore, ...]:
        """What they gave to one hit, in their order; a ranking that has not found it is left out.

        Args:
            hit: Of the hybrid.
            sparse: What each feature gave in the sparse ranking.
        """
        key, score = document_key(hit), float(hit["_score"])
        places = [place for place, scores in enumerate(self._scores) if key in scores]
        weights = [self._weights[place] for place in places]
        choices = product(*(self._normalised[place][self._scores[place][key]] for place in places))
        nearest = min(
            islice(choices, _MOST_CHOICES),
            key=lambda chosen: abs(sum(map(mul, weights, chosen)) - score),
        )
        legs = [self._plan.legs[place] for place in places]
        return tuple(
            LegScore(leg, self._scores[place][key], each, weight, tuple(self._parts(leg, key, sparse)))
            for leg, place, each, weight in zip(legs, places, nearest, weights, strict=True)
        )

    def _parts(self, leg: str, key: str, sparse: Sequence[Contribution]) -> Sequence[Contribution]:
        if leg == "bm25":
            return lexical_contributions(self._words[key]) if key in self._words else ()
        return () if leg == "knn" else sparse


def ask_legs(index: str, plan: Plan, shards: int, hits: Sequence[Json], patience_s: float | None) -> Conversation[Legs]:
    """Asks each ranking alone for what was fused: so many hits of each shard, since the server fuses those of all.

    Args:
        index: Where the hybrid was asked.
        plan: The hybrid's.
        shards: How many answered it.
        hits: Those to be explained.
        patience_s: How long one search may take.

    Raises:
        ClusterError: One of them was refused.
    """
    bodies = [_pool_body(query, plan.depth) for query in plan.alone for _ in range(shards)]
    headers: list[Json] = [{"preference": f"_shards:{shard}"} if shards > 1 else {} for shard in range(shards)]
    headers *= len(plan.alone)
    if "bm25" in plan.legs:
        among = {"ids": {"values": [hit["_id"] for hit in hits]}}
        query = filtered(plan.alone[plan.legs.index("bm25")], among)
        bodies.append({**_pool_body(query, len(hits)), "explain": True})
        headers.append({})
    answers = list(_whole((yield from together(index, bodies, headers=headers, patience_s=patience_s))))
    pools = [_pool(answers[place * shards : (place + 1) * shards]) for place in range(len(plan.alone))]
    explained = answers[len(plan.alone) * shards :]
    words = {document_key(flat(hit)): hit["_explanation"] for answer in explained for hit in answer["hits"]["hits"]}
    return Legs(plan, pools, words)


def single_leg(plan: Plan, score: float, why: Sequence[Contribution]) -> tuple[LegScore, ...]:
    """A ranking that was asked alone: its score is the hit's."""
    return (LegScore(plan.legs[0], score, score, 1.0, tuple(why)),)


def similarity(score: float) -> float:
    """The inner product behind the score of a kNN query on our ``dense`` field (Lucene's maximum inner product)."""
    return score - 1 if score >= 1 else 1 - 1 / score


def adds_up(legs: Sequence[LegScore], score: float) -> bool:
    """Whether what the legs gave is the hit's score, and what the parts of a leg gave that leg's."""
    whole = abs(sum(leg.contribution for leg in legs) - score) <= SUM_TOLERANCE * abs(score)
    parts = (abs(sum(one.score for one in leg.why) - leg.score) <= SUM_TOLERANCE * leg.score for leg in legs if leg.why)
    return whole and all(parts)


def _pool_body(query: Json, depth: int) -> Json:
    return ranking_only(search_body(query, size=depth))


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
