"""Pseudo-relevance feedback: the best hits are taken for relevant, and their features expand the question.

RM3 (Abdul-Jaleel et al., TREC 2004) over learned sparse vectors: the hits' stored features take the place of their
terms' probabilities. No model runs: the features lie in the index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.expansion import positive, scaled, strongest, summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.query.expansion import Evidence
    from opensearch_splade.types import Features

_MOST_DOCUMENTS = 1000  # whose vectors one answer can hold without harm


@dataclass(frozen=True, slots=True)
class Feedback:
    """How a question is expanded by its best hits. ``str(feedback)`` is the parse format.

    The defaults were chosen on SciFact's training questions (docs/figures.md). Ten documents, 20 terms and .5, which
    suit words, lose on all collections measured: a learned vector is longer than a language model's head.

    Attributes:
        docs: Hits that are taken for relevant, in [1, 1,000].
        terms: Features of theirs that are kept, at least 1; the question's own may be among them.
        original: Share of the question in the new weights, in [0, 1].

    Raises:
        QueryError: A value is out of range.

    Example:
        >>> from opensearch_splade.query.expansion import Evidence
        >>> hits = [Evidence("1", 2.0, {"fox": 3.0, "red": 1.0})]
        >>> Feedback(docs=1, terms=2, original=0.5).apply({"fox": 2.0}, hits)
        {'fox': 1.75, 'red': 0.25}
    """

    docs: int = 3
    terms: int = 100
    original: float = 0.7

    def __post_init__(self) -> None:
        if not 1 <= self.docs <= _MOST_DOCUMENTS:
            raise QueryError(f"feedback of {self.docs} documents: it takes 1 to {_MOST_DOCUMENTS:,}")
        if self.terms < 1:
            raise QueryError(f"feedback of {self.terms} terms: it takes at least 1")
        if not 0 <= self.original <= 1:
            raise QueryError(f"feedback with an original weight of {self.original:g}: it is a share between 0 and 1")

    @classmethod
    def parse(cls, text: str) -> Feedback:
        """Reads ``rm3``, or ``rm3:3:100:0.7``: documents, terms, and the share of the original question.

        Raises:
            QueryError: It is neither, or a value is out of range.
        """
        name, *numbers = text.split(":")
        refused = f"feedback {text!r}: write rm3, or rm3:DOCUMENTS:TERMS:ORIGINAL such as {cls()}"
        if name != "rm3" or len(numbers) not in {0, 3}:
            raise QueryError(refused)
        try:
            return cls(int(numbers[0]), int(numbers[1]), float(numbers[2])) if numbers else cls()
        except ValueError as error:
            raise QueryError(refused) from error

    def __str__(self) -> str:
        return f"rm3:{self.docs}:{self.terms}:{self.original:.12g}"

    def apply(self, question: Features, evidence: Sequence[Evidence]) -> Features:
        """The question's weights mixed with the documents' features.

        Each document is a distribution over its features, each counts by its share of the scores, the ``terms``
        strongest of their mean are one distribution again, and that is mixed with the question's. The weights have
        the question's sum, so scores keep its scale.

        Args:
            question: The query weights; those that are not positive are left out.
            evidence: The question's best hits, with positive scores.

        Returns:
            Feature to positive weight, strongest first. Without evidence, or with an original weight of 1, the
            question's own.
        """
        question = positive(question)
        model = self._model(evidence)
        if not model:
            return strongest(question)
        mass = math.fsum(question.values()) * (1 - self.original) / math.fsum(model.values())
        return strongest(positive(summed([scaled(question, self.original), scaled(model, mass)])))

    def _model(self, evidence: Sequence[Evidence]) -> Features:
        """The relevance model (RM1): the strongest features of the documents' mean."""
        total = math.fsum(one.score for one in evidence)
        vectors = [(one.score / total, positive(one.features)) for one in evidence] if total > 0 else []
        return strongest(
            summed(scaled(vector, share / math.fsum(vector.values())) for share, vector in vectors if vector),
            self.terms,
        )
