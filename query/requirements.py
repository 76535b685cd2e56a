"""What each query construct asks of the server: first version and plugin, as data.

Versions are those of the release notes of neural-search and k-NN; builders check them before a query is sent, since
older servers answer some of these with wrong results instead of an error.
"""

from __future__ import annotations

from opensearch_splade.types import Requirement

NEURAL_SEARCH = "opensearch-neural-search"
KNN = "opensearch-knn"

NEURAL_SPARSE = Requirement("neural_sparse with query_tokens", (2, 14), NEURAL_SEARCH)
SPARSE_ANN = Requirement("neural_sparse on a sparse_vector field", (3, 3), NEURAL_SEARCH)
KNN_QUERY = Requirement("a kNN query with a filter", (2, 4), KNN)
HYBRID = Requirement("a hybrid query", (2, 10), NEURAL_SEARCH)
HYBRID_FILTER = Requirement("a filter of a hybrid query", (3, 0), NEURAL_SEARCH)
PAGINATION_DEPTH = Requirement("pagination_depth of a hybrid query", (2, 19), NEURAL_SEARCH)
RRF = Requirement("hybrid by RRF", (2, 19), NEURAL_SEARCH)
RRF_WEIGHTS = Requirement("hybrid by RRF with weights", (3, 1), NEURAL_SEARCH)
