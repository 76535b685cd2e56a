"""From weights to OpenSearch's query DSL, and the searcher. Loads no model library and no client."""

from opensearch_splade.query.added_features import WithFeatures
from opensearch_splade.query.body import Returned, search_body
from opensearch_splade.query.clauses import filtered, knn, match, match_none, neural_sparse, seismic, weighted_terms
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.client_search import search_fused
from opensearch_splade.query.explanation import contributions, lexical_contributions, shares
from opensearch_splade.query.fusion import hybrid, linear
from opensearch_splade.query.fusion_spec import Bound, Fusion, FusionMethod
from opensearch_splade.query.late_interaction import by_late_interaction, late_interaction
from opensearch_splade.query.learned_rescoring import LearnedRescorer
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, Fit, fit
from opensearch_splade.query.mode import Leg, Mode
from opensearch_splade.query.pruning import PrunedQueries, QueryPruning
from opensearch_splade.query.rescoring import rescored
from opensearch_splade.query.searcher import SearchClient, Searcher, SearchResult
from opensearch_splade.query.seismic_search import SeismicSearch
from opensearch_splade.query.two_phase import two_phase
from opensearch_splade.query.two_step import in_two_steps

__all__ = [
    "MAX_NEURAL_SPARSE_WEIGHT",
    "Bound",
    "Fit",
    "Fusion",
    "FusionMethod",
    "LearnedRescorer",
    "Leg",
    "Mode",
    "PrunedQueries",
    "QueryPruning",
    "Returned",
    "SearchClient",
    "SearchResult",
    "Searcher",
    "SeismicSearch",
    "WithFeatures",
    "by_late_interaction",
    "contributions",
    "filtered",
    "fit",
    "fuse",
    "hybrid",
    "in_two_steps",
    "knn",
    "late_interaction",
    "lexical_contributions",
    "linear",
    "match",
    "match_none",
    "neural_sparse",
    "rescored",
    "search_body",
    "search_fused",
    "seismic",
    "shares",
    "two_phase",
    "weighted_terms",
]
