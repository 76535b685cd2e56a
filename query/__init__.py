"""From weights to OpenSearch's query DSL, and the searcher. Loads no model library and no client."""

from opensearch_splade.query.added_features import WithFeatures
from opensearch_splade.query.answer import SearchResult
from opensearch_splade.query.body import Returned, search_body
from opensearch_splade.query.clauses import filtered, knn, match, match_none, neural_sparse, seismic, weighted_terms
from opensearch_splade.query.conversation import SearchClient
from opensearch_splade.query.explanation import contributions, lexical_contributions, shares
from opensearch_splade.query.fusion import FusionMethod, hybrid
from opensearch_splade.query.highlights import Highlight, highlights
from opensearch_splade.query.leg_scores import similarity
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, Fit, fit
from opensearch_splade.query.mode import Leg, Mode
from opensearch_splade.query.plan import Options, Wanted
from opensearch_splade.query.pruning import PrunedQueries, QueryPruning
from opensearch_splade.query.rescoring import rescored
from opensearch_splade.query.searcher import AsyncSearcher, Searcher
from opensearch_splade.query.seismic_search import SeismicSearch

__all__ = [
    "MAX_NEURAL_SPARSE_WEIGHT",
    "AsyncSearcher",
    "Fit",
    "FusionMethod",
    "Highlight",
    "Leg",
    "Mode",
    "Options",
    "PrunedQueries",
    "QueryPruning",
    "Returned",
    "SearchClient",
    "SearchResult",
    "Searcher",
    "SeismicSearch",
    "Wanted",
    "WithFeatures",
    "contributions",
    "filtered",
    "fit",
    "highlights",
    "hybrid",
    "knn",
    "lexical_contributions",
    "match",
    "match_none",
    "neural_sparse",
    "rescored",
    "search_body",
    "seismic",
    "shares",
    "similarity",
    "weighted_terms",
]
