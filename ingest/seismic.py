"""SEISMIC: what an index with a ``sparse_vector`` field has to know before its first document.

Segments of ``threshold`` documents and more hold each weight as one of 255 steps up to a ceiling, and cut what is above
it. The server's ceilings (3 for documents, 16 for questions) fit no particular model, and neither can be changed later,
so both are taken from a sample of what is to be ingested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from opensearch_splade.errors import SourceError, TargetError
from opensearch_splade.index_meta import IndexMeta, SeismicMeta, SparseField
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.index import SPARSE_VECTOR
from opensearch_splade.types import Capabilities, Document

SAMPLE = 256
"""Documents. The largest weight of so many SciFact abstracts is exceeded by 2 of 100,000 weights of all 5,183."""
HEADROOM = 1.1
"""Ceiling over the sample's largest weight. The largest and no quantile, because what is cut are the strongest
features, which decide rankings; a tenth more range makes a rounding error of .2 % of the ceiling a tenth larger."""
THRESHOLD = 1_000_000
"""The server's own ``approximate_threshold``: below it exact scoring is fast enough."""
_LARGEST_ID = 32_767
_DEFAULT_CEILINGS = (3.0, 16.0)  # the server's, where a sample has no weights at all
_QUESTION = 100  # characters of a text that stand for a question where there is no title
_HEAP_BYTES = 1_000  # of a document: 1 GB for a million (OpenSearch's performance guide for sparse ANN)
_HEAP_SHARE = 0.1  # plugins.neural_search.circuit_breaker.limit


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """The sparse field of an index that is to be made.

    Attributes:
        kind: What was asked for; None takes what an existing index has, and ``rank_features`` for a new one.
        threshold: Documents of a segment from which on SEISMIC is used; None: ``THRESHOLD``.
        ceiling_ingest: Replaces the one found in the sample.
        ceiling_search: The same for questions.
        sample: Records to look at for the ceilings.
    """

    kind: SparseField | None = None
    threshold: int | None = None
    ceiling_ingest: float | None = None
    ceiling_search: float | None = None
    sample: int = SAMPLE

    @property
    def needs_sample(self) -> bool:
        """Whether a ceiling is to be found."""
        return self.ceiling_ingest is None or self.ceiling_search is None


def field_of(index: str, found: IndexMeta, wanted: FieldOptions) -> SeismicMeta | None:
    """The kind of field that an existing index has, which it keeps.

    Raises:
        TargetError: Another one is wanted.
    """
    if found.sparse is None:
        return None
    if wanted.kind and wanted.kind != found.sparse.field:
        raise TargetError(
            f"index {index!r} has a {found.sparse.field} field, and a field's kind is fixed when its index is made: "
            f"leave out --sparse-field, or ingest into a new index for {wanted.kind}"
        )
    for name in ("threshold", "ceiling_ingest", "ceiling_search"):
        has, given = getattr(found.sparse.seismic, name, None), getattr(wanted, name)
        if given is not None and given != has:
            option = f"--seismic-{name.replace('_', '-')}"
            raise TargetError(
                f"index {index!r} was made with {option} {has:g}, which cannot be changed to {given:g}: "
                f"leave out {option}, or ingest into a new index"
            )
    return found.sparse.seismic


def check_seismic(sparse: SparseEncoder, dense: DenseEncoder | None, capabilities: Capabilities) -> None:
    """Refuses what SEISMIC cannot hold, before anything is encoded.

    Raises:
        CapabilityError: The server is older than 3.3 or lacks the neural-search plugin.
        TargetError: A kNN field is wanted beside it, or the vocabulary is too large.
    """
    capabilities.require(SPARSE_VECTOR)
    if dense:
        raise TargetError(
            "--sparse-field sparse_vector goes without --dense-bundle: an index cannot have both a sparse_vector and a "
            "kNN field; ingest into two indices, or take rank_features beside the dense bundle"
        )
    largest = max(sparse.token_ids.values(), default=0)
    if largest > _LARGEST_ID:
        # neural-search issue 1925: 3.3 to 3.8 fold ids into 16 signed bits and fail in large segments; with its mend
        # (3.9) ids fold modulo 32,768, so that two features become one.
        raise TargetError(
            f"bundle {sparse.bundle.manifest.name!r} has token ids up to {largest:,}, and a sparse_vector field tells "
            f"only those up to {_LARGEST_ID:,} apart (neural-search issue 1925): take --sparse-field rank_features, or "
            "a model with a smaller vocabulary, such as one on bert-base-uncased"
        )


def sampled(
    records: Iterator[Document | DeadLetter], count: int
) -> tuple[list[Document], Iterator[Document | DeadLetter]]:
    """The documents among the first records of a source, and the whole source all the same.

    Where it breaks off that early it does so again when it is read, so that what comes before is done first.
    """
    seen: list[Document | DeadLetter] = []
    try:
        seen.extend(islice(records, count))
    except SourceError as error:
        records = _broken(error)
    return [record for record in seen if isinstance(record, Document)], chain(seen, records)


def _broken(error: SourceError) -> Iterator[Document | DeadLetter]:
    yield from ()
    raise error


def choose(sparse: SparseEncoder, options: FieldOptions, sample: Sequence[Document]) -> SeismicMeta:
    """Ceilings for what is to be ingested and asked.

    Questions are the sample's titles, and of an inference-free encoder its whole table. Other query sides of the same
    index may weigh more; the searcher brings their questions under the ceiling, which changes no ranking.
    """
    default_ingest, default_search = _DEFAULT_CEILINGS
    return SeismicMeta(
        options.ceiling_ingest or _ceiling(_document_weights(sparse, sample), default_ingest),
        options.ceiling_search or _ceiling(_query_weights(sparse, sample), default_search),
        THRESHOLD if options.threshold is None else options.threshold,
    )


def _ceiling(weights: Iterable[float], default: float) -> float:
    largest = max(weights, default=0.0)
    return float(f"{largest * HEADROOM:.4g}") if largest > 0 else default


def _document_weights(sparse: SparseEncoder, sample: Sequence[Document]) -> Iterator[float]:
    vectors = sparse.encode_documents(document.passage for document in sample)
    yield float(vectors.weights.max(initial=0.0))


def _query_weights(sparse: SparseEncoder, sample: Sequence[Document]) -> Iterator[float]:
    if (largest := sparse.largest_query_weight) is not None:
        yield largest
        return
    questions = [document.title or document.text[:_QUESTION] for document in sample]
    yield float(sparse.encode_queries(questions).weights.max(initial=0.0))


def is_ever_used(seismic: SeismicMeta, documents: int, shards: int) -> bool:
    """Whether a segment can reach the threshold, if each shard became one."""
    return documents / shards >= seismic.threshold


def heap_bytes(documents: int) -> tuple[int, int]:
    """Java heap that SEISMIC's caches take over all nodes, and that all nodes need so that they may take it."""
    cached = documents * _HEAP_BYTES
    return cached, round(cached / _HEAP_SHARE)
