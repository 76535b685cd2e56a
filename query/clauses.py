"""The query clauses, as OpenSearch's query DSL takes them. Pure functions from weights to plain dictionaries.

The user's text and the feature names stand in values or in keys of a token map, never in a place with syntax.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, as_float32
from opensearch_splade.query.nearest import checked_vector
from opensearch_splade.query.rank_functions import LINEAR
from opensearch_splade.query.requirements import KNN_QUERY, NEURAL_SPARSE, SPARSE_ANN, SPARSE_ANN_NESTED
from opensearch_splade.query.seismic_search import DEFAULT_SEARCH, FILTERED_K
from opensearch_splade.query.text_clauses import checked_text
from opensearch_splade.types import DOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.query.nearest import VectorKind
    from opensearch_splade.query.seismic_search import SeismicSearch
    from opensearch_splade.types import Capabilities, Features, Json

_LEAST_SCORE = 1e-30  # below any product of weights that a vector can have in practice, above 0


def match(text: str, field: str = "text") -> Json:
    """BM25 over an analyzed text field; ``text`` holds title and body (``copy_to``).

    Raises:
        QueryError: The question is not a string.
    """
    return {"match": {field: {"query": checked_text(text)}}}


def weighted_terms(
    features: Features, field: str = "sparse", *, how: Json = LINEAR, max_clauses: float = math.inf
) -> Json:
    """The dot product with a ``rank_features`` field, without any plugin.

    A ``bool.should`` of ``rank_feature`` clauses: with ``linear`` a clause scores ``boost * stored weight``
    (RankFeatureQueryBuilder of mapper-extras), and ``should`` sums them.

    Args:
        features: Feature to weight, positive. No features match nothing.
        field: The ``rank_features`` field.
        how: What becomes of a stored weight before it is multiplied; one of ``rank_functions``.
        max_clauses: The most features that the server takes (``Capabilities.max_clause_count``).

    Raises:
        QueryError: A weight is not positive and finite, there are too many features, or one has a dot: the server
            takes what follows the last dot for the feature's name and would silently match nothing.
    """
    _check_weights(features, math.inf)
    _check_count(features, max_clauses)
    dotted = sorted(feature for feature in features if "." in feature)
    if dotted:
        raise QueryError(
            f"feature {dotted[0]!r} has a dot, which a rank_feature clause misreads; bundles write it as {DOT!r}, "
            "so these come from elsewhere: limits.fit with dots='alias' mends them, or neural_sparse takes them"
        )
    if not features:
        return match_none()
    clauses = [
        {"rank_feature": {"field": f"{field}.{feature}", "boost": weight, **how}}
        for feature, weight in features.items()
    ]
    return {"bool": {"should": clauses}}


def neural_sparse(features: Features, field: str = "sparse", *, capabilities: Capabilities) -> Json:
    """The dot product with a ``rank_features`` field, by the neural-search plugin and raw tokens.

    Args:
        features: Feature to weight, in (0, 64] (``limits.fit`` scales). No features match nothing.
        field: The ``rank_features`` field.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server is older than 2.14 or lacks the plugin.
        QueryError: A weight is out of bounds, or there are more features than the server takes clauses.
    """
    capabilities.require(NEURAL_SPARSE)
    _check_weights(features, MAX_NEURAL_SPARSE_WEIGHT)
    _check_count(features, capabilities.max_clause_count)
    if not features:
        return match_none()
    return {"neural_sparse": {field: {"query_tokens": dict(features)}}}


def seismic(
    features: Features,
    token_ids: Mapping[str, int],
    *,
    ceiling: float,
    k: int,
    how: SeismicSearch = DEFAULT_SEARCH,
    field: str = "sparse",
    capabilities: Capabilities,
) -> Json:
    """The ``k`` best documents of each segment of a ``sparse_vector`` field, whose keys are token ids.

    Where a weight is above the ceiling all are scaled down, and the clause's boost brings the scores back: large
    segments would cut that weight alone, and with it the ranking (with 12 under a ceiling of 3.5 recall@10 fell from
    .98 to .81).

    Args:
        features: Feature to weight, positive. No features match nothing.
        token_ids: Feature to token id.
        ceiling: The field's largest query weight (``SeismicMeta.ceiling_search``).
        k: Candidates of a segment: no more than these are hits, so at least as many as a page ends at.
        how: How thoroughly they are searched for.
        field: The ``sparse_vector`` field.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server is older than 3.3 or lacks the plugin.
        QueryError: A weight is not positive and finite, or a feature has no token id.
    """
    capabilities.require(SPARSE_ANN)
    _check_weights(features, math.inf)
    _check_count(features, capabilities.max_clause_count)  # small segments are asked as by neural_sparse
    if unknown := sorted(features.keys() - token_ids.keys()):
        raise QueryError(
            f"feature {unknown[0]!r} has no token id, which is what a sparse_vector field goes by: "
            "ask with the weights of the bundle that made the index"
        )
    if not features:
        return match_none()
    scale = min(1.0, min(ceiling, MAX_NEURAL_SPARSE_WEIGHT) / max(features.values()))
    scaled = {name: as_float32(weight * scale, name) for name, weight in features.items()}
    clause: Json = {
        "query_tokens": {str(token_ids[name]): weight for name, weight in scaled.items() if weight > 0},
        "method_parameters": {"k": k, "top_n": how.top_n, "heap_factor": how.heap_factor},
    }
    if scale < 1:
        clause["boost"] = 1 / scale
    return {"neural_sparse": {field: clause}}


def knn(
    vector: Sequence[float],
    k: int,
    field: str = "dense",
    *,
    filter: Json | None = None,
    kind: VectorKind = "float",
    capabilities: Capabilities,
) -> Json:
    """The ``k`` nearest vectors of each segment; the filter is applied while the graph is walked.

    Args:
        vector: As long as the field's dimension; of a binary field one byte for eight bits.
        k: Neighbours, in [1, 10,000]; with the Lucene engine also the width of the search, so more is more exact.
        field: The ``knn_vector`` field.
        filter: One query object that hits must match.
        kind: The field's ``data_type``.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server lacks the k-NN plugin or is too old for the kind.
        QueryError: ``k`` or a component is out of bounds.
    """
    capabilities.require(KNN_QUERY)
    if not 1 <= k <= 10_000:
        raise QueryError(f"k is {k}: a kNN query takes 1 to 10,000 neighbours")
    clause: Json = {"vector": checked_vector(vector, kind, capabilities), "k": k}
    if filter is not None:
        clause["filter"] = filter
    return {"knn": {field: clause}}


def best_passage(
    query: Json, path: str = "passages", *, inner_hits: Json | None = None, capabilities: Capabilities
) -> Json:
    """Documents by the passage that a query likes best; the query asks a field within ``path``.

    Args:
        query: The clause that scores passages.
        path: The ``nested`` field.
        inner_hits: Which passages come with a hit, e.g. ``{"size": 1, "_source": ["passages.text"]}``; None for none.
        capabilities: What the server can do.

    Raises:
        CapabilityError: It is a SEISMIC clause, which servers before 3.4 do not take in nested fields.
    """
    if is_seismic(query):
        capabilities.require(SPARSE_ANN_NESTED)
    clause: Json = {"path": path, "score_mode": "max", "query": query}
    if inner_hits is not None:
        clause["inner_hits"] = inner_hits
    return {"nested": clause}


def filtered(query: Json, filter: Json) -> Json:
    """The query's hits and scores, among the documents that match the filter."""
    if "knn" in query:  # beside a kNN clause a filter would only thin out its k hits
        [(field, clause)] = query["knn"].items()
        both = {"bool": {"filter": [clause["filter"], filter]}} if "filter" in clause else filter
        return {"knn": {field: {**clause, "filter": both}}}
    if is_seismic(query):
        return _filtered_seismic(query, filter)
    return {"bool": {"must": [query], "filter": [filter]}}


def is_seismic(query: Json) -> bool:
    """Whether a clause is one of ``seismic``."""
    return any("method_parameters" in clause for clause in query.get("neural_sparse", {}).values())


def _filtered_seismic(query: Json, filter: Json) -> Json:
    """SEISMIC's own filter, and what it lacks (all seen on 3.6.0).

    A segment of which the filter matches nothing is searched as if there were no filter, so the filter stands around
    it once more. And where it scores all matching documents, those without any common feature are hits of score 0.
    """
    [(field, clause)] = query["neural_sparse"].items()
    parameters = {**clause["method_parameters"], "filter": filter if _is_plain(filter) else _rewritten(filter)}
    parameters["k"] = max(parameters["k"], FILTERED_K)
    inner = {"neural_sparse": {field: {**clause, "method_parameters": parameters}}}
    scored = {"function_score": {"query": inner, "min_score": _LEAST_SCORE}}
    return {"bool": {"must": [scored], "filter": [filter]}}


def _is_plain(filter: Json) -> bool:
    """Whether it is a term, or several of which all must match: what SEISMIC takes as it is."""
    if filter.keys() == {"term"}:
        return not any(isinstance(value, dict) and "case_insensitive" in value for value in filter["term"].values())
    if filter.keys() == {"bool"} and filter["bool"].keys() == {"filter"}:
        inner = filter["bool"]["filter"]
        return all(map(_is_plain, inner if isinstance(inner, list) else [inner]))
    return False


def _rewritten(filter: Json) -> Json:
    """The same documents, from a query that rewrites its filter: SEISMIC itself does not.

    So ``terms``, ``ids``, ``prefix`` and others would be refused (HTTP 500, "does not implement createWeight"). A match
    scores 2 and passes, all others score 1. It looks at every document, so plain filters go without.
    """
    functions = [{"filter": filter, "weight": 2}]
    return {
        "function_score": {
            "query": {"match_all": {}},
            "functions": functions,
            "boost_mode": "replace",
            "min_score": 1.5,
        }
    }


def match_none() -> Json:
    """Matches nothing: what a question without any known feature asks for."""
    return {"match_none": {}}


def _check_weights(features: Features, bound: float) -> None:
    for feature, weight in features.items():
        # as the server reads it: 1e-50 becomes 0, which weighted terms would match with a score of 0
        if not (math.isfinite(weight) and 0 < as_float32(weight, feature) <= bound):
            limit = "be positive and finite as a 32-bit float" if math.isinf(bound) else f"lie in (0, {bound:g}]"
            raise QueryError(
                f"the query weight of feature {feature!r} is {weight}: it must {limit}; limits.fit mends and reports it"
            )


def _check_count(features: Features, bound: float) -> None:
    if len(features) > bound:
        raise QueryError(
            f"{len(features)} query features are more than the {bound} clauses that the server takes "
            "(indices.query.bool.max_clause_count); limits.fit keeps the strongest and reports the rest"
        )
