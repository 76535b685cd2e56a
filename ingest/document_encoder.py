"""Document encoder: documents to what the models read, and what they say to vectors, one or several a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from opensearch_splade.errors import DocumentError
from opensearch_splade.ingest.added_features import AddedFeatures
from opensearch_splade.ingest.bulk import Action
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.passages import Cut, LatePiece, Passage, PassageCutter
from opensearch_splade.ingest.quality_gate import QualityGate
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.serialiser import Encoded, Serialiser
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.onnx_models.sparse_rows import SparseRow, maximum
from opensearch_splade.types import Document, Features

Piece = Any  # Tokens or LatePiece: the cutter's rule says which
"""What the sparse model reads at once."""


class Tokenised(NamedTuple):
    """A document before the model.

    Attributes:
        passages: At least one.
        pieces: At least one, be it empty: what the model reads for the passages that are kept.
        truncated: Whether the model does not read to the document's end.
    """

    passages: Sequence[Passage]
    pieces: Sequence[Piece]
    truncated: bool = False


@dataclass(frozen=True)
class DocumentEncoder:
    """Documents to vectors, and by its serialiser to actions.

    Attributes:
        sparse: Encoder of the ``sparse`` field.
        serialiser: What becomes of the vectors.
        dense: Encoder of the ``dense`` field, if the index has one.
        cutter: Cuts documents into passages, if they are to be cut.
        gate: Says which passages get a sparse vector, if not all do.
        added: What stands beside the vocabulary's features.
        frequencies: Counts the tokens that pass, if query weights are wanted of this corpus.
    """

    sparse: SparseEncoder
    serialiser: Serialiser
    dense: DenseEncoder | None = None
    cutter: PassageCutter | None = None
    gate: QualityGate | None = None
    added: AddedFeatures = field(default_factory=AddedFeatures)
    frequencies: DocumentFrequencies | None = None

    def load(self) -> None:
        """Loads the graphs, so that a model or device that cannot run fails before anything is written.

        Raises:
            BundleError: ONNX Runtime cannot read a graph, or the bundle cannot encode passages late.
            DeviceError: The installed ONNX Runtime lacks the device.
            MissingExtraError: ONNX Runtime is not installed.
        """
        [tokens] = self.sparse.tokenizer.encode(["a"])
        list(self.sparse_rows([LatePiece(tokens, [(0, len(tokens))]) if self._is_late else tokens]))
        if self.dense:
            self.dense.encode(["a"])

    @property
    def _is_late(self) -> bool:
        return self.cutter is not None and self.cutter.rule.kind == "late"

    @property
    def marker(self) -> Sequence[str]:
        """What the ``encoded`` field says."""
        return self.serialiser.marker

    @property
    def counts_all(self) -> bool:
        """Whether unchanged documents are tokenised too, because query weights are counted over all."""
        return self.frequencies is not None

    def tokenise(self, documents: Sequence[Document]) -> list[Tokenised]:
        """What the sparse model reads for each document; its tokens are counted if query weights are wanted."""
        if self.cutter:
            return [
                self._pieces(document, cut) for document, cut in zip(documents, self.cutter.cut(documents), strict=True)
            ]
        token_ids = self.sparse.tokenizer.encode([document.passage for document in documents])
        self._count(token_ids)
        return [self._whole(document, tokens) for document, tokens in zip(documents, token_ids, strict=True)]

    def _whole(self, document: Document, tokens: list[int]) -> Tokenised:
        # Whoever moves an index brings over documents without any text too.
        kept = bool(document.passage) and (not self.gate or self.gate.passes(document.passage))
        truncated = len(tokens) >= self.sparse.bundle.manifest.max_length  # most likely it goes on
        return Tokenised([Passage(0, len(document.text), kept)], [tokens if kept else []], truncated)

    def _pieces(self, document: Document, cut: Cut) -> Tokenised:
        assert self.cutter is not None  # noqa: S101 - there is no cut without it
        self._count([cut.ids[start:end] for start, end in cut.spans])
        if self.gate:
            cut = cut._replace(passages=[self._gated(document, passage, self.gate) for passage in cut.passages])
        if self._is_late:
            return Tokenised(cut.passages, self.cutter.late(cut) or [LatePiece([], [])])
        return Tokenised(cut.passages, self.cutter.windows(cut) or [[]])

    @staticmethod
    def _gated(document: Document, passage: Passage, gate: QualityGate) -> Passage:
        text = document.text[passage.start : passage.end] or document.title
        return passage._replace(kept=gate.passes(text))

    def _count(self, token_ids: list[list[int]]) -> None:
        if self.frequencies is not None:
            self.frequencies.add(token_ids)

    def sparse_rows(self, pieces: Iterable[Piece | None]) -> Iterator[list[SparseRow]]:
        """The rows of the passages in each piece, in order; ``None``: no more is to be had just now."""
        if self._is_late:
            return self.sparse.stream_passages(piece and (piece.tokens, piece.spans) for piece in pieces)
        return ([row] for row in self.sparse.stream_tokens(pieces))

    @staticmethod
    def passage_rows(pieces: Sequence[Piece], rows: Sequence[list[SparseRow]]) -> list[SparseRow]:
        """One row for each passage of a document that is kept.

        Args:
            pieces: What the model read of it.
            rows: What ``sparse_rows`` gave for each of them.
        """
        found = list[SparseRow]()
        for piece, each in zip(pieces, rows, strict=True):
            if isinstance(piece, LatePiece) and piece.has_title:
                title, *passages = each
                found += [maximum([title, row]) for row in passages]
            else:
                found += each
        return found

    def dense_texts(self, document: Document, passages: Sequence[Passage]) -> list[str]:
        """The texts of a document that get a dense vector: its passages if they are documents of the index."""
        if self.serialiser.store != "documents":
            return [document.passage]
        return [f"{document.title} {document.text[one.start : one.end]}".strip() for one in passages]

    def added_to(self, document: Document) -> tuple[Features, Features]:
        """Added and static features of a document.

        Raises:
            DocumentError: It has a field that cannot be one.
        """
        features = self.added.features(document)
        if clash := sorted(features.keys() & self.sparse.vocabulary.ids.keys()):
            raise DocumentError(f"The added feature {clash[0]!r} is a token of the bundle's vocabulary.")
        return features, self.added.static_features(document)

    def actions(self, documents: Sequence[Document], report: IngestReport) -> list[Action]:
        """All of it for a few documents at once.

        Raises:
            DocumentError: One of them cannot be written as JSON, or has a field that cannot be a feature.
        """
        encoded = list[Encoded]()
        for document, tokenised in zip(documents, self.tokenise(documents), strict=True):
            report.truncated += tokenised.truncated
            rows = self.passage_rows(tokenised.pieces, list(self.sparse_rows(tokenised.pieces)))
            vectors: list[Any] = []
            if self.dense:
                vectors = list(self.dense.encode(self.dense_texts(document, tokenised.passages)))
            added = self.added_to(document)
            encoded.append(Encoded(document, content_hash(document), tokenised.passages, *added, rows, vectors))
        return list(chain.from_iterable(self.serialiser.actions(encoded, report)))
