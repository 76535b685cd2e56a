"""One call of every builder of clauses; what it must give, and since which server, is in ``golden_clauses.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.query import (
    best_passage,
    boosted,
    constant_boost,
    feature_boost,
    filtered,
    hybrid,
    in_two_steps,
    knn,
    knn_within,
    late_interaction,
    linear,
    logarithm,
    match,
    match_none,
    multi_match,
    neural_sparse,
    neural_sparse_by_analyzer,
    neural_sparse_by_model,
    rescored,
    saturation,
    search_body,
    seismic,
    sigmoid,
    two_phase,
    user_query,
    weighted_terms,
)
from opensearch_splade.query.pruning import QueryPruning
from opensearch_splade.types import Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable

    from opensearch_splade.types import Json

PLUGINS = frozenset({"opensearch-neural-search", "opensearch-knn", "opensearch-ml", "mapper-extras"})
VERSIONS = [(2, minor) for minor in range(11, 20)] + [(3, minor) for minor in range(9)]
"""The servers of the version table of which each builder is asked, oldest first."""

WEIGHTS = {"planet": 5.0, "hello": 3.5}
IDS = {"hello": 7592, "planet": 4774}
ENGLISH = {"term": {"metadata.lang": "en"}}


def server(version: tuple[int, int], plugins: frozenset[str] = PLUGINS) -> Capabilities:
    """A server of that version with all plugins."""
    return Capabilities((*version, 0), plugins)


def _seismic(on: Capabilities, field: str = "sparse") -> Json:
    return seismic(WEIGHTS, IDS, ceiling=16.0, k=10, field=field, capabilities=on)


EXAMPLES: dict[str, Callable[[Capabilities], Json]] = {
    "match": lambda _: match("hello planet"),
    "multi_match": lambda _: multi_match("hello planet", {"title": 2, "text": 1}),
    "match_none": lambda _: match_none(),
    "weighted_terms": lambda _: weighted_terms(WEIGHTS),
    "weighted_terms, saturation": lambda _: weighted_terms({"hello": 3.5}, how=saturation(1.5)),
    "weighted_terms, log": lambda _: weighted_terms({"hello": 3.5}, how=logarithm(1.0)),
    "weighted_terms, sigmoid": lambda _: weighted_terms({"hello": 3.5}, how=sigmoid(1.5, 0.5)),
    "neural_sparse": lambda on: neural_sparse(WEIGHTS, capabilities=on),
    "neural_sparse_by_model": lambda on: neural_sparse_by_model("hello planet", "MODEL", capabilities=on),
    "neural_sparse_by_analyzer": lambda on: neural_sparse_by_analyzer("hello planet", "bert-uncased", capabilities=on),
    "seismic": _seismic,
    "seismic, filtered": lambda on: filtered(_seismic(on), ENGLISH),
    "knn": lambda on: knn([0.6, 0.8], 100, filter=ENGLISH, capabilities=on),
    "knn, byte": lambda on: knn([1, -2], 100, "bytes", kind="byte", capabilities=on),
    "knn, binary": lambda on: knn([5, -128], 100, "bits", kind="binary", capabilities=on),
    "knn_within, min_score": lambda on: knn_within([0.6, 0.8], min_score=1.5, filter=ENGLISH, capabilities=on),
    "knn_within, max_distance": lambda on: knn_within([0.6, 0.8], max_distance=0.5, capabilities=on),
    "feature_boost": lambda _: boosted(match("hello"), [feature_boost("popularity", saturation(10.0), 2.0)]),
    "constant_boost": lambda _: boosted(match("hello"), [constant_boost({"term": {"metadata.host": "docs"}}, 1.5)]),
    "best_passage": lambda on: best_passage(
        weighted_terms({"hello": 3.5}, "passages.sparse"),
        inner_hits={"size": 1, "_source": ["passages.text"]},
        capabilities=on,
    ),
    "best_passage, seismic": lambda on: best_passage(_seismic(on, "passages.sparse"), capabilities=on),
    "user_query": lambda _: filtered(match("hello"), user_query({"range": {"metadata.year": {"gte": 2020}}})),
}

_DOCS = {"term": {"metadata.host": "docs"}}


def _sparse_body(on: Capabilities) -> Json:
    return search_body(neural_sparse(WEIGHTS, capabilities=on))


def _hybrid_body(on: Capabilities) -> Json:
    query, pipeline = hybrid(
        [match("hello planet"), neural_sparse(WEIGHTS, capabilities=on)], weights=[1, 3], capabilities=on
    )
    return search_body(query, start=10, search_pipeline=pipeline)


BODIES: dict[str, tuple[tuple[int, int], Callable[[Capabilities], Json]]] = {
    "filtered": ((2, 11), lambda _: filtered(match("hello planet"), ENGLISH)),
    "linear": (
        (2, 11),
        lambda on: linear(
            [match("hello planet"), knn([0.6, 0.8], 100, capabilities=on)],
            weights=[1, 30],
            boosts=[constant_boost(_DOCS, 2.0)],
            filter=ENGLISH,
        ),
    ),
    "search_body": ((2, 19), _hybrid_body),
    "rescored": ((2, 14), lambda on: rescored(_sparse_body(on), match("hello planet"), window=100, weights=(1.0, 0.5))),
    "in_two_steps": ((2, 14), lambda on: in_two_steps(_sparse_body(on), QueryPruning(top_k=1))),
    "two_phase": ((2, 19), lambda on: two_phase(_sparse_body(on), QueryPruning(top_k=1), capabilities=on)),
    "late_interaction": ((3, 3), lambda on: late_interaction([[0.6, 0.8], [0.0, 1.0]], "tokens", capabilities=on)),
}
"""What is built of clauses: first server that gets exactly this, and the call. Shown in docs/clauses.md too."""
