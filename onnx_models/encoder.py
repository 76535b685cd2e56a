"""Encoders: texts to vectors by a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.plan import load_plan
from opensearch_splade.onnx_models.prompt import NO_PROMPT
from opensearch_splade.onnx_models.query_weights import QueryWeights, read_table
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.sparse_output import DEFAULT_TOP_K, MAX_RATIO, OUTPUTS, TOP_K
from opensearch_splade.onnx_models.sparse_rows import EMPTY, SparseRow, stack, to_rows
from opensearch_splade.onnx_models.stream import in_order, tokenised
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary
from opensearch_splade.types import Features, SparseVectors


class SparseEncoder:
    """A sparse bundle at work. The graph is loaded when the first document (or siamese query) comes, not before.

    Args:
        bundle: A siamese or inference-free bundle.
        device: Where the graph runs.
        max_ratio: Drops features below this share of their document's strongest, on the device.
        query_weights: Feature to weight; replaces the bundle's own query side, for example by a table counted over the
            very corpus that is searched.

    Raises:
        BundleError: The bundle is dense, or its files do not fit together.

    Example:
        >>> encoder = SparseEncoder.load("splade-tiny-idf")
        >>> list(encoder.encode_query("paris"))
        ['paris']
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        query_weights: Mapping[str, float] | None = None,
        *,
        max_ratio: float = 0.0,
    ) -> None:
        manifest = bundle.manifest
        if manifest.kind == "dense":
            raise BundleError(f"{manifest.name} is a dense bundle; give it as the dense bundle (--dense-bundle).")
        self.bundle = bundle
        self.device = device
        self.tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length, manifest.prompt or NO_PROMPT)
        self.vocabulary = Vocabulary(self.tokenizer.vocabulary, manifest.dimension, frozenset(manifest.special_tokens))
        if query_weights is None and bundle.query_weights is not None:
            query_weights = read_table(bundle.query_weights)
        self._max_ratio = np.array([max_ratio], np.float32)
        self._top_k = np.array([DEFAULT_TOP_K], np.int64)
        self._table = None if query_weights is None else QueryWeights(query_weights, self.vocabulary)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: Device | None = None,
        query_weights: Mapping[str, float] | None = None,
    ) -> SparseEncoder:
        """Opens a bundle folder or a shipped bundle by name; see the class for the arguments."""
        return cls(Bundle.open(bundle), device or Device(), query_weights)

    def with_query_weights(self, query_weights: Mapping[str, float] | None) -> SparseEncoder:
        """The same documents with another query side; ``None`` gives the bundle's own."""
        return SparseEncoder(self.bundle, self.device, query_weights)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides document vectors."""
        return self.bundle.manifest.fingerprint

    @property
    def query_side(self) -> Literal["siamese", "inference-free"]:
        """Whether queries run the model or look weights up."""
        return "siamese" if self._table is None else "inference-free"

    def stream(self, texts: Iterable[str]) -> Iterator[SparseRow]:
        """Token ids (ascending) and weights of each text, in order, in bounded memory whatever their number."""
        return self.stream_tokens(tokenised(texts, self.tokenizer.encode))

    def stream_tokens(self, token_ids: Iterable[Sequence[int]]) -> Iterator[SparseRow]:
        """The same for lists of token ids, special tokens included."""
        return (row or EMPTY for row in in_order(token_ids, self._encode, self._session))

    def encode_documents(self, texts: Iterable[str]) -> SparseVectors:
        """One row per text, in the order given."""
        return stack(self.stream(texts))

    def encode_tokens(self, token_ids: Iterable[Sequence[int]]) -> SparseVectors:
        """One row per list of token ids, special tokens included, in the order given."""
        return stack(self.stream_tokens(token_ids))

    def _encode(self, batch: Sequence[Sequence[int]]) -> list[SparseRow]:
        options: dict[str, npt.NDArray[Any]] = {MAX_RATIO: self._max_ratio, TOP_K: self._top_k}
        token_ids, weights, count = self._session.run(batch, OUTPUTS, options)
        if count.max() > token_ids.shape[1]:
            # Denser than documents usually are. Nothing is cut off: more is asked for, now and from now on.
            self._top_k = np.array([max(count.max(), self._top_k[0])], np.int64)
            return self._encode(batch)
        return to_rows(token_ids, weights, count)

    def encode_queries(self, texts: Sequence[str]) -> SparseVectors:
        """One row per question: by the model (siamese) or from the table (inference-free)."""
        if self._table is None:
            return self.encode_tokens(self.tokenizer.encode(texts, query=True))
        ids = self.vocabulary.ids
        found = [self._table.weigh(tokens) for tokens in self.tokenizer.encode(texts, special=False)]
        rows = [sorted((ids[feature], weight) for feature, weight in features.items()) for features in found]
        return stack(
            (np.array([i for i, _ in row], np.int32), np.array([w for _, w in row], np.float32)) for row in rows
        )

    def encode_query(self, text: str) -> Features:
        """Feature to weight, strongest first. Inference-free: no model is loaded, now or later."""
        if self._table is not None:
            return self._table.weigh(self.tokenizer.encode([text], special=False)[0])
        token_ids, weights = self.encode_queries([text]).row(0)
        order = np.argsort(-weights, kind="stable")
        return self.features(token_ids[order], weights[order])

    def features(self, token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> Features:
        """One row by name."""
        names = self.vocabulary.features
        return {names[token]: weight for token, weight in zip(token_ids.tolist(), weights.tolist(), strict=True)}

    @cached_property
    def _session(self) -> Session:
        return _session(self.bundle, self.device)


class DenseEncoder:
    """A dense bundle at work.

    Args:
        bundle: A dense bundle.
        device: Where the graph runs.

    Raises:
        BundleError: The bundle is sparse.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        manifest = bundle.manifest
        if manifest.kind != "dense":
            raise BundleError(f"{manifest.name} is a sparse bundle ({manifest.kind}); a dense one is needed here.")
        self.bundle = bundle
        self.tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length)
        self.device = device

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
        token_ids = tokenised(texts, self.tokenizer.encode)
        for place, vector in enumerate(self._session.run_all(token_ids, "embedding")):
            if vector is not None:
                out[place] = vector
        return out

    def embed_query(self, text: str) -> list[float]:
        """One vector as JSON numbers."""
        vector: list[float] = self.encode([text])[0].tolist()
        return vector

    @cached_property
    def _session(self) -> Session:
        return _session(self.bundle, self.device)


def _session(bundle: Bundle, device: Device) -> Session:
    return Session(bundle.model, device, load_plan(bundle.manifest.fingerprint, device.kind, device.cores))
