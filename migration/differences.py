"""Differences: what is wrong with a document of the new index, told from what both indices hold under its id.

Pure: hits in, words out. That two documents say the same is told from all that they say, not from the ``hash`` field,
which someone who changed the text by hand left as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from opensearch_splade.errors import DocumentError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.codec import RELATIVE_ERROR
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.migration.documents import documents
from opensearch_splade.plugin.scan import Stored
from opensearch_splade.types import Document, Features, Json

Kind = Literal["lost", "extra", "duplicate", "content", "stale", "marker", "vector", "score"]
KINDS: dict[Kind, str] = {
    "lost": "in the old index, not in the new one",
    "extra": "in the new index, not in the old one",
    "duplicate": "more often in the new index than in the old one",
    "content": "another content in the new index than in the old one",
    "stale": "encoded from another content than it has",
    "marker": "encoded by other bundles than this migration's",
    "vector": "another vector than its text gives",
    "score": "a score of the server that is not question times vector",
}
REPAIRABLE: set[Kind] = {"lost", "content", "stale", "marker", "vector"}
"""What is well once the document is brought over again."""

STEP = 2 * RELATIVE_ERROR
"""Largest relative distance of neighbours among the weights that a field can hold: how far rounding may part the same
weight, computed twice."""
FAINT = 1e-3
"""A weight that may be there or not: one so small that it depends on the order in which floats were added up."""
DENSE_ERROR = 1e-3
"""Largest distance of a component of the same dense vector, computed twice."""


class Difference(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: See ``KINDS``.
        id: Of the document.
        what: In words, where there is more to say.
    """

    kind: Kind
    id: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class HitReader:
    """How hits of a migration's indices are read.

    Attributes:
        meta: What the new index says of itself.
        marker: The fingerprints that each document must be encoded by.
        vectors: Field of the vectors that documents bring along, if they do.
        drop: Fields that the new index does without.
    """

    meta: IndexMeta
    marker: frozenset[str]
    vectors: str = ""
    drop: tuple[str, ...] = ()

    def document(self, hit: Json) -> Document:
        """What the hit says, without our fields."""
        return next(documents([hit], self.meta.kept, vectors=self.vectors, drop=self.drop))

    def content(self, hit: Json) -> str:
        """Hash of it; empty for what cannot be written, such as a number of 80 bits."""
        try:
            return content_hash(self.document(hit))
        except DocumentError:
            return ""

    def claimed(self, hit: Json) -> str:
        """Hash of what it was encoded from, as it says itself."""
        return str(hit["_source"].get(self.meta.name("hash"), ""))

    def encoded(self, hit: Json) -> frozenset[str]:
        """The bundles that it says."""
        found = hit["_source"].get(self.meta.name("encoded"), ())
        return frozenset([found] if isinstance(found, str) else found)

    def stored(self, hit: Json) -> Stored:
        """As an audit takes it: where content and claim do not agree, it is the content of no document."""
        content = self.content(hit)
        return Stored(hit["_id"], content if content == self.claimed(hit) else "", self.encoded(hit))

    def differences(self, id_: str, old: Sequence[Json], new: Sequence[Json]) -> list[Difference]:
        """What is wrong with the documents of one id.

        Args:
            id_: The id.
            old: What the old index holds under it: mostly one hit, none, or one a routing.
            new: What the new one holds.
        """
        return list(self._differences(id_, old, new))

    def _differences(self, id_: str, old: Sequence[Json], new: Sequence[Json]) -> Iterator[Difference]:
        wanted, there = Counter(map(self.content, old)), Counter(map(self.content, new))
        if len(new) > len(old):
            kind: Kind = "duplicate" if old else "extra"
            yield Difference(kind, id_, f"{len(new)} there, {len(old)} in the old index" if old else "")
        elif len(new) < len(old):
            yield Difference("lost", id_, f"{len(new)} there, {len(old)} in the old index" if new else "")
        elif wanted != there:
            yield Difference("content", id_, self._fields(old[0], new[0]) if len(old) == 1 else "")
        if not old:
            return
        if any(self.claimed(hit) != self.content(hit) for hit in new):
            yield Difference("stale", id_, "its hash is another than that of its content")
        if any(self.encoded(hit) != self.marker for hit in new):
            told = sorted({one for hit in new for one in self.encoded(hit)})
            yield Difference("marker", id_, f"encoded by {', '.join(told) or 'nothing'}")

    def _fields(self, old: Json, new: Json) -> str:
        """Which fields say something else."""
        before, after = self.document(old), self.document(new)
        names = sorted(
            name
            for name in before.metadata.keys() | after.metadata.keys()
            if before.metadata.get(name) != after.metadata.get(name)
        )
        if self.meta.kept is None:
            names += [name for name in ("title", "text") if getattr(before, name) != getattr(after, name)]
        return f"other {', '.join(names)[:200]}" if names else ""


def feature_difference(expected: Features, stored: Features) -> str:
    """The largest difference of two vectors that is no rounding, in words; empty where there is none."""
    worst, told = 0.0, ""
    for feature in expected.keys() | stored.keys():
        wanted, found = expected.get(feature, 0.0), stored.get(feature, 0.0)
        distance = abs(wanted - found)
        if distance > max(STEP * max(wanted, found), 0.0 if min(wanted, found) else FAINT) and distance > worst:
            worst, told = distance, f"the feature {feature!r} weighs {found:.6g}, its text gives {wanted:.6g}"
    return told


def component_difference(expected: Sequence[float], stored: Sequence[float]) -> str:
    """The same of dense vectors."""
    if len(expected) != len(stored):
        return f"{len(stored)} components, its text gives {len(expected)}"
    worst = max((abs(one - other) for one, other in zip(expected, stored, strict=True)), default=0.0)
    return f"a component of the dense vector is off by {worst:.3g}" if worst > DENSE_ERROR else ""


def by_id(hits: Iterable[Json]) -> dict[str, list[Json]]:
    """Hits of the same id together."""
    found: dict[str, list[Json]] = {}
    for hit in hits:
        found.setdefault(hit["_id"], []).append(hit)
    return found


def state(hits: Sequence[Json]) -> tuple[tuple[int, int], ...]:
    """Which writes these hits are of: as long as it is the same, nobody wrote."""
    return tuple(sorted((hit["_seq_no"], hit["_primary_term"]) for hit in hits))
