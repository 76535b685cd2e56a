"""One question turned into the legs of a mode; what had to be changed on the way gathers in ``notices``."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.clauses import best_passage, knn, match, neural_sparse, seismic, weighted_terms
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, count_tokens, fit, fit_text
from opensearch_splade.query.text_clauses import multi_match

if TYPE_CHECKING:
    from opensearch_splade.query.document_scores import DocumentScore
    from opensearch_splade.query.expansion import Expansion
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.target import Target
    from opensearch_splade.types import Features, Json


class Question:
    """A question on its way into query clauses.

    The server counts the clauses of the whole search, so the legs share one room: each takes at most an even share of
    what is left, and what it does not need the next ones get.

    Args:
        text: The question.
        target: The index and the encoders.
        room: Clauses that all legs together may have.
        counted_legs: How many legs share it: bm25 and the sparse ones.
        expansion: What feedback made of it.
        score: How documents are scored by their passages; ``None`` by the best one.

    Attributes:
        notices: What was changed, one sentence each.
        weights: The query weights as sent last; empty while no sparse leg was built.
        expansion: What feedback made of it.

    Raises:
        QueryError: The question is empty.
    """

    def __init__(
        self,
        text: str,
        target: Target,
        *,
        room: int,
        counted_legs: int,
        expansion: Expansion | None = None,
        score: DocumentScore | None = None,
    ) -> None:
        if not text.strip():
            raise QueryError("the question is empty")
        self.text = text
        self.notices: list[str] = list(expansion.notices) if expansion else []
        self.weights: Features = {}
        self.expansion = expansion
        self._target = target
        self._room = room
        self._counted_legs = counted_legs
        self._score = score

    @cached_property
    def features(self) -> Features:
        """The query weights as feedback or the encoder gives them; empty without an encoder."""
        if self.expansion:
            return self.expansion.features
        return self._target.sparse.encode_query(self.text) if self._target.sparse else {}

    def leg(self, leg: Leg, k: int) -> Json:
        """The query of one leg.

        Args:
            leg: Which ranking.
            k: Neighbours, for kNN and SEISMIC.

        Raises:
            TargetError: The index or the encoder for it is missing.
            CapabilityError: The server cannot answer it.
            QueryError: The filter leaves no room, or the encoder gave weights or a vector that no server takes.
        """
        self._target.require(leg)
        if leg == "bm25":
            return self._lexical()
        if leg == "weighted-terms":
            return self._over_passages(weighted_terms(self._fitted(math.inf), self._target.sparse_field))
        if leg == "neural-sparse":
            return self._over_passages(self._neural_sparse(k))
        vector = self._target.dense.embed_query(self.text) if self._target.dense else []
        return knn(vector, k, field=self._target.dense_field, capabilities=self._target.capabilities)

    def _over_passages(self, clause: Json) -> Json:
        if self._target.store != "nested":
            return clause
        if self._score:
            return self._score.clause(clause)
        return best_passage(clause, capabilities=self._target.capabilities)

    def _neural_sparse(self, k: int) -> Json:
        target = self._target
        if not target.seismic:
            fitted = self._fitted(MAX_NEURAL_SPARSE_WEIGHT)
            return neural_sparse(fitted, target.sparse_field, capabilities=target.capabilities)
        return seismic(
            self._fitted(math.inf),
            target.token_ids,
            ceiling=target.seismic.ceiling_search,
            k=k,
            how=target.how,
            field=target.sparse_field,
            capabilities=target.capabilities,
        )

    def _lexical(self) -> Json:
        fields = self._target.text_fields
        text = self._fitted_text(len(fields))
        if len(fields) == 1:
            return match(text, fields[0])
        # What a word gives in each field is added up, and so can be explained.
        return multi_match(text, dict.fromkeys(fields, 1.0), how="most_fields")

    def _fitted_text(self, fields: int) -> str:
        """The question as far as the server takes it: a word has a clause in each field."""
        text, left_out = fit_text(self.text, max_clauses=max(1, self._share() // fields))
        self._room -= count_tokens(text) * fields
        if left_out:
            self.notices.append(
                f"bm25: the last {left_out} words of the question are left out: the server takes no more clauses "
                "(indices.query.bool.max_clause_count)"
            )
        return text

    def _fitted(self, max_weight: float) -> Features:
        copies = self._score.copies if self._score else 1
        fitted = fit(self.features, max_clauses=self._share() // copies, max_weight=max_weight)
        self._room -= len(fitted.features) * copies
        self.notices += fitted.notices
        if not fitted.features:
            self.notices.append("the question has no feature that the encoder knows: the sparse ranking has no hits")
        self.weights = fitted.features
        return fitted.features

    def _share(self) -> int:
        share = self._room // self._counted_legs
        if share < 1:
            raise QueryError(
                "the filter leaves no room for the question: together they may have "
                f"{self._target.capabilities.max_clause_count} clauses (indices.query.bool.max_clause_count)"
            )
        self._counted_legs -= 1
        return share
