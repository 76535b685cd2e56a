"""Serialiser: encoded documents to the bytes that the bulk writer sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

import orjson

from opensearch_splade.index_meta import IndexMeta, PassageStore, SeismicMeta
from opensearch_splade.ingest.bulk import Action
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.passages import Passage
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.term_budget import PruningRule
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.sparse_rows import EMPTY, SparseRow, maximum, stack
from opensearch_splade.types import Document, Features, Json, passage_id


class Encoded(NamedTuple):
    """A document and its vectors.

    Attributes:
        document: As the source has it.
        hash: Its content hash.
        passages: At least one.
        features: Added ones of the sparse field.
        static: Those with fields of their own.
        rows: One for each passage that is kept.
        vectors: Dense ones, where the index has a field for them: one a document, or one a passage where passages are
            documents.
    """

    document: Document
    hash: str
    passages: Sequence[Passage]
    features: Features
    static: Features
    rows: Sequence[SparseRow]
    vectors: Sequence[Any] = ()


@dataclass(frozen=True)
class Serialiser:
    """Prune, codec, JSON.

    Attributes:
        sparse: Whose vocabulary names the features.
        marker: What the ``encoded`` field says.
        pruning: Applied to sparse vectors.
        store: How passages lie in the index; empty where documents are not cut.
        seismic: Of a ``sparse_vector`` field, whose keys are token ids; None: names.
        kept: Of documents that are written as they were, with our fields beside theirs.
    """

    sparse: SparseEncoder
    marker: Sequence[str] = ()
    pruning: PruningRule | None = None
    store: PassageStore | Literal[""] = ""
    seismic: SeismicMeta | None = None
    kept: KeptMeta | None = None

    def actions(self, encoded: Sequence[Encoded], report: IngestReport) -> list[list[Action]]:
        """The actions of each document, in order; what is worth knowing is added to ``report``."""
        kept = [sum(passage.kept for passage in one.passages) for one in encoded]
        passages = sum(len(one.passages) for one in encoded)
        report.passages += passages
        report.gated += passages - sum(kept)
        if self.store in {"", "max"}:
            rows = [maximum(one.rows[:count]) if count else EMPTY for one, count in zip(encoded, kept, strict=True)]
            kept = [1] * len(encoded)
        else:
            rows = list(chain.from_iterable(one.rows[:count] for one, count in zip(encoded, kept, strict=True)))
        named = iter(self._named(rows, report))
        each = [list(islice(named, count)) for count in kept]
        report.featureless += sum(not any(vectors) for vectors in each)
        return [self._of(one, vectors) for one, vectors in zip(encoded, each, strict=True)]

    def _named(self, rows: Sequence[SparseRow], report: IngestReport) -> Iterable[Features]:
        vectors = stack(rows)
        vectors = encode_weights(self.pruning.apply(vectors) if self.pruning else vectors)
        report.features += len(vectors.weights)
        if self.seismic is None:
            return (self.sparse.features(*row) for row in vectors)
        report.clipped += int((vectors.weights > self.seismic.ceiling_ingest).sum())
        return (dict(zip(map(str, ids.tolist()), weights.tolist(), strict=True)) for ids, weights in vectors)

    def _of(self, one: Encoded, vectors: list[Features]) -> list[Action]:
        if self.store == "documents":
            return list(self._passage_documents(one, vectors))
        body = self._common(one)
        if self.store == "nested":
            kept = [passage for passage in one.passages if passage.kept]
            if one.features and not kept:  # which are the document's, whatever its text is worth
                kept, vectors = [Passage(0, len(one.document.text))], [{}]
            body["passages"] = [
                {"start": passage.start, "end": passage.end, "sparse": {**vector, **one.features}}
                for passage, vector in zip(kept, vectors, strict=True)
            ]
        else:
            body["sparse"] = {**vectors[0], **one.features}
        if one.vectors:
            body["dense"] = one.vectors[0]
        return [_action(one.document, self._as_it_was(one, body) if self.kept else body)]

    def _as_it_was(self, one: Encoded, body: Json) -> Json:
        """All that the document had, and what we add."""
        name = IndexMeta(kept=self.kept).name
        ours = {name(key): value for key, value in body.items() if key not in {"title", "text", "metadata"}}
        return {**one.document.metadata, **ours}

    def _passage_documents(self, one: Encoded, vectors: list[Features]) -> Iterator[Action]:
        each = iter(vectors)
        for number, passage in enumerate(one.passages):
            body = self._common(one)
            body["text"] = one.document.text[passage.start : passage.end]
            body |= {"number": number, "passage_count": len(one.passages), "start": passage.start, "end": passage.end}
            body["sparse"] = {**(next(each) if passage.kept else {}), **one.features}
            if one.vectors:
                body["dense"] = one.vectors[number]
            yield _action(replace(one.document, id=passage_id(one.document.id, number)), body)

    def _common(self, one: Encoded) -> Json:
        document = one.document
        body: Json = {"id": document.id, "text": document.text, "encoded": list(self.marker), "hash": one.hash}
        if document.title:
            body["title"] = document.title
        if document.metadata:
            body["metadata"] = document.metadata
        if one.static:
            body["static"] = one.static
        return body


def _action(document: Document, body: Json) -> Action:
    # A copy: orjson's own bytes keep the room that they were written in, three times what a document needs.
    source = bytes(memoryview(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)))
    return Action(document.id, source, document.routing, document.version)
