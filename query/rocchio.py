"""Relevance feedback: documents that somebody judged move the question towards the relevant ones (Rocchio, 1971).

In the form of Salton and Buckley (JASIS 1990): vectors of length one, the means of the relevant and of the irrelevant
documents, negative weights dropped. Each round starts from the question itself and has all judgements so far, so
rounds need no memory but the ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.expansion import positive, scaled, strongest, summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.query.expansion import Evidence
    from opensearch_splade.types import Features

_MOST_DOCUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Rocchio:
    """What was judged so far, and what it counts.

    Attributes:
        relevant: Ids of documents.
        irrelevant: The same; none of them is relevant too.
        alpha: Weight of the question, at least 0.
        beta: Weight of the relevant documents' mean, at least 0.
        gamma: Weight of the irrelevant documents' mean, which is subtracted; at least 0.
        terms: Features that the question gains at most, at least 1; its own stay besides, where their weight does.

    Raises:
        QueryError: Nothing or too much was judged, something as both, or a weight is out of range.

    Example:
        >>> first = Rocchio(relevant=["31715818"], irrelevant=["13734012", "4429118"])
        >>> second = first.judged(relevant=["502591"])
        >>> searcher.search("what is known of ...", mode="neural-sparse", feedback=second)  # doctest: +SKIP
    """

    relevant: Sequence[str] = ()
    irrelevant: Sequence[str] = ()
    alpha: float = 1.0
    beta: float = 0.75
    gamma: float = 0.15
    terms: int = 50

    def __post_init__(self) -> None:
        for name in ("relevant", "irrelevant"):
            found: Iterable[str] = getattr(self, name)
            object.__setattr__(self, name, tuple(dict.fromkeys([found] if isinstance(found, str) else found)))
        if not 1 <= len(self.ids) <= _MOST_DOCUMENTS:
            raise QueryError(f"{len(self.ids)} documents are judged: feedback takes 1 to {_MOST_DOCUMENTS:,} of them")
        if both := [one for one in self.relevant if one in set(self.irrelevant)]:
            raise QueryError(f"document {both[0]!r} is judged relevant and irrelevant: leave one of them out")
        for name in ("alpha", "beta", "gamma"):
            if not 0 <= getattr(self, name) < math.inf:
                raise QueryError(f"{name} is {getattr(self, name)}: it must be finite and at least 0")
        if self.terms < 1:
            raise QueryError(f"feedback of {self.terms} terms: it takes at least 1")

    @property
    def ids(self) -> tuple[str, ...]:
        """All that were judged."""
        return (*self.relevant, *self.irrelevant)

    def judged(self, relevant: Iterable[str] = (), irrelevant: Iterable[str] = ()) -> Rocchio:
        """The next round: what was judged before, and more."""
        return replace(self, relevant=(*self.relevant, *relevant), irrelevant=(*self.irrelevant, *irrelevant))

    def __str__(self) -> str:
        return f"of {len(self.relevant)} relevant and {len(self.irrelevant)} irrelevant documents"

    def apply(self, question: Features, evidence: Sequence[Evidence]) -> Features:
        """The question's weights moved towards the relevant documents.

        Args:
            question: The query weights; those that are not positive are left out.
            evidence: The judged documents, those that are there.

        Returns:
            Feature to positive weight, strongest first, at the question's scale: without evidence ``alpha`` times the
            question. A question without features becomes what the documents have.
        """
        question = positive(question)
        length = _length(question) or 1.0
        near = _mean(self.relevant, evidence, self.beta * length)
        far = _mean(self.irrelevant, evidence, -self.gamma * length)
        moved = positive(summed([scaled(question, self.alpha), near, far]))
        gained = strongest(
            {feature: weight for feature, weight in moved.items() if feature not in question}, self.terms
        )
        return strongest(
            {feature: weight for feature, weight in moved.items() if feature in question or feature in gained}
        )


def _mean(ids: Sequence[str], evidence: Sequence[Evidence], weight: float) -> Features:
    """The mean of the documents' directions, times a weight."""
    wanted = set(ids)
    vectors = [found for one in evidence if one.id in wanted and (found := positive(one.features))]
    return summed(scaled(vector, weight / len(vectors) / _length(vector)) for vector in vectors)


def _length(vector: Features) -> float:
    return math.hypot(*vector.values())
