"""Sparse runner: batches of token ids to sparse rows on one session. Nothing is cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Arrays, Session
from opensearch_splade.onnx_models.sparse_output import DEFAULT_TOP_K, MAX_RATIO, OUTPUTS, TOP_K
from opensearch_splade.onnx_models.sparse_rows import SparseRow, to_rows


class SparseRunner:
    """A session and how many features are asked of it. Safe to call from several threads.

    Args:
        session: Of a sparse bundle.
        max_ratio: Drops features below this share of their row's strongest, on the device.
    """

    def __init__(self, session: Session, max_ratio: float = 0.0) -> None:
        self._session = session
        self._max_ratio = np.array([max_ratio], np.float32)
        self._top_k = np.array([DEFAULT_TOP_K], np.int64)

    @property
    def plan(self) -> Plan:
        """The session's."""
        return self._session.plan

    @property
    def token_budget(self) -> int:
        """The session's, which shrinks where memory does not suffice."""
        return self._session.token_budget

    def encode(self, batch: Sequence[Tokens]) -> list[SparseRow]:
        """One row per text, each of at least one token."""
        return to_rows(*self.strongest(batch))

    def strongest(self, batch: Sequence[Tokens]) -> Arrays:
        """Token ids and weights ``(batch, k)``, strongest first, and how many of each row are features."""
        token_ids, weights, count = self._session.run(batch, OUTPUTS, {MAX_RATIO: self._max_ratio, TOP_K: self._top_k})
        if count.max() > token_ids.shape[1]:
            # Denser than documents usually are. Nothing is cut off: more is asked for, now and from now on.
            self._top_k = np.array([max(count.max(), self._top_k[0])], np.int64)
            return self.strongest(batch)
        return token_ids, weights, count
