"""What the scores of its passages make of a document: the best one, a sum, a mean, or the best mixed with the whole.

MaxP, SumP and AvgP are those of Dai and Callan ("Deeper Text Understanding for IR with Contextual Neural Language
Modeling", arXiv 1905.09217). The mixing is that of passage retrieval in context: a passage counts for itself and for
its document, ``share * passage + (1 - share) * document`` (Callan, "Passage-level evidence in document retrieval",
SIGIR 1994).

Of nested passages the server computes all of it but means and sums of some: ``score_mode`` is ``max``, ``sum`` or
``avg``, and the score of the whole document's vector is, feature by feature, that of the passage that has most of it.
Of passages that are documents of their own, and for ``sum@3``, hits are gathered here, from a pool of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from opensearch_splade.errors import QueryError
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.clauses import is_seismic
from opensearch_splade.query.mode import SPARSE_LEGS

if TYPE_CHECKING:
    from opensearch_splade.types import Json

Aggregate = Literal["max", "sum", "avg", "whole"]
AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)

PASSAGES_EACH = 10
"""How many passages are fetched for each document of a pool; what a document has beyond them counts nothing."""

_PATTERN = re.compile(rf"(?:mixed:(?P<share>[0-9.]+)/)?(?P<aggregate>{'|'.join(AGGREGATES)})(?:@(?P<best>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """How a document is scored by its passages. ``str(score)`` is the parse format.

    Attributes:
        aggregate: Of the scores of the passages that match: the best one, their sum or mean, or ``whole``, which is
            the score of one vector with the largest weight that any passage has for each feature.
        best: Only so many passages take part, the best ones; 0 for all.
        share: Of the best passage in the sum with the aggregate, in [0, 1].

    Raises:
        QueryError: They do not go together.
    """

    aggregate: Aggregate = "max"
    best: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise QueryError(f"passages={self}: the share of the best passage lies between 0 and 1")
        if self.best and self.aggregate not in {"sum", "avg"}:
            raise QueryError(f"passages={self}: @{self.best} goes with sum and avg")

    @classmethod
    def parse(cls, text: str) -> DocumentScore:
        """Reads ``max``, ``sum``, ``avg``, ``whole``, ``sum@3``, ``mixed:0.7/whole`` or ``mixed:0.7/avg@3``.

        Raises:
            QueryError: It is none of these.
        """
        found = _PATTERN.fullmatch(text)
        aggregate = next((one for one in AGGREGATES if found and one == found["aggregate"]), None)
        if not found or aggregate is None or found["best"] == "0" or (found["share"] or "0").count(".") > 1:
            raise QueryError(
                f"passages={text}: write max, sum, avg or whole, sum@3 for the best three, or mixed:0.7/whole for .7 "
                "of the best passage and .3 of the whole document"
            )
        try:
            return cls(aggregate, int(found["best"] or 0), float(found["share"] or 0))
        except ValueError as error:
            raise QueryError(f"passages={text}: {error}") from error

    def __str__(self) -> str:
        tail = f"{self.aggregate}@{self.best}" if self.best else self.aggregate
        return f"mixed:{self.share:g}/{tail}" if self.share else tail

    @property
    def copies(self) -> int:
        """How many times a question's features stand in ``clause``."""
        return 2 if 0 < self.share < 1 and self.aggregate != "max" and not self.best else 1

    def check(self, store: str, legs: Sequence[str]) -> None:
        """Refuse what an index cannot be asked for.

        Args:
            store: How its passages lie.
            legs: The rankings that are asked.

        Raises:
            QueryError: It has no passages, or these rankings cannot be gathered so.
        """
        if store not in {"nested", "documents"}:
            raise QueryError(
                f"passages={self}: the index holds no passages; ingest with --passages late:64+title "
                "--store-passages nested"
            )
        if store == "nested" and not set(legs) & set(SPARSE_LEGS):
            raise QueryError(f"passages={self}: of nested passages only sparse rankings know anything, not {legs[0]}")
        if store == "documents" and self.aggregate == "whole":
            raise QueryError(
                f"passages={self}: passages that are documents of their own do not know the whole; ask sum or avg, or "
                "store them nested"
            )
        if self.is_gathered(store) and len(legs) > 1:
            raise QueryError(
                f"passages={self}: the server fuses the rankings of a hybrid before their passages are gathered; ask "
                "one ranking, or store passages nested and ask max, sum, avg or whole"
            )

    def is_gathered(self, store: str) -> bool:
        """Whether hits are gathered by ``gathered``, as far as the pool goes: what the server does not compute."""
        return bool(self.best) or store == "documents"

    def clause(self, query: Json, path: str = "passages") -> Json:
        """Nested passages scored by the server.

        Args:
            query: One of ``neural_sparse`` or ``weighted_terms``, over a field within ``path``.
            path: The ``nested`` field.

        Raises:
            QueryError: It is a SEISMIC clause, of which the server takes the best passage only.
        """
        if is_seismic(query) and (self.best or (self.aggregate != "max" and self.share < 1)):
            raise QueryError(f"passages={self}: a SEISMIC field finds documents by their best passage only; ask max")
        if query.keys() == {"match_none"}:
            return query
        if self.best:
            return _nested(query, path, "max", inner_hits={"name": "passages", "size": self.best, "_source": False})
        if self.aggregate == "max" or self.share == 1:
            return _nested(query, path, "max")
        if not self.share:
            return _whole(query, path) if self.aggregate == "whole" else _nested(query, path, self.aggregate)
        rest = 1 - self.share
        best = _nested(query, path, "max", boost=self.share)
        if self.aggregate == "whole":
            return {"bool": {"should": [best, {"bool": {**_whole(query, path)["bool"], "boost": rest}}]}}
        return {"bool": {"should": [best, _nested(query, path, self.aggregate, boost=rest)]}}

    def of(self, scores: Sequence[float]) -> float:
        """The document's score.

        Args:
            scores: Of its passages, best first, at least one.
        """
        taken = scores[: self.best] if self.best else scores
        total = math.fsum(taken)
        parts = {"max": scores[0], "sum": total, "avg": total / len(taken)}
        return self.share * scores[0] + (1 - self.share) * parts[self.aggregate]

    def gathered(self, hits: Sequence[Json]) -> list[Json]:
        """Documents of a pool of hits, best first: their best passage with the document's score.

        Args:
            hits: Passages that are documents of their own, named by ``hit_json.flat``, best first; or documents whose
                nested passages come as ``inner_hits``.
        """
        groups: dict[object, list[Json]] = {}
        for place, hit in enumerate(hits):
            owner = hit["_source"].get("id")
            groups.setdefault(place if owner is None else (hit["_index"], owner), []).append(hit)
        found = [{**group[0], "_score": self.of(_scores(group))} for group in groups.values()]
        return sorted(found, key=lambda hit: -hit["_score"])


def passage_pool(documents: int) -> int:
    """How many passages are fetched for a pool of documents."""
    return min(PASSAGES_EACH * documents, MAX_RESULT_WINDOW)


def _scores(group: Sequence[Json]) -> list[float]:
    if inner := group[0].get("inner_hits"):
        return [passage["_score"] for passage in inner["passages"]["hits"]["hits"]]
    return [hit["_score"] for hit in group]


def _nested(query: Json, path: str, score_mode: str, **more: object) -> Json:
    return {"nested": {"path": path, "score_mode": score_mode, "query": query, **more}}


def _whole(query: Json, path: str) -> Json:
    """Each feature by the passage that has most of it."""
    if "neural_sparse" in query:
        [(field, clause)] = query["neural_sparse"].items()
        tokens = clause["query_tokens"].items()
        each = [{"neural_sparse": {field: {"query_tokens": {token: weight}}}} for token, weight in tokens]
    else:
        each = query["bool"]["should"]
    return {"bool": {"should": [_nested(one, path, "max") for one in each]}}
