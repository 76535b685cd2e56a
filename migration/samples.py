"""Samples: vectors that are encoded anew, and scores of the server held against the exact product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import QueryError
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.migration.differences import (
    Difference,
    HitReader,
    component_difference,
    feature_difference,
)
from opensearch_splade.query import Searcher
from opensearch_splade.query.leg_scores import SUM_TOLERANCE
from opensearch_splade.types import Document, Json

if TYPE_CHECKING:
    from opensearch_splade.migration.job import Job
    from opensearch_splade.migration.verification import Verification

WORDS = 8
"""Of a document's text that make a question where it has no title."""
HITS = 10


Pair = tuple[Document, Json]
"""What the old index says, and the hit of the new one that was encoded from it."""


def comparable(reader: HitReader, pairs: Mapping[str, tuple[Sequence[Json], Sequence[Json]]]) -> list[Pair]:
    """Those that say the same in both: what does not is a difference of its own, or was written just now.

    Args:
        reader: Of hits.
        pairs: Id to what the old and the new index hold under it.
    """
    return [
        (reader.document(old[0]), new[0])
        for old, new in pairs.values()
        if len(old) == len(new) == 1 and reader.content(old[0]) == reader.claimed(new[0])
    ]


def question_of(document: Document) -> str:
    """A question that finds it, most likely."""
    return document.title or " ".join(document.text.split()[:WORDS])


def wrong_vectors(job: Job, pairs: Sequence[Pair]) -> Iterator[Difference]:
    """Documents whose vectors are not what their text gives."""
    if not pairs:
        return
    # What the index would be sent is what it must hold.
    actions = job.encoder().actions([document for document, _ in pairs], IngestReport())
    sparse, dense = job.meta.name("sparse"), job.meta.name("dense")
    for action, (_, hit) in zip(actions, pairs, strict=True):
        expected, stored = orjson.loads(action.source or b"{}"), hit["_source"]
        of_features = feature_difference(expected.get(sparse, {}), stored.get(sparse) or {})
        of_components = component_difference(expected.get(dense, ()), stored.get(dense) or ())
        for what in filter(None, (of_features, of_components)):
            yield Difference("vector", action.id, what)


def wrong_scores(job: Job, texts: Sequence[str], found: Verification) -> Iterator[Difference]:
    """Hits whose score is not the sum over shared features of the question's weight times the stored one.

    Args:
        job: Whose new index is asked.
        texts: The questions.
        found: Where questions and scores are counted; none where scores are approximate, or only others can encode
            questions.
    """
    if job.rules.seismic or job.spec.foreign:
        return
    searcher = Searcher(job.client, job.spec.target, capabilities=job.capabilities, sparse=job.sparse)
    for text in texts:
        try:
            result = searcher.search(text, mode="weighted-terms", size=HITS, explain=True)
        except QueryError:  # no feature at all
            continue
        found.questions += 1
        for hit in result.hits:
            found.scores += 1
            exact = sum(part.score for part in hit.why)
            if abs(exact - hit.score) > SUM_TOLERANCE * max(abs(exact), abs(hit.score)):
                what = f"the question {text[:60]!r} scores {hit.score:.6g}, its vector gives {exact:.6g}"
                yield Difference("score", hit.id, what)
