"""From weights to OpenSearch's query DSL, and the searcher. Loads no model library and no client."""

from opensearch_splade.query.added_features import WithFeatures
from opensearch_splade.query.answer import SearchResult
from opensearch_splade.query.body import Returned, search_body
from opensearch_splade.query.body_check import check_body
from opensearch_splade.query.boost_text import parse_boost
from opensearch_splade.query.boosts import boosted, constant_boost, feature_boost, user_query
from opensearch_splade.query.clauses import (
    best_passage,
    filtered,
    knn,
    match,
    match_none,
    neural_sparse,
    seismic,
    weighted_terms,
)
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.client_search import search_fused
from opensearch_splade.query.contexts import Contexts, search_with_contexts
from opensearch_splade.query.conversation import SearchClient
from opensearch_splade.query.document_scores import DocumentScore
from opensearch_splade.query.exhaustion import ExhaustOptions, ToTheEnd
from opensearch_splade.query.expansion import Evidence, Expansion
from opensearch_splade.query.explanation import contributions, lexical_contributions, shares
from opensearch_splade.query.feedback import Feedback
from opensearch_splade.query.fusion import hybrid, linear
from opensearch_splade.query.fusion_spec import Bound, Fusion, FusionMethod
from opensearch_splade.query.highlights import Highlight, highlights
from opensearch_splade.query.late_interaction import by_late_interaction, late_interaction
from opensearch_splade.query.learned_rescoring import LearnedRescorer
from opensearch_splade.query.learned_search import search_learned
from opensearch_splade.query.leg_scores import similarity
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, Fit, fit
from opensearch_splade.query.mode import Leg, Mode
from opensearch_splade.query.nearest import VectorKind, knn_within
from opensearch_splade.query.plan import Options, Wanted
from opensearch_splade.query.pruning import PrunedQueries, QueryPruning
from opensearch_splade.query.rank_functions import LINEAR, logarithm, saturation, sigmoid
from opensearch_splade.query.rescoring import rescored
from opensearch_splade.query.rocchio import Rocchio
from opensearch_splade.query.searcher import AsyncSearcher, Searcher
from opensearch_splade.query.seismic_search import SeismicSearch
from opensearch_splade.query.sparse_late_interaction import (
    by_sparse_late_interaction,
    sparse_late_interaction,
    upper_bound_query,
)
from opensearch_splade.query.stopping import Estimate, Review, score_knee
from opensearch_splade.query.text_clauses import multi_match, neural_sparse_by_analyzer, neural_sparse_by_model
from opensearch_splade.query.two_phase import two_phase
from opensearch_splade.query.two_step import in_two_steps

__all__ = [
    "LINEAR",
    "MAX_NEURAL_SPARSE_WEIGHT",
    "AsyncSearcher",
    "Bound",
    "Contexts",
    "DocumentScore",
    "Estimate",
    "Evidence",
    "ExhaustOptions",
    "Expansion",
    "Feedback",
    "Fit",
    "Fusion",
    "FusionMethod",
    "Highlight",
    "LearnedRescorer",
    "Leg",
    "Mode",
    "Options",
    "PrunedQueries",
    "QueryPruning",
    "Returned",
    "Review",
    "Rocchio",
    "SearchClient",
    "SearchResult",
    "Searcher",
    "SeismicSearch",
    "ToTheEnd",
    "VectorKind",
    "Wanted",
    "WithFeatures",
    "best_passage",
    "boosted",
    "by_late_interaction",
    "by_sparse_late_interaction",
    "check_body",
    "constant_boost",
    "contributions",
    "feature_boost",
    "filtered",
    "fit",
    "fuse",
    "highlights",
    "hybrid",
    "in_two_steps",
    "knn",
    "knn_within",
    "late_interaction",
    "lexical_contributions",
    "linear",
    "logarithm",
    "match",
    "match_none",
    "multi_match",
    "neural_sparse",
    "neural_sparse_by_analyzer",
    "neural_sparse_by_model",
    "parse_boost",
    "rescored",
    "saturation",
    "score_knee",
    "search_body",
    "search_fused",
    "search_learned",
    "search_with_contexts",
    "seismic",
    "shares",
    "sigmoid",
    "similarity",
    "sparse_late_interaction",
    "two_phase",
    "upper_bound_query",
    "user_query",
    "weighted_terms",
]
