"""BM25's two parameters, which an index keeps as its similarity (Robertson and Zaragoza, 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from opensearch_splade.errors import TargetError
from opensearch_splade.types import Json


@dataclass(frozen=True, slots=True)
class Bm25:
    """The similarity of an index' text fields.

    Attributes:
        k1: How late repeated words stop to count, at least 0. Lucene and OpenSearch: 1.2; Anserini: 0.9.
        b: How much a document's length counts, from 0 to 1. Lucene and OpenSearch: 0.75; Anserini: 0.4.

    Raises:
        TargetError: A value is out of bounds.
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        if not (0 <= self.k1 < float("inf") and 0 <= self.b <= 1):
            raise TargetError(f"--bm25 {self}: k1 is a number from 0 on, b one from 0 to 1; OpenSearch has 1.2,0.75")

    @classmethod
    def parse(cls, text: str) -> Bm25:
        """Reads ``0.9,0.4``: k1 and b.

        Raises:
            TargetError: It is not two numbers, or one is out of bounds.
        """
        try:
            k1, b = map(float, text.split(","))
        except ValueError as error:
            raise TargetError(f"--bm25 {text!r}: write k1 and b with a comma between them, such as 0.9,0.4") from error
        return cls(k1, b)

    def __str__(self) -> str:
        return f"{self.k1:g},{self.b:g}"

    @property
    def similarity(self) -> Json:
        """The ``similarity`` settings of an index: for all fields that name none."""
        return {"default": {"type": "BM25", "k1": self.k1, "b": self.b}}
