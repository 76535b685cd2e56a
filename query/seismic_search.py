"""How SEISMIC is asked: what a ``neural_sparse`` clause on a ``sparse_vector`` field takes beside the tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opensearch_splade.errors import QueryError
from opensearch_splade.query.rule_text import values_by_kind

TOP_N = 20
"""On 300 questions over 5,183 documents in one segment, recall@10 of the exact ranking was .957 (siamese, 54 features a
question) and .968 (inference-free, 20) with the server's 10 tokens; .982 and .978 with 20; .986 and .978 with all."""

FILTERED_K = 10_000
"""Candidates where there is a filter. SEISMIC takes the filter's documents instead of candidates, and scores all of
them, where they are at most ``k``; of more it only drops candidates that the filter does not match (3.6.0: of 104
matching documents a ``k`` of 10 found none)."""


@dataclass(frozen=True, slots=True)
class SeismicSearch:
    """How thoroughly large segments are searched; small ones are scored exactly whatever it says.

    Attributes:
        top_n: Strongest features whose postings are looked through for candidates, at least 1. Scores are of all
            features.
        heap_factor: More than 1 looks into more clusters: slower and more exact; less the other way round.

    Raises:
        QueryError: A value is out of range.
    """

    top_n: int = TOP_N
    heap_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.top_n < 1:
            raise QueryError(f"top_n is {self.top_n}: SEISMIC looks through the postings of at least one feature")
        if not (math.isfinite(self.heap_factor) and self.heap_factor > 0):
            raise QueryError(f"heap_factor is {self.heap_factor}: it must be positive and finite, and is 1 by default")

    @classmethod
    def parse(cls, text: str) -> SeismicSearch:
        """Reads ``top_n:40``, ``heap_factor:2``, or both with a comma between them.

        Raises:
            QueryError: It is neither, one stands there twice, or a value is out of range.
        """
        refused = f"SEISMIC search {text!r}: write top_n:NUMBER, heap_factor:FACTOR, or both with a comma"
        found = values_by_kind(text, {"top_n", "heap_factor"}, refused)
        try:
            return cls(int(found.get("top_n", TOP_N)), float(found.get("heap_factor", 1)))
        except ValueError as error:
            raise QueryError(f"SEISMIC search {text!r}: {error}") from error

    def __str__(self) -> str:
        return f"top_n:{self.top_n},heap_factor:{self.heap_factor:.12g}"


DEFAULT_SEARCH = SeismicSearch()
