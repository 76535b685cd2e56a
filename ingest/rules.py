"""Rules: everything beside the bundles that decides what an index holds of a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from opensearch_splade.errors import OspladeError
from opensearch_splade.index_meta import PassagesMeta, PassageStore, SeismicMeta
from opensearch_splade.ingest.added_features import AddedFeatures
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.passages import PassageCutter, PassageRule
from opensearch_splade.ingest.quality_gate import QualityGate
from opensearch_splade.ingest.serialiser import Serialiser
from opensearch_splade.ingest.term_budget import PruningRule
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies


@dataclass(frozen=True)
class Rules:
    """How documents become what is stored; an index notes them, and keeps to them.

    Attributes:
        pruning: Of features.
        passages: How documents are cut, if they are.
        store: How their passages lie in the index.
        gate: Which passages get a vector.
        added: Features beside the vocabulary.
        seismic: Of a ``sparse_vector`` field.
        kept: Of documents that are written as they were.

    Raises:
        OspladeError: Features are to be added where keys are token ids.
    """

    pruning: PruningRule | None = None
    passages: PassageRule | None = None
    store: PassageStore = "max"
    gate: QualityGate | None = None
    added: AddedFeatures = field(default_factory=AddedFeatures)
    seismic: SeismicMeta | None = None
    kept: KeptMeta | None = None

    def __post_init__(self) -> None:
        if self.seismic and self.added.sources:
            raise OspladeError(
                "--feature-field goes without a sparse_vector field, whose keys are the vocabulary's token ids: take "
                "--sparse-field rank_features."
            )

    @property
    def meta(self) -> PassagesMeta | None:
        """What the index says of passages; nothing where documents are whole and all get a vector."""
        if not (self.passages or self.gate):
            return None
        store = self.store if self.passages else ""
        return PassagesMeta(rule=str(self.passages or ""), store=store, gate=str(self.gate or ""))

    @property
    def parts(self) -> bool:
        """Whether a document is several documents of the index."""
        return self.passages is not None and self.store == "documents"

    def encoder(
        self,
        sparse: SparseEncoder,
        dense: DenseEncoder | None,
        marker: Sequence[str],
        frequencies: DocumentFrequencies | None = None,
    ) -> DocumentEncoder:
        """A fresh one by these rules.

        Args:
            sparse: Of the ``sparse`` field.
            dense: Of the ``dense`` field, if there is one.
            marker: Fingerprints of both.
            frequencies: Counts tokens, if wanted.
        """
        store = self.store if self.passages else ""
        serialiser = Serialiser(sparse, marker, self.pruning, store, self.seismic, self.kept)
        cutter = None
        if self.passages:
            cutter = PassageCutter(self.passages, sparse.tokenizer, sparse.bundle.manifest.max_length)
        return DocumentEncoder(sparse, serialiser, dense, cutter, self.gate, self.added, frequencies)
