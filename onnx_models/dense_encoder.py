"""Dense encoder: texts to dense vectors by a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.stream import tokenised
from opensearch_splade.onnx_models.tokenizer import Tokenizer


class DenseEncoder:
    """A dense bundle at work.

    Args:
        bundle: A dense bundle.
        device: Where the graph runs.
        plan: Batches and threads; what ``osplade tune`` kept by default.

    Raises:
        BundleError: The bundle is sparse.
    """

    def __init__(self, bundle: Bundle, device: Device, *, plan: Plan | None = None) -> None:
        manifest = bundle.manifest
        if manifest.kind != "dense":
            raise BundleError(f"{manifest.name} is a sparse bundle ({manifest.kind}); a dense one is needed here.")
        self.bundle = bundle
        self.tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length)
        self.device = device
        self._plan = plan

    @classmethod
    def load(cls, bundle: str | Path, device: Device | None = None) -> DenseEncoder:
        """Opens a bundle folder or a shipped bundle by name."""
        return cls(Bundle.open(bundle), device or Device())

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides vectors."""
        return self.bundle.manifest.fingerprint

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self.bundle.manifest.dimension

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape ``(texts, dimension)``, in the order given; zeros for a text without any token."""
        out = np.zeros((len(texts), self.dimension), np.float32)
        for place, vector in enumerate(self.stream_tokens(tokenised(texts, self.tokenizer.encode))):
            out[place] = vector
        return out

    def stream_tokens(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[npt.NDArray[np.float32]]:
        """One vector per list of token ids, in order and bounded memory; ``None``: no more is to be had just now."""
        nothing = np.zeros(self.dimension, np.float32)
        return (nothing if vector is None else vector for vector in self.session.run_all(token_ids, "embedding"))

    def embed_query(self, text: str) -> list[float]:
        """One vector as JSON numbers."""
        vector: list[float] = self.encode([text])[0].tolist()
        return vector

    @cached_property
    def session(self) -> Session:
        """The graph, loaded when it is first needed."""
        return Session.of(self.bundle, self.device, self._plan)
