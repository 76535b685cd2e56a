"""Reader: the next documents of a shard, and how far they reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from opensearch_splade.ingest.content import content_hash
from opensearch_splade.migration.documents import documents
from opensearch_splade.migration.history import History
from opensearch_splade.migration.job import Job
from opensearch_splade.types import Document, Json

CHUNK = 20_000
"""Documents after which is noted how far a shard was brought over: so many at most are read again after a crash."""


@dataclass
class ShardReader:
    """Some documents of a shard.

    Attributes:
        job: Begun.
        history: The shard.
        after: The last sequence number that is known.
        upto: Its checkpoint.
        encoded_already: In place: documents that have their vector, and so are not given.
        last: The sequence number up to which everything was given.
    """

    job: Job
    history: History
    after: int
    upto: int
    encoded_already: int = 0
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.after

    def __iter__(self) -> Iterator[Document]:
        read = 0
        for hits in self.history.read(self.after, self.upto):
            for hit, document in zip(hits, self._documents(hits), strict=True):
                if self.job.in_place and self._is_encoded(hit, document):
                    self.encoded_already += 1
                else:
                    yield document
                self.last = hit["_seq_no"]
            read += len(hits)
            if read >= CHUNK:
                return
        self.last = self.upto

    def _documents(self, hits: list[Json]) -> Iterator[Document]:
        spec, kept = self.job.spec, self.job.rules.kept
        return documents(hits, kept, in_place=self.job.in_place, vectors=spec.vectors, drop=spec.drop)

    def _is_encoded(self, hit: Json, document: Document) -> bool:
        """Whoever wrote it last, the document itself says what it was encoded from."""
        source, meta = hit["_source"], self.job.meta
        is_marked = tuple(source.get(meta.name("encoded"), ())) == self.job.marker
        return is_marked and source.get(meta.name("hash")) == content_hash(document)
