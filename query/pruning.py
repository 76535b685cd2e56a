"""Pruning of questions: dropping the weak features before the server is asked, whichever side they come from.

Many features of a siamese question are expansion of little weight, and each is a clause that the server has to walk
(Two-Step SPLADE, arXiv 2404.13357, prunes questions to find its candidates). Rules and meaning are those of document
pruning (``ingest``), and there too the strongest feature always stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.limits import as_float32
from opensearch_splade.query.rule_text import values_by_kind
from opensearch_splade.types import KnowsTokenIds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearch_splade.types import Features, QueryEncoder


@dataclass(frozen=True, slots=True)
class QueryPruning:
    """What is kept of a question's features; a rule that is ``None`` keeps all.

    Attributes:
        max_ratio: Keeps weights of at least this share of the question's largest, in (0, 1).
        top_k: Keeps so many of the strongest, at least 1; ties by name.

    Raises:
        QueryError: A value is out of range.

    Example:
        >>> QueryPruning(max_ratio=0.1, top_k=2).apply({"fox": 2.0, "dog": 1.5, "cat": 1.0})
        {'fox': 2.0, 'dog': 1.5}
    """

    max_ratio: float | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.max_ratio is not None and not 0 < self.max_ratio < 1:
            raise QueryError(f"query pruning by max_ratio:{self.max_ratio:g}: it takes a ratio between 0 and 1")
        if self.top_k is not None and self.top_k < 1:
            raise QueryError(f"query pruning by top_k:{self.top_k}: it takes a whole number > 0")

    @classmethod
    def parse(cls, text: str) -> QueryPruning:
        """Reads ``max_ratio:0.1``, ``top_k:16``, or both with a comma between them.

        Raises:
            QueryError: It is neither, one stands there twice, or a value is out of range.
        """
        refused = f"query pruning {text!r}: write max_ratio:RATIO, top_k:NUMBER, or both with a comma"
        found = values_by_kind(text, {"max_ratio", "top_k"}, refused)
        try:
            ratio = float(found["max_ratio"]) if "max_ratio" in found else None
            return cls(ratio, int(found["top_k"]) if "top_k" in found else None)
        except ValueError as error:
            raise QueryError(f"query pruning {text!r}: {error}") from error

    def __str__(self) -> str:
        rules = {"max_ratio": self.max_ratio, "top_k": self.top_k}
        return ",".join(f"{kind}:{value:.12g}" for kind, value in rules.items() if value is not None)

    def apply(self, features: Features) -> Features:
        """The features that stay, strongest first, with their weights."""
        ranked = sorted(features.items(), key=lambda item: (-item[1], item[0]))
        kept = ranked[: self.top_k]
        if self.max_ratio is None or not kept:
            return dict(kept)
        # In 32 bits, as document pruning compares: what lies on the bound must not depend on the side.
        least = as_float32(as_float32(self.max_ratio, "max_ratio") * as_float32(kept[0][1], kept[0][0]), kept[0][0])
        return dict(kept[:1] + [(name, weight) for name, weight in kept[1:] if as_float32(weight, name) >= least])


@dataclass(frozen=True, slots=True)
class PrunedQueries:
    """A query encoder whose questions are pruned; one itself, so a searcher takes it like any other.

    Attributes:
        encoder: Gives the query weights.
        pruning: What is kept of them.

    Example:
        >>> sparse = PrunedQueries(SparseEncoder.load("splade-tiny"), QueryPruning(top_k=16))  # doctest: +SKIP
    """

    encoder: QueryEncoder
    pruning: QueryPruning

    @property
    def fingerprint(self) -> str:
        """That of the encoder: which stored vectors are matched does not change."""
        return self.encoder.fingerprint

    @property
    def token_ids(self) -> Mapping[str, int]:
        """Those of the encoder.

        Raises:
            AttributeError: It has none; so this one has none either.
        """
        if not isinstance(self.encoder, KnowsTokenIds):
            raise AttributeError(f"{type(self.encoder).__name__} has no token_ids")
        return self.encoder.token_ids

    def encode_query(self, text: str) -> Features:
        """Feature to weight, strongest first."""
        return self.pruning.apply(self.encoder.encode_query(text))
