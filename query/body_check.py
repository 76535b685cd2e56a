"""Search bodies of anyone's making, checked for what a server would refuse or, worse, answer otherwise than meant.

What this package builds keeps these rules by itself. They are for bodies written by hand: templates of an evaluation,
or searches of opensearch-py's DSL, whose own ``Bool`` takes a hybrid without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import QueryError
from opensearch_splade.query.fusion import MAX_LEGS
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT
from opensearch_splade.query.requirements import (
    HYBRID,
    HYBRID_FILTER,
    KNN_QUERY,
    LOWER_BOUNDS,
    NEURAL_SPARSE,
    PAGINATION_DEPTH,
    RRF,
    SPARSE_ANN,
    UPPER_BOUNDS,
    Z_SCORE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opensearch_splade.types import Capabilities, Json, Requirement


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a body may not be.

    Attributes:
        name: Of the rule.
        is_broken: Whether a body is so.
        reason: What the server (3.6.0) would make of it, and what to write instead.
    """

    name: str
    is_broken: Callable[[Json], bool]
    reason: str


def check_body(body: object, capabilities: Capabilities | None = None) -> Json:
    """Refuse a search body that no server takes as it is meant.

    Args:
        body: A dictionary for ``_search``, or a ``Search`` of opensearch-py's DSL. Places of a template, which are no
            queries or numbers yet, are not judged.
        capabilities: What the server can do; None leaves out the questions of version and plugins.

    Returns:
        The body, as a dictionary.

    Raises:
        QueryError: It breaks one of ``RULES``; says what would come of it and what to write instead.
        CapabilityError: The server is too old or lacks a plugin.
    """
    plain: Any = body.to_dict() if hasattr(body, "to_dict") else body
    if not isinstance(plain, dict):
        raise QueryError(f"a search body is a JSON object, not {type(plain).__name__}")
    for rule in RULES:
        if rule.is_broken(plain):
            raise QueryError(f"{rule.name}: {rule.reason}")
    if capabilities:
        for requirement in _required(plain):
            capabilities.require(requirement)
    return plain


def _hybrid(body: Json) -> Json | None:
    """The hybrid at the top of a search."""
    query = body.get("query")
    found = query.get("hybrid") if isinstance(query, dict) else None
    return found if isinstance(found, dict) and "queries" in found else None


def _objects(node: object) -> Iterator[Json]:
    """Each JSON object, however deep, the outermost first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _clauses(body: Json, kind: str) -> Iterator[Json]:
    """The parameters of each clause of a kind, by field."""
    for found in _objects(body):
        clause = found.get(kind)
        if isinstance(clause, dict):
            yield clause


def _is_nested(body: Json) -> bool:
    hybrids = [clause for clause in _clauses(body, "hybrid") if "queries" in clause]
    return len(hybrids) > (_hybrid(body) is not None)


def _beside_hybrid(*keys: str) -> Callable[[Json], bool]:
    return lambda body: _hybrid(body) is not None and any(body.get(key) for key in keys)


def _has_wrong_number(body: Json) -> bool:
    hybrid = _hybrid(body) or {"queries": [None]}
    queries = hybrid["queries"]
    return isinstance(queries, list) and not 1 <= len(queries) <= MAX_LEGS


def _has_no_pipeline(body: Json) -> bool:
    pipeline = body.get("search_pipeline")
    if _hybrid(body) is None or isinstance(pipeline, str):  # a stored one is not known here
        return False
    return not list(_fusers(body))


def _fusers(body: Json) -> Iterator[tuple[str, Json]]:
    """Kind and parameters of what fuses, of a pipeline within the body."""
    pipeline = body.get("search_pipeline")
    phases = pipeline.get("phase_results_processors") if isinstance(pipeline, dict) else None
    for each in phases if isinstance(phases, list) else []:
        for kind, parameters in each.items():
            if kind in {"normalization-processor", "score-ranker-processor"}:
                yield kind, parameters


def _has_wrong_weights(body: Json) -> bool:
    hybrid = _hybrid(body)
    if hybrid is None:
        return False
    for _, fuser in _fusers(body):
        combination = fuser.get("combination", {})
        weights = (combination.get("parameters") or fuser.get("parameters") or {}).get("weights")
        if weights is None or not all(isinstance(one, int | float) for one in weights):
            continue
        is_decimal = all(isinstance(one, float) for one in weights)
        if not is_decimal or len(weights) != len(hybrid["queries"]) or abs(sum(weights) - 1) > 0.01:
            return True
    return False


def _sorts_by_score_and_more(body: Json) -> bool:
    sort = body.get("sort")
    keys = [next(iter(one)) if isinstance(one, dict) else one for one in sort] if isinstance(sort, list) else []
    return _hybrid(body) is not None and "_score" in keys and len(keys) > 1


def _pages_without_depth(body: Json) -> bool:
    hybrid = _hybrid(body)
    return hybrid is not None and bool(body.get("from")) and "pagination_depth" not in hybrid


def _has_weight_out_of_bounds(body: Json) -> bool:
    for clause in _clauses(body, "neural_sparse"):
        for asked in clause.values():
            tokens = asked.get("query_tokens") if isinstance(asked, dict) else None
            weights = tokens.values() if isinstance(tokens, dict) else ()
            if not all(0 < one <= MAX_NEURAL_SPARSE_WEIGHT for one in weights if isinstance(one, int | float)):
                return True
    return False


def _filters_around_knn(body: Json) -> bool:
    for clause in _clauses(body, "bool"):
        if not clause.get("filter"):
            continue
        for occurrence in ("must", "should"):
            inner = clause.get(occurrence, [])
            for one in inner if isinstance(inner, list) else [inner]:
                knn = one.get("knn") if isinstance(one, dict) else None
                asked = next(iter(knn.values()), None) if isinstance(knn, dict) else None
                if isinstance(asked, dict) and "k" in asked and "filter" not in asked:
                    return True
    return False


RULES: tuple[Rule, ...] = (
    Rule(
        "a hybrid within another query",
        _is_nested,
        "the server refuses it there, or, where the index has nested fields, takes the sum of its queries' scores "
        "without a word; a hybrid stands at the top of a search: give its queries as legs, add them up with `linear`, "
        "or filter by bool.should",
    ),
    Rule("a hybrid of no queries, or of more than five", _has_wrong_number, "the server refuses it; see `fuse`"),
    Rule(
        "a hybrid without a search pipeline that fuses",
        _has_no_pipeline,
        "the server answers with markers as scores (-9549512000) and hits that stand twice; `hybrid` makes both. "
        'Name the pipeline in the body ("search_pipeline") even where the index has a default one',
    ),
    Rule(
        "weights of a hybrid",
        _has_wrong_weights,
        "the server takes one decimal number for each query (0.5, not 1) with the sum 1, and refuses others; "
        "`Fusion.pipeline` scales them",
    ),
    Rule(
        "a hybrid that collapses",
        _beside_hybrid("collapse"),
        "the server loses the best hits of groups; ask for more hits and keep the first of each group",
    ),
    Rule(
        "a hybrid that is rescored",
        _beside_hybrid("rescore"),
        "the server rescores its queries before it fuses them; rescore one ranking (`rescored`)",
    ),
    Rule(
        "a hybrid with post_filter",
        _beside_hybrid("post_filter"),
        "the server filters before it fuses, so scores change with the filter; write hybrid.filter, or a filter into "
        "each query",
    ),
    Rule(
        "a hybrid sorted by _score and more",
        _sorts_by_score_and_more,
        "the server refuses it; sort by _score alone, or by fields alone",
    ),
    Rule(
        "a page of a hybrid without pagination_depth",
        _pages_without_depth,
        "the server refuses it; give hybrid.pagination_depth, the same for all pages",
    ),
    Rule(
        "a weight of neural_sparse out of (0, 64]",
        _has_weight_out_of_bounds,
        "the server refuses it; `limits.fit` scales all weights alike",
    ),
    Rule(
        "a filter around a kNN query",
        _filters_around_knn,
        "the k nearest of all documents are thinned out by it; give the kNN clause a filter of its own (`filtered`)",
    ),
)
"""In the order in which they are checked. Each is shown on the real node by tests/test_body_check.py."""


def _required(body: Json) -> Iterator[Requirement]:
    if hybrid := _hybrid(body):
        yield HYBRID
        if "filter" in hybrid:
            yield HYBRID_FILTER
        if "pagination_depth" in hybrid:
            yield PAGINATION_DEPTH
    for kind, fuser in _fusers(body):
        normalisation = fuser.get("normalization", {})
        bounds = normalisation.get("parameters", {})
        needed = [
            (kind == "score-ranker-processor", RRF),
            (normalisation.get("technique") == "z_score", Z_SCORE),
            ("lower_bounds" in bounds, LOWER_BOUNDS),
            ("upper_bounds" in bounds, UPPER_BOUNDS),
        ]
        yield from (requirement for is_needed, requirement in needed if is_needed)
    if any(_clauses(body, "knn")):
        yield KNN_QUERY
    for clause in _clauses(body, "neural_sparse"):
        for asked in filter(lambda each: isinstance(each, dict), clause.values()):
            if "method_parameters" in asked:
                yield SPARSE_ANN
            elif "query_tokens" in asked:
                yield NEURAL_SPARSE
