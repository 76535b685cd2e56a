"""Stored vectors: what an index holds, read back into arrays for inspection.

A document takes some 8 bytes a feature here, 8 more a distinct word of its text, and 4 a dense component. Memory is
bounded by the number of documents: the whole index, or a sample that is the same for the same seed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import TargetError
from opensearch_splade.plugin.scan import SOURCES_PAGE, Stored, scan, scan_sources
from opensearch_splade.plugin.stored_passages import stored_passages
from opensearch_splade.plugin.stored_sources import stored_sources
from opensearch_splade.types import Capabilities, Features, Json, SparseVectors, passage_id

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Words = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""The features that each text consists of, as often as they stand there."""

MOST = 50_000
"""Documents that are read unless told otherwise: 1 GB at the peak, with 250 features and 384 components each."""
_FIELDS = ("id", "sparse", "dense", "passages")
_TEXT_FIELDS = ("title", "text")


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """Vectors of documents in the order of the index.

    Attributes:
        ids: Of documents.
        documents: Shape ``(rows,)``: which document each sparse vector is of; several rows of one are its passages.
        sparse: A row a vector, numbered by ``numbers``.
        words: A row a vector, weighted by how often each word stands in its text; None if texts were not read.
        dense: Shape ``(vectors, dimension)``, float32; None where there are none.
        dense_documents: Shape ``(vectors,)``: which document each dense vector is of.
        numbers: Feature to number; may be added to for questions.
        total: Documents of the index.
        sampled: How many of ``ids`` are inspected; the others were asked for by name and serve rankings alone.
    """

    ids: Sequence[str]
    documents: npt.NDArray[np.int64]
    sparse: SparseVectors
    words: SparseVectors | None
    dense: npt.NDArray[np.float32] | None
    dense_documents: npt.NDArray[np.int64]
    numbers: dict[str, int]
    total: int
    sampled: int

    def sample(self) -> StoredVectors:
        """Only what is inspected: views, not copies."""
        rows = int(np.searchsorted(self.documents, self.sampled)) if len(self.ids) > self.sampled else len(self.sparse)
        vectors = int((self.dense_documents < self.sampled).sum())
        return StoredVectors(
            self.ids[: self.sampled],
            self.documents[:rows],
            first_rows(self.sparse, rows),
            first_rows(self.words, rows) if self.words else None,
            self.dense[:vectors] if self.dense is not None else None,
            self.dense_documents[:vectors],
            self.numbers,
            self.total,
            self.sampled,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of an index.

    Attributes:
        index: Its name.
        store: How passages lie in it; empty where documents are whole.
        sample: Documents at most; the same ones for the same seed, whatever their order.
        seed: Chooses them.
        named: Documents that are read beside the sample, for rankings: the judged ones.
        names: What a key of the sparse field is called, where it is not the feature itself.
        words: Splits texts into features; None reads no texts.
    """

    index: str
    store: str = ""
    sample: int = MOST
    seed: int = 0
    named: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    words: Words | None = None


def read_vectors(
    client: OpenSearch,
    capabilities: Capabilities,
    reading: Reading,
    on_read: Callable[[int, int], None] = lambda *_: None,
) -> StoredVectors:
    """Reads the index, or a sample where it has more documents than wanted.

    Args:
        client: Connected to the cluster.
        capabilities: What the server can do.
        reading: What to read.
        on_read: Told how many documents came of how many.

    Raises:
        TargetError: There is no such index, or it is empty.
        CapabilityError: The server has no point in time.
        ClusterError: The cluster does not answer or refuses, or a shard fails.
    """
    chosen, total = _choose(scan(client, reading.index, capabilities), reading)
    if not total:
        raise TargetError(f"index {reading.index!r} holds no documents, so there is nothing to inspect.")
    builder = _Builder(reading)
    fields = (*_FIELDS, *(_TEXT_FIELDS if reading.words else ()))
    if len(chosen) == total:
        pages: Iterable[Sequence[Json]] = (
            [hit["_source"] for hit in hits] for hits in scan_sources(client, reading.index, capabilities, fields)
        )
    else:
        pages = _named(client, reading, chosen, fields)
    for page in pages:
        builder.add(page)
        on_read(len(builder.places), len(chosen))
    sampled = len(builder.places)
    if len(chosen) < total:
        for page in _named(client, reading, _beside(client, reading, builder.places), fields):
            builder.add(page)
    return builder.done(total, sampled)


def _choose(pages: Iterable[Sequence[Stored]], reading: Reading) -> tuple[dict[str, int], int]:
    """The documents whose seeded hashes are smallest, in the order of the index, with their passages; and the total."""
    key = reading.seed.to_bytes(8, "little", signed=True)
    smallest: list[tuple[int, int, str, int]] = []  # minus the hash: the largest is at the front
    seen, total, place = set[str](), 0, 0
    for page in pages:
        for one in page:
            if one.parts > 1:  # each passage comes by itself
                if one.id in seen:
                    continue
                seen.add(one.id)
            total, place = total + 1, place + 1
            rank = -int.from_bytes(blake2b(one.id.encode("utf-8", "surrogatepass"), digest_size=7, key=key).digest())
            push = heapq.heappush if len(smallest) < reading.sample else heapq.heappushpop
            push(smallest, (rank, place, one.id, one.parts))
    return {id_: parts for _, _, id_, parts in sorted(smallest, key=lambda one: one[1])}, total


def _beside(client: OpenSearch, reading: Reading, have: Mapping[str, int]) -> dict[str, int]:
    """The documents that are read by name, with their passages."""
    wanted = [id_ for id_ in reading.named if id_ not in have]
    if reading.store != "documents":
        return dict.fromkeys(wanted, 1)
    parts: dict[str, int] = {}
    for start in range(0, len(wanted), SOURCES_PAGE):
        parts |= stored_passages(client, reading.index, wanted[start : start + SOURCES_PAGE])
    return parts


def _named(
    client: OpenSearch, reading: Reading, parts: Mapping[str, int], fields: Sequence[str]
) -> Iterator[list[Json]]:
    wanted = list(parts)
    if reading.store == "documents":
        wanted = [passage_id(id_, number) for id_, count in parts.items() for number in range(count)]
    for start in range(0, len(wanted), SOURCES_PAGE):
        yield stored_sources(client, reading.index, wanted[start : start + SOURCES_PAGE], fields)


class _Builder:
    """Grows the arrays."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.places: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._documents: list[int] = []
        self._sparse: list[SparseVectors] = []
        self._words: list[SparseVectors] = []
        self._dense: list[npt.NDArray[np.float32]] = []
        self._dense_documents: list[int] = []

    def add(self, sources: Sequence[Json]) -> None:
        """Some documents of the index."""
        rows, texts, dense = list[Features](), list[str](), list[list[float]]()
        for source in sources:
            place = self.places.setdefault(source["id"], len(self.places))
            for features, text in _passages(source, self._reading.store):
                rows.append(features)
                texts.append(text)
                self._documents.append(place)
            if vector := source.get("dense"):
                dense.append(vector)
                self._dense_documents.append(place)
        names = self._reading.names
        if names:
            rows = [{names.get(key, key): weight for key, weight in row.items()} for row in rows]
        self._sparse.append(numbered(rows, self._numbers))
        if self._reading.words:
            self._words.append(numbered(list(map(Counter, self._reading.words(texts))), self._numbers))
        if dense:
            self._dense.append(np.array(dense, np.float32))

    def done(self, total: int, sampled: int) -> StoredVectors:
        """All of it."""
        return StoredVectors(
            list(self.places),
            np.array(self._documents, np.int64),
            joined(self._sparse),
            joined(self._words) if self._reading.words else None,
            np.concatenate(self._dense) if self._dense else None,
            np.array(self._dense_documents, np.int64),
            self._numbers,
            total,
            sampled,
        )


def _passages(source: Json, store: str) -> Iterator[tuple[Features, str]]:
    """The features of each vector and the text that it is of."""
    title, text = source.get("title", ""), source.get("text", "")
    if store != "nested":
        yield source.get("sparse") or {}, f"{title} {text}"
        return
    for passage in source.get("passages", ()):
        yield passage.get("sparse") or {}, f"{title} {text[passage['start'] : passage['end']]}"


def numbered(rows: Sequence[Mapping[str, float]], numbers: dict[str, int]) -> SparseVectors:
    """Rows by name as arrays; new names get the next numbers."""
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    ids = np.array([numbers.setdefault(name, len(numbers)) for row in rows for name in row], np.int32)
    weights = np.array([weight for row in rows for weight in row.values()], np.float32)
    order = np.lexsort((ids, np.repeat(np.arange(len(rows)), np.diff(indptr))))
    return SparseVectors(indptr, ids[order], weights[order])


def joined(parts: Sequence[SparseVectors]) -> SparseVectors:
    """Rows of all parts."""
    if not parts:
        return SparseVectors(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    ids, weights = [part.token_ids for part in parts], [part.weights for part in parts]
    return SparseVectors(indptr, np.concatenate(ids), np.concatenate(weights))


def first_rows(vectors: SparseVectors, rows: int) -> SparseVectors:
    """The first rows, as views."""
    end = int(vectors.indptr[rows])
    return SparseVectors(vectors.indptr[: rows + 1], vectors.token_ids[:end], vectors.weights[:end])


def rows_of(vectors: SparseVectors) -> npt.NDArray[np.int64]:
    """The row of each feature."""
    return np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))


def kept(vectors: SparseVectors, keep: npt.NDArray[np.bool_]) -> SparseVectors:
    """The same rows with only these features; a row may become empty."""
    indptr = np.zeros_like(vectors.indptr)
    np.cumsum(np.bincount(rows_of(vectors)[keep], minlength=len(vectors)), out=indptr[1:])
    return SparseVectors(indptr, vectors.token_ids[keep], vectors.weights[keep])
