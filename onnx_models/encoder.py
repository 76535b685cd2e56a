"""Sparse encoder: texts to sparse vectors by a bundle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError, OspladeError
from opensearch_splade.onnx_models.bundle import Bundle, TableKind
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.long_texts import LongText, Span, encode_passages
from opensearch_splade.onnx_models.plan import Plan, query_plan
from opensearch_splade.onnx_models.processes import EncoderProcesses
from opensearch_splade.onnx_models.prompt import NO_PROMPT
from opensearch_splade.onnx_models.query_weights import QueryWeights, read_table
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.sparse_rows import EMPTY, SparseRow, stack
from opensearch_splade.onnx_models.sparse_runner import SparseRunner
from opensearch_splade.onnx_models.stream import in_order, tokenised
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary
from opensearch_splade.types import Features, SparseVectors

TOKEN_FEATURES = 8
"""Features that a token's vector keeps."""


class SparseEncoder:
    """A sparse bundle at work. The graph is loaded when the first document (or siamese query) comes, not before.

    Documents go through a session that runs several batches at once; a siamese query through a small one of its own, in
    which all cores share that one text.

    Args:
        bundle: A siamese or inference-free bundle.
        device: Where the graph runs.
        query_weights: Feature to weight; replaces the bundle's own query side, for example by a table counted over the
            very corpus that is searched.
        table_kind: What kind of table ``query_weights`` is: ``bm25`` also counts how often a token stands in the query.
        max_ratio: Drops features of documents below this share of their strongest, on the device.
        plan: Batches and threads; what ``osplade tune`` kept by default.

    Raises:
        BundleError: The bundle is dense, or its files do not fit together.
        OspladeError: ``max_ratio`` is no share.

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
        table_kind: TableKind = "table",
        max_ratio: float = 0.0,
        plan: Plan | None = None,
    ) -> None:
        if not 0 <= max_ratio < 1:
            raise OspladeError(f"max_ratio is a share between 0 and 1, not {max_ratio:g}.")
        manifest = bundle.manifest
        if manifest.kind == "dense":
            raise BundleError(f"{manifest.name} is a dense bundle; give it as the dense bundle (--dense-bundle).")
        self.bundle = bundle
        self.device = device
        self.tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length, manifest.prompt or NO_PROMPT)
        self.vocabulary = Vocabulary(self.tokenizer.vocabulary, manifest.dimension, frozenset(manifest.special_tokens))
        if query_weights is None and bundle.query_weights is not None:
            query_weights, table_kind = read_table(bundle.query_weights), manifest.query_weights or "checkpoint"
        self._plan = plan
        self._max_ratio = max_ratio
        self._table = None if query_weights is None else QueryWeights(query_weights, self.vocabulary, table_kind)

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: Device | None = None,
        query_weights: Mapping[str, float] | None = None,
        *,
        table_kind: TableKind = "table",
        max_ratio: float = 0.0,
        plan: Plan | None = None,
    ) -> SparseEncoder:
        """Opens a bundle folder or a shipped bundle by name; see the class for the arguments."""
        opened = Bundle.open(bundle)
        return cls(opened, device or Device(), query_weights, table_kind=table_kind, max_ratio=max_ratio, plan=plan)

    def with_query_weights(
        self, query_weights: Mapping[str, float] | None, table_kind: TableKind = "table"
    ) -> SparseEncoder:
        """The same documents with another query side; ``None`` gives the bundle's own."""
        return SparseEncoder(
            self.bundle, self.device, query_weights, table_kind=table_kind, max_ratio=self._max_ratio, plan=self._plan
        )

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides document vectors."""
        return self.bundle.manifest.fingerprint

    @property
    def token_ids(self) -> Mapping[str, int]:
        """Feature to token id."""
        return self.vocabulary.ids

    @property
    def query_side(self) -> Literal["siamese", "inference-free"]:
        """Whether queries run the model or look weights up."""
        return "siamese" if self._table is None else "inference-free"

    @property
    def largest_query_weight(self) -> float | None:
        """The largest weight in the table of an inference-free query side; None where a model weighs queries."""
        return None if self._table is None else self._table.largest

    def stream(self, texts: Iterable[str]) -> Iterator[SparseRow]:
        """Token ids (ascending) and weights of each text, in order, in bounded memory whatever their number."""
        return self.stream_tokens(tokenised(texts, self.tokenizer.encode))

    def stream_tokens(self, token_ids: Iterable[Sequence[int] | None]) -> Iterator[SparseRow]:
        """The same for lists of token ids, special tokens included; ``None``: no more is to be had just now."""
        return (row or EMPTY for row in in_order(token_ids, self.document_runner.encode, self.document_runner))

    def stream_passages(
        self, texts: Iterable[tuple[Sequence[int], Sequence[Span]] | None]
    ) -> Iterator[list[SparseRow]]:
        """One row per passage of each long text, in order: a text is read once, and pooled over each of its spans.

        So a token's state knows the whole text, and still counts for its own passage only (late chunking).

        Args:
            texts: Token ids, special tokens included and ``max_length`` at most, and the spans ``(start, end)`` of
                places in them; see ``Tokenizer.offsets``. ``None``: no more is to be had just now.

        Raises:
            BundleError: The graph cannot pool passages; says what to do.
            OspladeError: A text is too long, or a span does not lie within it.
        """
        wanted: deque[int] = deque()

        def read() -> Iterator[LongText | None]:
            for text in texts:
                one = None if text is None else LongText(*text).checked(self.bundle.manifest.max_length)
                if one is not None:
                    wanted.append(len(one.spans))
                yield one

        for rows in in_order(read(), partial(encode_passages, self.document_runner), self.document_runner):
            count = wanted.popleft()
            yield [EMPTY] * count if rows is None else rows

    def stream_token_vectors(
        self, texts: Iterable[str], *, strongest: int = TOKEN_FEATURES, query: bool = False
    ) -> Iterator[list[Features]]:
        """A sparse vector for each token of each text, before pooling (SLIM, arXiv 2302.06587), in order.

        Their maximum is the document's vector, up to what ``strongest`` cuts off. Tokens without features are left out;
        which side asks or is asked makes no difference but for the prompt: an inference-free bundle has them too.

        Args:
            texts: Documents or questions, truncated like those.
            strongest: How many features of a token are kept, at least 1.
            query: Whether they are questions, which may have a prefix of their own.

        Raises:
            BundleError: The graph cannot pool passages; says what to do.
            OspladeError: No feature is to be kept.
        """
        if strongest < 1:
            raise OspladeError(f"Token vectors of {strongest} features: at least 1 is needed.")
        token_ids = tokenised(texts, partial(self.tokenizer.encode, query=query))
        runner = SparseRunner(self._session)
        for rows in in_order(token_ids, partial(runner.tokens, strongest=strongest), runner):
            yield [self.features(*row) for row in rows or () if len(row[0])]

    def encode_documents(self, texts: Iterable[str]) -> SparseVectors:
        """One row per text, in the order given."""
        return stack(self.stream(texts))

    def encode_queries(self, texts: Sequence[str]) -> SparseVectors:
        """One row per question: by the model (siamese) or from the table (inference-free)."""
        if self._table is None:
            whole = SparseRunner(self._session)  # max_ratio prunes documents; queries have their own pruning
            token_ids = self.tokenizer.encode(texts, query=True)
            return stack(row or EMPTY for row in in_order(token_ids, whole.encode, whole))
        ids = self.vocabulary.ids
        found = [self._table.weigh(tokens) for tokens in self.tokenizer.encode(texts, special=False)]
        rows = [sorted((ids[feature], weight) for feature, weight in features.items()) for features in found]
        return stack(
            (np.array([i for i, _ in row], np.int32), np.array([w for _, w in row], np.float32)) for row in rows
        )

    def encode_query(self, text: str) -> Features:
        """Feature to weight, strongest first. Inference-free: no model is loaded, now or later."""
        [tokens] = self.tokenizer.encode([text], special=self._table is None, query=True)
        if self._table is not None:
            return self._table.weigh(tokens)
        if not tokens:  # an empty text, where the tokenizer puts nothing around it
            return {}
        token_ids, weights, [count] = self.query_runner.strongest([tokens])
        return self.features(token_ids[0, :count], weights[0, :count])

    def places(self, text: str) -> list[tuple[str, int, int]]:
        """Where features stand in a text: each token's feature, the index of its first character and past its last.

        Args:
            text: A document, of any length; special tokens have no place.

        Raises:
            BundleError: The prompt has an echo.
        """
        [(token_ids, spans)] = self.tokenizer.offsets([text])
        names = self.vocabulary.features
        found = zip(token_ids, spans, strict=True)
        return [(names[token], *span) for token, span in found if token < len(names) and names[token]]

    def features(self, token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> Features:
        """One row by name."""
        names = self.vocabulary.features
        return {names[token]: weight for token, weight in zip(token_ids.tolist(), weights.tolist(), strict=True)}

    @cached_property
    def document_runner(self) -> SparseRunner | EncoderProcesses:
        """What runs batches of documents, for those who make the batches themselves."""
        if self.device.others:
            return EncoderProcesses(self.bundle, self.device.each, self._max_ratio)
        return SparseRunner(self._session, self._max_ratio)

    @cached_property
    def _session(self) -> Session:
        return Session.of(self.bundle, self.device, self._plan)

    @cached_property
    def query_runner(self) -> SparseRunner:
        """What runs the questions of a siamese bundle."""
        plan = query_plan(self.device.kind, self.device.cores, self.bundle.manifest.max_length, self.bundle.size)
        return SparseRunner(Session(self.bundle.model, self.device, plan))
