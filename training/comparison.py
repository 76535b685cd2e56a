"""Comparison: the bundle that came out against the one that it began with, on questions neither was trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.significance import confidence_intervals, randomisation_test
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Device, SparseEncoder
from opensearch_splade.onnx_models.query_tables import count_idf
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lessons import Lessons
from opensearch_splade.types import Document, SparseVectors

_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Side:
    """A bundle as measured.

    Attributes:
        ndcg: nDCG@10, the mean of all questions.
        terms: Of a document.
        bytes: Size of the bundle.
        documents_per_second: Encoded here, with whatever else the machine did.
    """

    ndcg: float
    terms: float
    bytes: int
    documents_per_second: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both bundles on the same questions.

    Attributes:
        name: Of the questions.
        questions: How many.
        old: The bundle before.
        new: The bundle that came out.
        interval: 95 % of the difference of nDCG@10.
        p_value: Of the paired randomisation test.
    """

    name: str
    questions: int
    old: Side
    new: Side
    interval: tuple[float, float]
    p_value: float

    @classmethod
    def of(cls, name: str, sides: Sequence[tuple[Side, npt.NDArray[np.float64]]]) -> Comparison:
        """Of two sides and each question's nDCG@10."""
        (old, before), (new, after) = sides
        [interval] = confidence_intervals((after - before)[:, None])
        return cls(name, len(before), old, new, interval, randomisation_test(after - before))


def on_held_back(bundles: Sequence[str], taught: Sequence[Lessons], device: Device) -> Comparison:
    """On the held-back questions of all sources, each source with its own idf."""
    return Comparison.of("held-back questions", [_held_back(bundle, taught, device) for bundle in bundles])


def on_collection(bundles: Sequence[str], collection: Collection, device: Device, terms: float | None) -> Comparison:
    """On a judged collection, all of it, with its idf and exact scores of stored weights.

    Args:
        bundles: The old one and the new one.
        collection: Questions, judgements and the source of its documents.
        device: Where they run.
        terms: Documents keep their strongest so many terms, as with ``--prune top_k``.
    """
    return Comparison.of(collection.name, sides_on_collection(bundles, collection, device, terms))


def sides_on_collection(
    bundles: Sequence[str], collection: Collection, device: Device, terms: float | None
) -> list[tuple[Side, npt.NDArray[np.float64]]]:
    """As ``on_collection``, any number of bundles: each one's figures, and its nDCG@10 of every question."""
    documents = [one for one in read_source(collection.source) if isinstance(one, Document)]
    return [_collection(bundle, collection, documents, device, terms) for bundle in bundles]


def _held_back(bundle: str, taught: Sequence[Lessons], device: Device) -> tuple[Side, npt.NDArray[np.float64]]:
    found, terms, seconds, size = list[float](), 0, 0.0, 0
    for one in taught:
        encoder = _asking(bundle, [document.passage for document in one.documents], device)
        vectors, taken = _encoded(encoder, one.held.texts)
        found += _ndcg(encoder, vectors, one.held)
        terms, seconds, size = terms + len(vectors.weights), seconds + taken, encoder.bundle.size
    count = sum(len(one.held.texts) for one in taught)
    return _side(found, terms / max(1, count), size, count / seconds)


def _collection(
    bundle: str, collection: Collection, documents: Sequence[Document], device: Device, terms: float | None
) -> tuple[Side, npt.NDArray[np.float64]]:
    texts = [document.passage for document in documents]
    encoder = _asking(bundle, texts, device)
    vectors, seconds = _encoded(encoder, texts)
    if terms:
        vectors = Pruning("top_k", round(terms)).apply(vectors)
    index = ExactIndex([document.id for document in documents], encode_weights(vectors))
    asked = encoder.encode_queries(list(collection.queries.values()))
    run = dict(zip(collection.queries, index.rank(asked, _DEPTH), strict=True))
    [found] = measure_each(run, collection.qrels, ["nDCG@10"]).values()
    return _side(
        list(found.values()), len(vectors.weights) / max(1, len(texts)), encoder.bundle.size, len(texts) / seconds
    )


def _side(found: list[float], terms: float, size: int, speed: float) -> tuple[Side, npt.NDArray[np.float64]]:
    scores = np.array(found)
    return Side(float(scores.mean()), terms, size, speed), scores


def _asking(bundle: str, texts: Sequence[str], device: Device) -> SparseEncoder:
    """A bundle that weighs questions by the idf of these texts, unless it asks by a model or a table of its own."""
    encoder = SparseEncoder.load(bundle, device)
    if encoder.query_side != "inference-free" or encoder.bundle.manifest.query_weights == "table":
        return encoder
    idf = count_idf(texts, encoder.tokenizer, encoder.vocabulary)  # the old one may have other words
    return SparseEncoder.load(bundle, device, idf, table_kind="idf")


def _encoded(encoder: SparseEncoder, texts: Sequence[str]) -> tuple[SparseVectors, float]:
    began = time.monotonic()
    vectors = encoder.encode_documents(texts)
    return vectors, time.monotonic() - began


def _ndcg(encoder: SparseEncoder, vectors: SparseVectors, held: HeldBack) -> list[float]:
    index = ExactIndex([""] * len(held.texts), vectors)
    asked = encoder.encode_queries([pair.query for pair in held.pairs])
    return held.ndcg(np.array([index.scores(*row) for row in asked]))
