"""nDCG@10 of a siamese bundle by exact dot product, without a node."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.types import Document, SparseVectors


def ndcg(folder: Path, bundle: Path) -> float:
    """Mean over the judged questions of a BEIR folder's test split."""
    from scipy.sparse import csr_matrix

    encoder = SparseEncoder.load(bundle)
    collection = load_collection(str(folder))
    documents = [record for record in read_source(collection.source) if isinstance(record, Document)]

    def matrix(vectors: SparseVectors) -> csr_matrix:
        shape = (len(vectors), len(encoder.vocabulary))
        return csr_matrix((vectors.weights, vectors.token_ids, vectors.indptr), shape=shape)

    corpus = matrix(encoder.encode_documents(document.passage for document in documents))
    questions = matrix(encoder.encode_documents(collection.queries.values()))
    scores = (questions @ corpus.T).toarray()
    run = {}
    for query, row in zip(collection.queries, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:100]
        run[query] = {documents[place].id: float(row[place]) for place in best}
    return measure(run, collection.qrels)["nDCG@10"]
