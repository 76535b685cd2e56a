"""Document encoder: everything between a document and the bytes that the bulk writer sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from opensearch_splade.index_meta import SeismicMeta
from opensearch_splade.ingest.bulk import Action
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.onnx_models.sparse_rows import SparseRow, stack
from opensearch_splade.types import Document


class Hashed(NamedTuple):
    """A document and its content hash."""

    document: Document
    hash: str


class Encoded(NamedTuple):
    """A document and its vectors; the dense one where the index has a field for it."""

    document: Document
    hash: str
    row: SparseRow
    vector: Any = None


@dataclass(frozen=True)
class DocumentEncoder:
    """Documents to actions.

    Attributes:
        sparse: Encoder of the ``sparse`` field.
        dense: Encoder of the ``dense`` field, if the index has one.
        pruning: Applied to sparse vectors.
        marker: What the ``encoded`` field says.
        frequencies: Counts the tokens that pass, if query weights are wanted of this corpus.
        seismic: Of a ``sparse_vector`` field, whose keys are token ids; None: names.
    """

    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    pruning: Pruning | None = None
    marker: Sequence[str] = ()
    frequencies: DocumentFrequencies | None = None
    seismic: SeismicMeta | None = None

    def load(self) -> None:
        """Loads the graphs, so that a model or device that cannot run fails before anything is written.

        Raises:
            BundleError: ONNX Runtime cannot read a graph.
            DeviceError: The installed ONNX Runtime lacks the device.
            MissingExtraError: ONNX Runtime is not installed.
        """
        self.sparse.encode_documents(["a"])
        if self.dense:
            self.dense.encode(["a"])

    @property
    def counts_all(self) -> bool:
        """Whether unchanged documents are tokenised too, because query weights are counted over all."""
        return self.frequencies is not None

    def tokenise(self, documents: Sequence[Document]) -> list[list[int]]:
        """Token ids for the sparse encoder; they are counted if query weights are wanted."""
        token_ids = self.sparse.tokenizer.encode([document.passage for document in documents])
        if self.frequencies is not None:
            self.frequencies.add(token_ids)
        return token_ids

    def is_truncated(self, tokens: Tokens) -> bool:
        """Whether a text most likely goes on after these tokens."""
        return len(tokens) >= self.sparse.bundle.manifest.max_length

    def sparse_rows(self, token_ids: Iterable[Tokens | None]) -> Iterator[SparseRow]:
        """One row per document, in order; see ``SparseEncoder.stream_tokens``."""
        return self.sparse.stream_tokens(token_ids)

    def serialise(self, encoded: Sequence[Encoded], report: IngestReport) -> list[Action]:
        """Prune, codec, JSON: one action per document, in order; what is worth knowing is added to ``report``."""
        vectors = stack(one.row for one in encoded)
        vectors = encode_weights(self.pruning.apply(vectors) if self.pruning else vectors)
        report.featureless += sum(not len(ids) for ids, _ in vectors)
        report.features += len(vectors.weights)
        if self.seismic:
            report.clipped += int((vectors.weights > self.seismic.ceiling_ingest).sum())
        return [
            Action(one.document.id, self._source(one, self._features(*row)))
            for one, row in zip(encoded, vectors, strict=True)
        ]

    def actions(self, documents: Sequence[Document], report: IngestReport) -> list[Action]:
        """All of it for a few documents at once.

        Raises:
            DocumentError: One of them cannot be written as JSON.
        """
        token_ids = self.tokenise(documents)
        report.truncated += sum(map(self.is_truncated, token_ids))
        dense = (
            self.dense.encode([document.passage for document in documents]) if self.dense else [None] * len(token_ids)
        )
        together = zip(documents, self.sparse_rows(token_ids), dense, strict=True)
        return self.serialise(
            [Encoded(each, content_hash(each), row, vector) for each, row, vector in together], report
        )

    def _features(self, token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> dict[str, float]:
        if self.seismic is None:
            return self.sparse.features(token_ids, weights)
        return dict(zip(map(str, token_ids.tolist()), weights.tolist(), strict=True))

    def _source(self, one: Encoded, features: dict[str, float]) -> bytes:
        document = one.document
        body: dict[str, Any] = {
            "id": document.id,
            "text": document.text,
            "sparse": features,
            "encoded": list(self.marker),
            "hash": one.hash,
        }
        if document.title:
            body["title"] = document.title
        if document.metadata:
            body["metadata"] = document.metadata
        if one.vector is not None:
            body["dense"] = one.vector
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
