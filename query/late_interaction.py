"""Late interaction: the best hits scored again by vectors of their tokens (ColBERT, arXiv 2004.12832).

The score of a document is the sum over the question's vectors of the largest cosine with one of the document's. The
server's ``lateInteractionScore`` does it where it has it; ``by_late_interaction`` does it here, over hits whose vectors
came along. Both give the same score. Token vectors come from the caller: the shipped bundles have none.

Of the server's spaces only ``cosinesimil`` orders as MaxSim on every version: it adds ``(1 + cosine) / 2``, which is
affine, while ``l2``, its default, and ``innerproduct`` (below 0) bend each token's part (seen on 3.6.0).
"""

from __future__ import annotations

import math
from operator import mul
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.requirements import LATE_INTERACTION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.types import Capabilities, Json

    TokenVectors = Sequence[Sequence[float]]

_SCORE = (
    "def found = params._source[params.field]; found == null || found.isEmpty() ? 0 : "
    "lateInteractionScore(params.vectors, params.field, params._source, 'cosinesimil')"
)


def late_interaction(vectors: TokenVectors, field: str, *, capabilities: Capabilities) -> Json:
    """The query that scores by late interaction; it reads each document it scores, so it is for ``rescored``.

    Documents without vectors score 0. The scripts of two questions are one, so the server compiles it once.

    Args:
        vectors: The question's, one for each token. Shape: (tokens, dimension).
        field: Top-level field with a list of vectors, mapped as ``{"type": "object", "enabled": false}``.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server is older than 3.3 or lacks the k-NN plugin; ``by_late_interaction`` does without.
        QueryError: A vector has no direction or another length than the first.

    Example:
        >>> body = searcher.body("a fox", mode="bm25")  # doctest: +SKIP
        >>> query = late_interaction(vectors, "tokens", capabilities=capabilities)  # doctest: +SKIP
        >>> rescored(body, query, window=100)  # doctest: +SKIP
    """
    capabilities.require(LATE_INTERACTION)
    _units(vectors, "the question")
    parameters = {"vectors": [list(vector) for vector in vectors], "field": field}
    return {"script_score": {"query": {"match_all": {}}, "script": {"source": _SCORE, "params": parameters}}}


def by_late_interaction(vectors: TokenVectors, documents: Mapping[str, TokenVectors]) -> dict[str, float]:
    """Documents with their scores, best first: what the server would give, for any server.

    Plain Python: a question of 30 and a document of 100 vectors of 128 numbers take some 20 ms.

    Args:
        vectors: The question's. Shape: (tokens, dimension).
        documents: Id to vectors, in the order of the first ranking, which decides ties. Those without any score 0.

    Raises:
        QueryError: A vector has no direction, or another length than the question's.
    """
    question = _units(vectors, "the question")
    scores = {
        key: _score(question, _units(found, f"document {key!r}", len(question[0]))) if found else 0.0
        for key, found in documents.items()
    }
    return dict(sorted(scores.items(), key=lambda each: -each[1]))


def _score(question: list[list[float]], document: list[list[float]]) -> float:
    best = (max(sum(map(mul, one, other)) for other in document) for one in question)
    return math.fsum((1 + cosine) / 2 for cosine in best)


def _units(vectors: TokenVectors, whose: str, dimension: int | None = None) -> list[list[float]]:
    """The vectors at length 1."""
    if not vectors:
        raise QueryError(f"{whose} has no token vectors to compare")
    wanted = dimension or len(vectors[0])
    return [_unit(vector, whose, wanted) for vector in vectors]


def _unit(vector: Sequence[float], whose: str, dimension: int) -> list[float]:
    if len(vector) != dimension:
        raise QueryError(f"a token vector of {whose} has {len(vector)} numbers where {dimension} are needed")
    length = math.hypot(*vector)
    if not (math.isfinite(length) and length > 0):
        raise QueryError(f"a token vector of {whose} has no direction: it is zero or not finite")
    return [value / length for value in vector]
