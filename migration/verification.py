"""Verification: what a comparison of both indices found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from opensearch_splade.migration.differences import KINDS, REPAIRABLE, Difference, Kind
from opensearch_splade.types import Json

EXAMPLES = 5


@dataclass
class Verification:
    """What was found. Counts are documents.

    Attributes:
        old: In the old index.
        new: In the new one.
        sampled: Encoded anew.
        questions: Asked.
        scores: Compared of the hits of these.
        pending: Written so often that they could never be compared in peace: no difference, and no proof.
        counts: Of each kind of difference.
        examples: The first of each.
        repaired: Brought over again; whether that made them well, the next verification says.
    """

    old: int = 0
    new: int = 0
    sampled: int = 0
    questions: int = 0
    scores: int = 0
    pending: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    examples: list[Difference] = field(default_factory=list)
    repaired: int = 0

    def __post_init__(self) -> None:
        self.repairable = set[str]()
        """Ids of those that are well once they are brought over again. Nothing is deleted that we did not write."""

    @property
    def is_clean(self) -> bool:
        """No difference at all."""
        return not any(self.counts.values())

    @property
    def unproved(self) -> float:
        """The largest share of wrong vectors that a sample without any leaves possible, with 95 % confidence."""
        if not self.old or self.sampled >= self.old:
            return 0.0
        return 1 - 0.05 ** (1 / self.sampled) if self.sampled else 1.0

    def add(self, difference: Difference) -> None:
        """Counts it."""
        self.counts[difference.kind] += 1
        if difference.kind in REPAIRABLE:
            self.repairable.add(difference.id)
        if self.counts[difference.kind] <= EXAMPLES:
            self.examples.append(difference)

    def to_json(self) -> Json:
        """For machines."""
        return {"clean": self.is_clean, **asdict(self), "examples": [one._asdict() for one in self.examples]}
