"""Sparse output: a batch's strongest features instead of one number for every token of the vocabulary.

So kilobytes leave the device instead of megabytes, in shapes that do not depend on the content (``NonZero`` would make
a GPU wait for the host). Nothing is lost silently: ``count`` says how many features there are, and where it exceeds
``top_k`` the caller asks again with more.
"""

from __future__ import annotations

import numpy as np

from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import ALL_FP32

TOKEN_IDS, TOKEN_WEIGHTS, COUNT = "token_ids", "token_weights", "count"
OUTPUTS = (TOKEN_IDS, TOKEN_WEIGHTS, COUNT)
TOP_K, MAX_RATIO = "top_k", "max_ratio"
DEFAULT_TOP_K = 512
"""Columns of the output. SPLADE++ documents hold 119 features on average, Efficient-SPLADE's 181 (arXiv 2404.18812);
few documents hold more than four times that."""


def add_sparse_output(write: NodeWriter, weights: str, candidates: str | None = None) -> None:
    """Adds the outputs ``token_ids``, ``token_weights (batch, k)`` and ``count (batch)``.

    Two optional inputs steer it: ``top_k`` (int64, shape ``(1,)``) and ``max_ratio`` (float32, shape ``(1,)``), which
    drops features below that share of their document's strongest.

    Args:
        write: The graph.
        weights: float32 ``(batch, columns)``, never negative.
        candidates: int64 ``(columns,)``, the token ids of the columns; ``None`` where they are the vocabulary.
    """
    write = NodeWriter(write.graph, f"{ALL_FP32}/sparse")
    top_k = write.optional_input(TOP_K, np.array([DEFAULT_TOP_K]))
    ratio = write.optional_input(MAX_RATIO, np.zeros(1, np.float32))
    columns = write.node("Shape", weights, start=1, end=2)
    values, places = write.outputs(2, "TopK", weights, write.node("Min", top_k, columns))
    threshold = write.node("Mul", write.node("ReduceMax", weights, axes=[1], keepdims=1), ratio)
    positive = write.node("Greater", weights, write.constant(np.float32(0)))
    kept = write.node("And", positive, write.node("GreaterOrEqual", weights, threshold))
    count = write.node("ReduceSum", write.node("Cast", kept, to=6), write.constant(np.array([1])), keepdims=0)
    token_ids = places if candidates is None else write.node("Gather", candidates, places)
    write.output(write.node("Cast", token_ids, to=6), TOKEN_IDS, "k", integers=True)
    write.output(values, TOKEN_WEIGHTS, "k")
    write.output(count, COUNT, integers=True)
