"""What each query construct asks of the server: first version and plugin, as data.

Versions are those of the release notes of neural-search and k-NN; builders check them before a query is sent, since
older servers answer some of these with wrong results instead of an error.
"""

from __future__ import annotations

from opensearch_splade.types import Requirement

NEURAL_SEARCH = "opensearch-neural-search"
KNN = "opensearch-knn"
ML = "opensearch-ml"

NEURAL_SPARSE = Requirement("neural_sparse with query_tokens", (2, 14), NEURAL_SEARCH)
NEURAL_SPARSE_MODEL = Requirement("neural_sparse by a model of the server", (2, 11), NEURAL_SEARCH)
NEURAL_SPARSE_ANALYZER = Requirement("neural_sparse by an analyzer", (3, 1), NEURAL_SEARCH)
SERVER_MODELS = Requirement("a model or its analyzer on the server", (2, 11), ML)
SPARSE_ANN = Requirement("neural_sparse on a sparse_vector field", (3, 3), NEURAL_SEARCH)
SPARSE_ANN_NESTED = Requirement("neural_sparse on a sparse_vector field in nested passages", (3, 4), NEURAL_SEARCH)
KNN_QUERY = Requirement("a kNN query with a filter", (2, 4), KNN)
KNN_BYTE = Requirement("a kNN query of byte vectors", (2, 9), KNN)
KNN_BINARY = Requirement("a kNN query of binary vectors", (2, 16), KNN)
KNN_RADIAL = Requirement("a kNN query by min_score or max_distance", (2, 14), KNN)
HYBRID = Requirement("a hybrid query", (2, 10), NEURAL_SEARCH)
HYBRID_FILTER = Requirement("a filter of a hybrid query", (3, 0), NEURAL_SEARCH)
PAGINATION_DEPTH = Requirement("pagination_depth of a hybrid query", (2, 19), NEURAL_SEARCH)
RRF = Requirement("hybrid by RRF", (2, 19), NEURAL_SEARCH)
RRF_WEIGHTS = Requirement("hybrid by RRF with weights", (3, 1), NEURAL_SEARCH)
Z_SCORE = Requirement("hybrid by z-scores", (3, 0), NEURAL_SEARCH)
LOWER_BOUNDS = Requirement("hybrid by min-max with lower bounds", (3, 0), NEURAL_SEARCH)
UPPER_BOUNDS = Requirement("hybrid by min-max with upper bounds", (3, 2), NEURAL_SEARCH)
TWO_PHASE = Requirement("the two-phase processor of neural_sparse", (2, 15), NEURAL_SEARCH)
TWO_PHASE_TOP_K = Requirement("the two-phase processor of neural_sparse with top_k", (2, 19), NEURAL_SEARCH)
LATE_INTERACTION = Requirement("lateInteractionScore", (3, 3), KNN)
