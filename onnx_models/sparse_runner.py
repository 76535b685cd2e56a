"""Sparse runner: batches of token ids to sparse rows on one session. Nothing is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.long_texts import Span
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Arrays, Options, Session
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

    def encode(self, batch: Sequence[Tokens], spans: Sequence[Sequence[Span]] | None = None) -> list[SparseRow]:
        """One row per text, each of at least one token; or one per span, likewise.

        Raises:
            BundleError: There are spans, and the graph has no input for them.
        """
        if spans is not None:
            self._require_passages()
        return to_rows(*self.strongest(batch, spans))

    def tokens(self, batch: Sequence[Tokens], strongest: int) -> list[list[SparseRow]]:
        """The vectors of each text's tokens before they are pooled, cut to their strongest features.

        A token is a passage of its own, so the graph needs no other output.

        Args:
            batch: Token ids of texts, each of at least one token.
            strongest: How many features a token keeps.

        Returns:
            Of each text its tokens, special ones included, which the model pools too: token ids and weights, strongest
            first.

        Raises:
            BundleError: The graph cannot pool passages.
        """
        self._require_passages()
        options: Options = {MAX_RATIO: self._max_ratio, TOP_K: np.array([strongest], np.int64)}
        spans = [[(place, place + 1) for place in range(len(text))] for text in batch]
        token_ids, weights, count = self._session.run(batch, OUTPUTS, options, spans)
        ends = iter(enumerate(np.minimum(count, strongest).tolist()))
        rows = ((token_ids[row, :end], weights[row, :end]) for row, end in ends)
        return [list(islice(rows, len(text))) for text in batch]

    def _require_passages(self) -> None:
        if not self._session.takes_passages:
            raise BundleError(
                "This bundle's graph cannot pool passages of a long text. If it was exported by an older version, "
                "export the checkpoint again (shipped bundles: scripts/make_bundles.py), or add the input and keep the "
                "fingerprint (scripts/add_passages.py). Heads that add up or have a gate cannot have it: cut the text "
                "and encode each passage by itself."
            )

    def strongest(self, batch: Sequence[Tokens], spans: Sequence[Sequence[Span]] | None = None) -> Arrays:
        """Token ids and weights ``(rows, k)``, strongest first, and how many of each row are features."""
        options: Options = {MAX_RATIO: self._max_ratio, TOP_K: self._top_k}
        token_ids, weights, count = self._session.run(batch, OUTPUTS, options, spans)
        if count.max() > token_ids.shape[1]:
            # Denser than documents usually are. Nothing is cut off: more is asked for, now and from now on.
            self._top_k = np.array([max(count.max(), self._top_k[0])], np.int64)
            return self.strongest(batch, spans)
        return token_ids, weights, count
