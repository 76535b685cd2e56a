"""Learned sparse retrieval for OpenSearch.

The parts, each a subpackage: ``onnx_models`` (checkpoint to bundle to encoder), ``ingest`` (documents to an index),
``query`` (questions to OpenSearch's query DSL), ``plugin`` (the cluster's side), ``evaluation`` and ``cli``. What is
common to them is here: the values (``types``) and the errors (``errors``).
"""

from opensearch_splade.errors import OspladeError
from opensearch_splade.types import Capabilities, Document, Features, Hit, SparseVectors

__all__ = ["Capabilities", "Document", "Features", "Hit", "OspladeError", "SparseVectors"]
