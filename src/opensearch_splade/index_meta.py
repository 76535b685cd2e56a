"""What an index says about itself: which bundles encoded it, read from its mapping's ``_meta.opensearch_splade``.

Vectors of two models have the same shape and rank plausibly against each other; only this record tells them apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from opensearch_splade.errors import TargetError
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLUSTER = "osplade_cluster"
"""Key of ``_meta``, beside ours, that says who provisioned an index and how the cluster encodes its documents: none of
the business of those who ask it, so it is no part of ``IndexMeta``."""

CountedWeights = Literal["idf", "bm25"]
"""Kinds of query weights that are counted over a collection."""


SparseField = Literal["rank_features", "sparse_vector"]
"""Kinds of the ``sparse`` field: any server's, exact; or the neural-search plugin's with SEISMIC, approximate."""


@dataclass(frozen=True, slots=True)
class SeismicMeta:
    """A ``sparse_vector`` field: how its large segments hold and search the weights. Fixed when the index is made.

    Attributes:
        ceiling_ingest: Document weight that the highest of 255 steps stands for; a larger one is cut to it.
        ceiling_search: The same for query weights.
        threshold: Documents from which on a segment is searched by SEISMIC; smaller ones are scored exactly.
    """

    ceiling_ingest: float
    ceiling_search: float
    threshold: int


@dataclass(frozen=True, slots=True)
class SparseMeta:
    """Which bundle encoded the ``sparse`` field, and of which kind that is.

    Attributes:
        fingerprint: Fingerprint of the document vectors.
        bundle: The bundle's name, for people.
        kind: ``siamese`` or ``inference-free``.
        pruning: How weak features were dropped, e.g. ``max_ratio:0.1``; empty where all were kept.
        seismic: Of a ``sparse_vector`` field, whose keys are token ids; None: a ``rank_features`` field with names.
    """

    fingerprint: str
    bundle: str
    kind: str
    pruning: str = ""
    seismic: SeismicMeta | None = None

    @property
    def field(self) -> SparseField:
        """The kind of field."""
        return "sparse_vector" if self.seismic else "rank_features"

    @classmethod
    def from_json(cls, seismic: Mapping[str, Any] | None = None, **values: Any) -> SparseMeta:
        """Read what ``IndexMeta.to_json`` wrote."""
        return cls(**values, seismic=SeismicMeta(**seismic) if seismic else None)


@dataclass(frozen=True, slots=True)
class DenseMeta:
    """Which bundle encoded the ``dense`` field.

    Attributes:
        fingerprint: Fingerprint of the document vectors.
        bundle: The bundle's name, for people.
        dimension: Components of a vector.
    """

    fingerprint: str
    bundle: str
    dimension: int


@dataclass(frozen=True, slots=True)
class QueryWeightsMeta:
    """The query weights made for this very collection.

    Attributes:
        index: The index that stores them.
        id: Their document in it.
        kind: How they weigh a question: ``idf`` by its distinct tokens, ``bm25`` also by how often each stands there.

    Raises:
        ValueError: ``kind`` is unknown here.
    """

    index: str
    id: str
    kind: CountedWeights = "idf"

    def __post_init__(self) -> None:
        if self.kind not in get_args(CountedWeights):
            raise ValueError(f"query weights of the kind {self.kind!r}")


PassageStore = Literal["nested", "documents", "max"]
"""How passages lie in an index: inside their document, as documents of their own, or as one vector of their maxima."""


@dataclass(frozen=True, slots=True)
class PassagesMeta:
    """What one vector stands for where it is not simply a document.

    Attributes:
        rule: How documents are cut, e.g. ``late:128:32``; empty where they are not.
        store: How the passages lie in the index; empty where there are none.
        gate: Which passages get no vector, e.g. ``density@0.2``; empty where all get one.

    Raises:
        ValueError: ``store`` is unknown here.
    """

    rule: str = ""
    store: PassageStore | Literal[""] = ""
    gate: str = ""

    def __post_init__(self) -> None:
        if self.store not in ("", *get_args(PassageStore)):
            raise ValueError(f"passages stored as {self.store!r}")


@dataclass(frozen=True, slots=True)
class AddedMeta:
    """What stands beside the vocabulary's features, by the options that made it.

    Attributes:
        features: Where added features come from, e.g. ``entities*2``.
        static: Fields of metadata that lie in ``static`` as a ``rank_feature``.
    """

    features: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("features", "static"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class LedgerMeta:
    """The ledger that knows every document of the index.

    Attributes:
        name: What the ledger calls itself; a run without it takes this record away.
    """

    name: str


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """What the mapping's ``_meta.opensearch_splade`` says about an index; a part is None where the index has none."""

    sparse: SparseMeta | None = None
    dense: DenseMeta | None = None
    query_weights: QueryWeightsMeta | None = None
    ledger: LedgerMeta | None = None
    passages: PassagesMeta | None = None
    added: AddedMeta | None = None
    kept: KeptMeta | None = None

    def name(self, ours: str) -> str:
        """What one of our fields is called in this index."""
        return self.kept.names.get(ours, ours) if self.kept else ours

    def to_json(self) -> Json:
        """The mapping's ``_meta``."""
        parts = {name: part for name, part in asdict(self).items() if part is not None}
        if self.sparse and not self.sparse.seismic:  # so that versions that know no other field can read it
            del parts["sparse"]["seismic"]
        return {"opensearch_splade": parts}

    @classmethod
    def read(cls, client: Any, index: str) -> IndexMeta:
        """Ask the cluster.

        Args:
            client: An ``opensearchpy.OpenSearch``; ``indices.get_mapping`` is used.
            index: An index, or an alias or a pattern for indices that were encoded alike.

        Raises:
            TargetError: As ``from_mappings``, or there is no such index.
            ClusterError: The cluster does not answer or refuses.
        """
        with asking(index):
            mappings = client.indices.get_mapping(index=index)
        return cls.from_mappings(index, mappings)

    def write(self, client: Any, index: str) -> None:
        """Tells the cluster; what others keep in the mapping's ``_meta`` stays.

        Args:
            client: An ``opensearchpy.OpenSearch``.
            index: An index, or an alias of one.

        Raises:
            TargetError: There is no such index.
            ClusterError: The cluster does not answer or refuses.
        """
        with asking(index):
            for name, entry in client.indices.get_mapping(index=index).items():
                whole = {**entry["mappings"].get("_meta", {}), **self.to_json()}
                client.indices.put_mapping(index=name, body={"_meta": whole})

    @classmethod
    def from_mappings(cls, name: str, response: Mapping[str, Any]) -> IndexMeta:
        """Read the answer of ``GET {name}/_mapping``.

        Args:
            name: What was asked for: an index, an alias or a pattern.
            response: Concrete index to ``{"mappings": ...}``.

        Raises:
            TargetError: Nothing matches, an index was not made by this package, its ``_meta`` is damaged, or
                the indices behind one alias were encoded by different bundles.

        Query weights and ledgers that differ behind one alias are left out. Ceilings may differ, since scores are in
        the weights' own scale; the lowest count.
        """
        metas = {index: cls._parse(index, entry["mappings"]) for index, entry in response.items()}
        if not metas:
            raise TargetError(f"no index matches {name!r}; GET _cat/indices lists what there is")
        first = next(iter(metas.values()))
        if any(_vectors(one) != _vectors(first) for one in metas.values()):
            raise TargetError(
                f"{name!r} stands for indices that were encoded differently ({', '.join(sorted(metas))}): "
                "their scores cannot be compared; ask one of them"
            )
        # Weights counted over one of several indices do not speak for all of them, nor does its ledger.
        same_weights = all(one.query_weights == first.query_weights for one in metas.values())
        same_ledger = all(one.ledger == first.ledger for one in metas.values())
        return cls(
            _with_lowest_ceilings(first.sparse, [one.sparse.seismic for one in metas.values() if one.sparse]),
            first.dense,
            first.query_weights if same_weights else None,
            first.ledger if same_ledger else None,
            first.passages,
            first.added,
            first.kept,
        )

    @classmethod
    def _parse(cls, index: str, mappings: Mapping[str, Any]) -> IndexMeta:
        parts = mappings.get("_meta", {}).get("opensearch_splade")
        if parts is None:
            raise TargetError(
                f"index {index!r} was not made by opensearch-splade: its mapping has no _meta.opensearch_splade; "
                "make a new index and ingest or migrate into it"
            )
        types: dict[str, Callable[..., Any]] = {
            "sparse": SparseMeta.from_json,
            "dense": DenseMeta,
            "query_weights": QueryWeightsMeta,
            "ledger": LedgerMeta,
            "passages": PassagesMeta,
            "added": AddedMeta,
            "kept": KeptMeta,
        }
        try:
            return cls(**{part: types[part](**values) for part, values in parts.items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TargetError(
                f"index {index!r}: _meta.opensearch_splade cannot be read ({error}); it was edited by hand or "
                "written by a newer version of opensearch-splade"
            ) from error

    def check_fingerprints(self, index: str, *, sparse: str | None = None, dense: str | None = None) -> None:
        """Refuse vectors of another bundle than the one that encoded the index.

        Args:
            index: Named in the error.
            sparse: Fingerprint of the sparse vectors to be written or asked with; None where there are none.
            dense: The same for dense vectors.

        Raises:
            TargetError: A fingerprint differs.
        """
        for kind, given, own in (("sparse", sparse, self.sparse), ("dense", dense, self.dense)):
            if given is not None and own is not None and given != own.fingerprint:
                raise TargetError(
                    f"index {index!r} holds {kind} vectors of bundle {own.bundle!r} (fingerprint {own.fingerprint}), "
                    f"but the bundle given has fingerprint {given}: use {own.bundle!r}, "
                    "or encode the documents anew into another index"
                )


def _vectors(meta: IndexMeta) -> tuple[object, ...]:
    """What must be the same behind one alias."""
    sparse = meta.sparse
    same = (sparse.field, replace(sparse, seismic=None)) if sparse else (None, None)
    return (*same, meta.dense, meta.passages, meta.added, meta.kept)


def _with_lowest_ceilings(sparse: SparseMeta | None, found: list[SeismicMeta | None]) -> SparseMeta | None:
    seismic = [one for one in found if one]
    if sparse is None or not seismic:
        return sparse
    lowest = SeismicMeta(
        min(one.ceiling_ingest for one in seismic),
        min(one.ceiling_search for one in seismic),
        min(one.threshold for one in seismic),
    )
    return replace(sparse, seismic=lowest)
