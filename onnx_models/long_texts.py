"""Long texts: token ids that are read once, and spans of them that become a vector each (arXiv 2409.04701)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.sparse_rows import EMPTY, SparseRow

Span = tuple[int, int]
"""First place of a passage in its text's token ids, and the place after its last."""


@dataclass(frozen=True, slots=True)
class LongText:
    """A text and its passages.

    Attributes:
        tokens: Token ids as the model reads them, special tokens included.
        spans: Of the passages. They may overlap; one without tokens has no features.
    """

    tokens: Tokens
    spans: Sequence[Span]

    def __len__(self) -> int:
        """What it takes of a token budget: the body's positions, or the head's where those are more; 0: no features."""
        longest = max((end - start for start, end in self.spans), default=0)
        return max(len(self.tokens), longest * len(self.spans)) if longest else 0

    def checked(self, max_length: int) -> LongText:
        """Itself.

        Raises:
            OspladeError: The text is too long, or a span does not lie within it.
        """
        if len(self.tokens) > max_length:
            raise OspladeError(
                f"A text of {len(self.tokens):,} tokens is longer than the bundle takes ({max_length:,}); cut it into "
                "windows."
            )
        for start, end in self.spans:
            if not 0 <= start <= end <= len(self.tokens):
                raise OspladeError(
                    f"The span ({start}, {end}) does not lie within a text of {len(self.tokens)} tokens."
                )
        return self


class Runner(Protocol):
    """What runs batches: ``SparseRunner`` or ``EncoderProcesses``."""

    def encode(self, batch: Sequence[Tokens], spans: Sequence[Sequence[Span]] | None = None) -> list[SparseRow]:
        """One row per text, or one per span."""
        ...


def encode_passages(runner: Runner, batch: Sequence[LongText]) -> list[list[SparseRow]]:
    """The rows of each text's spans, one of which has a token at least."""
    spans = [[(start, end) for start, end in text.spans if start < end] for text in batch]
    rows = iter(runner.encode([text.tokens for text in batch], spans))
    return [[next(rows) if start < end else EMPTY for start, end in text.spans] for text in batch]


def places(spans: Sequence[Sequence[Span]], length: int) -> npt.NDArray[np.int64]:
    """What the graph's input ``passages`` takes: places in the flattened batch, ``(passages, longest)``.

    Args:
        spans: Of each text, at least one, each of at least one token.
        length: Of a row of the batch, padding included.
    """
    bounds = [(start + row * length, end + row * length) for row, own in enumerate(spans) for start, end in own]
    start, end = np.array(bounds, np.int64).T[:, :, None]
    found: npt.NDArray[np.int64] = start + np.arange((end - start).max())
    return np.where(found < end, found, start)
