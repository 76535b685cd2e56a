"""What is asked: an index, what it holds, and the encoders that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import TargetError
from opensearch_splade.query.mode import SPARSE_LEGS, Leg
from opensearch_splade.query.requirements import NEURAL_SPARSE
from opensearch_splade.query.seismic_search import DEFAULT_SEARCH, SeismicSearch
from opensearch_splade.types import KnowsTokenIds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.index_meta import IndexMeta, SeismicMeta
    from opensearch_splade.types import Capabilities, DenseQueryEncoder, Json, QueryEncoder


@dataclass(frozen=True, slots=True)
class Target:
    """An index with what is needed to ask it.

    Attributes:
        index: Index or alias.
        meta: Which bundles encoded it.
        capabilities: What the server can do.
        sparse: Gives query weights, where there is one.
        dense: Gives query vectors, where there is one.
        how: How thoroughly a ``sparse_vector`` field is searched.

    Raises:
        TargetError: An encoder belongs to another bundle than the one that encoded the index.
    """

    index: str
    meta: IndexMeta
    capabilities: Capabilities
    sparse: QueryEncoder | None = None
    dense: DenseQueryEncoder | None = None
    how: SeismicSearch = DEFAULT_SEARCH

    def __post_init__(self) -> None:
        self.meta.check_fingerprints(
            self.index,
            sparse=self.sparse.fingerprint if self.sparse else None,
            dense=self.dense.fingerprint if self.dense else None,
        )

    @property
    def seismic(self) -> SeismicMeta | None:
        """Of a ``sparse_vector`` field; None where the sparse field is of ``rank_features`` or there is none."""
        return self.meta.sparse.seismic if self.meta.sparse else None

    @property
    def store(self) -> str:
        """How passages lie in the index; empty where documents are whole."""
        return self.meta.passages.store if self.meta.passages else ""

    @property
    def sparse_field(self) -> str:
        """Where the features lie."""
        return f"{self.meta.name('passages')}.sparse" if self.store == "nested" else self.meta.name("sparse")

    @property
    def dense_field(self) -> str:
        """Where the dense vector lies."""
        return self.meta.name("dense")

    @property
    def text_fields(self) -> tuple[str, ...]:
        """What ``bm25`` asks. Our own ``text`` has a copy of the title."""
        return self.meta.kept.spoken if self.meta.kept else ("text",)

    def only(self, ids: Sequence[str]) -> Json:
        """A filter for these documents.

        Passages have ids of their own and their document's in a field, which is slower to filter by.
        """
        return {"terms": {"id": list(ids)}} if self.store == "documents" else {"ids": {"values": list(ids)}}

    @property
    def token_ids(self) -> Mapping[str, int]:
        """Feature to token id, of an encoder that knows them."""
        return self.sparse.token_ids if isinstance(self.sparse, KnowsTokenIds) else {}

    @property
    def legs(self) -> tuple[Leg, ...]:
        """All rankings that can be asked for, each once: what ``hybrid`` fuses."""
        sparse: Leg = "neural-sparse" if self.seismic or self.capabilities.supports(NEURAL_SPARSE) else "weighted-terms"
        return tuple(leg for leg in ("bm25", sparse, "knn") if not self.lacks(leg))

    def lacks(self, leg: Leg) -> str:
        """What a ranking needs and is not there; empty if nothing is missing."""
        if leg == "bm25":
            return ""
        kind = "sparse" if leg in SPARSE_LEGS else "dense"
        if getattr(self.meta, kind) is None:
            return f"index {self.index!r} holds no {kind} vectors"
        if getattr(self, kind) is None:
            return f"no {kind} query encoder was given"
        if self.seismic and leg == "weighted-terms":
            return (
                f"index {self.index!r} keeps its features in a sparse_vector field, of which rank_feature clauses find "
                "nothing; ask neural-sparse, or ingest into a rank_features field"
            )
        if self.seismic and leg == "neural-sparse" and not self.token_ids:
            return f"the query encoder does not know the token ids by which index {self.index!r} keeps its features"
        return ""

    def require(self, leg: Leg) -> None:
        """Refuse a ranking that cannot be asked for.

        Raises:
            TargetError: The index holds no such vectors, or their query encoder was not given.
        """
        if missing := self.lacks(leg):
            raise TargetError(f"mode {leg} cannot be asked: {missing}; possible here: {', '.join(self.legs)}")

    def fingerprints(self, legs: tuple[Leg, ...]) -> frozenset[str]:
        """The fingerprints that a hit must carry for these rankings to be right about it."""
        sparse = self.meta.sparse if any(leg in SPARSE_LEGS for leg in legs) else None
        dense = self.meta.dense if "knn" in legs else None
        return frozenset(part.fingerprint for part in (sparse, dense) if part)
