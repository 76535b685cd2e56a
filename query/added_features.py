"""Added features: what a question asks for beside its words, such as an entity that documents carry as a feature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.types import feature_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opensearch_splade.types import Features, QueryEncoder


@dataclass(frozen=True, slots=True)
class WithFeatures:
    """A query encoder whose questions also ask for some features; one itself, so a searcher takes it like any other.

    Attributes:
        encoder: Gives the query weights.
        added: Feature to weight, as ``osplade ingest --feature-field`` names them: ``FIELD=VALUE``.

    Raises:
        QueryError: A weight is not positive and finite.
    """

    encoder: QueryEncoder
    added: Mapping[str, float]

    def __post_init__(self) -> None:
        for feature, weight in self.added.items():
            if not (feature and 0 < weight < math.inf):
                raise QueryError(f"the added feature {feature!r} weighs {weight}: it must have a name and a weight > 0")

    @classmethod
    def parse(cls, encoder: QueryEncoder, texts: Iterable[str]) -> WithFeatures:
        """Reads ``FIELD=VALUE`` and ``FIELD=VALUE*WEIGHT``.

        Raises:
            QueryError: It is neither.
        """
        return cls(encoder, dict(map(_parsed, texts)))

    @property
    def fingerprint(self) -> str:
        """That of the encoder: which stored vectors are matched does not change."""
        return self.encoder.fingerprint

    def encode_query(self, text: str) -> Features:
        """Feature to weight, strongest first."""
        added = {feature_name(name): weight for name, weight in self.added.items()}
        together = {**self.encoder.encode_query(text), **added}
        return dict(sorted(together.items(), key=lambda each: -each[1]))


def _parsed(text: str) -> tuple[str, float]:
    name, star, weight = text.rpartition("*")
    try:
        return (name, float(weight)) if star else (text, 1.0)
    except ValueError:
        return text, 1.0  # a star within a value
