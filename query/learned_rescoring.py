"""Learned rescoring: a linear function of what the legs say of a document. ``osplade tune-search`` learns it.

A model is kept as JSON: numbers by name, which anybody can read and nobody can hide code in.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.client_fusion import normalise
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("min_max", "rrf", "found")
"""What is known of a document by one leg: its score scaled to [0, 1]; 61 / (60 + rank), the first one's 1; whether it
is among the leg's candidates at all. Each is 0 where it is not."""


_MAKE = "make one with `osplade tune-search … --save-rescorer FILE`"


@dataclass(frozen=True, slots=True)
class LearnedRescorer:
    """A model that was learned, ready to score.

    Attributes:
        coefficients: ``KIND LEG`` to weight, for each kind of each leg; a leg is named as when it was learned.
        learned_on: What it was learned on, e.g. ``scifact/train``.

    Raises:
        QueryError: A name is of another form, a leg lacks a kind, or a weight is not finite.

    Example:
        >>> model = LearnedRescorer({"min_max bm25": 1.0, "rrf bm25": 0.5, "found bm25": 0.0})
        >>> list(model.rank({"bm25": {"a": 7.0, "b": 3.0}}))
        ['a', 'b']
    """

    coefficients: Mapping[str, float]
    learned_on: str = ""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.coefficients if name.partition(" ")[0] not in KINDS]:
            raise QueryError(f"coefficient {unknown[0]!r}: its name is one of {', '.join(KINDS)} and a leg")
        if lacking := [
            f"{kind} {leg}" for leg in self.legs for kind in KINDS if f"{kind} {leg}" not in self.coefficients
        ]:
            raise QueryError(f"the learned rescoring lacks the coefficient {lacking[0]!r}; learn it again")
        if any(not math.isfinite(weight) for weight in self.coefficients.values()) or not self.legs:
            raise QueryError("the learned rescoring has no coefficients, or one that is not finite; learn it again")

    @classmethod
    def read(cls, path: Path) -> LearnedRescorer:
        """The model in a file that ``write`` or ``osplade tune-search --save-rescorer`` made.

        Raises:
            QueryError: There is none; says what is wrong with the file.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise QueryError(f"{path} cannot be read as a learned rescoring: {error}; {_MAKE}") from error
        coefficients = found.get("coefficients") if isinstance(found, dict) else None
        if not isinstance(coefficients, dict) or not all(_is_number(one) for one in coefficients.values()):
            raise QueryError(f"{path} has no coefficients, name to number; {_MAKE}")
        try:
            return cls({name: float(weight) for name, weight in coefficients.items()}, str(found.get("learned_on", "")))
        except QueryError as error:
            raise QueryError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Keeps it.

        Raises:
            QueryError: The file cannot be written.
        """
        kept = {"learned_on": self.learned_on, "coefficients": dict(self.coefficients)}
        try:
            path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise QueryError(f"the learned rescoring cannot be written to {path}: {error.strerror}") from error

    @property
    def legs(self) -> tuple[str, ...]:
        """Which rankings it needs."""
        return tuple(dict.fromkeys(name.partition(" ")[2] for name in self.coefficients))

    def rank(self, legs: Mapping[str, Mapping[str, float]], *, candidates: int = CANDIDATES) -> dict[str, float]:
        """Documents with their scores, best first; of equal ones the larger id first, as trec_eval orders ties.

        Args:
            legs: Each leg's document to score, best first; may be empty.
            candidates: How many hits of each leg are scored: as many as when it was learned.

        Raises:
            QueryError: The legs are not those it was learned with.
        """
        if legs.keys() != set(self.legs):
            raise QueryError(f"the rescoring was learned with the legs {', '.join(self.legs)}, not {', '.join(legs)}")
        scores: dict[str, float] = {}
        for leg, hits in legs.items():
            documents = list(hits)[:candidates]
            values = [hits[document] for document in documents]
            scaled, ranks = (normalise(values, Fusion.parse(kind)) for kind in KINDS[:2])
            by_score, by_rank, found = (self.coefficients[f"{kind} {leg}"] for kind in KINDS)
            for document, score, rank in zip(documents, scaled, ranks, strict=True):
                scores[document] = scores.get(document, 0.0) + by_score * score + by_rank * 61 * rank + found
        return dict(sorted(scores.items(), key=lambda each: (each[1], each[0]), reverse=True))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
