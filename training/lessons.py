"""Lessons of a run: from documents to questions, negatives, teachers and what is held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.cluster_negatives import ClusterIndex
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lexical import Language
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.negatives import Ranker, mine
from opensearch_splade.training.pseudo_queries import Pair, make_pairs, split_held_back, without_measured
from opensearch_splade.training.teacher_cache import BM25, load_teacher
from opensearch_splade.training.trainer import Lessons
from opensearch_splade.types import Document

HELD_BACK, MOST_HELD_BACK = 0.1, 300
"""Share of the documents that are watched instead of trained on, and how many at most."""
_STRANGERS = 300
"""Documents among which a held-back question looks for its answer, besides the other answers."""
MINED = 4
"""Hard negatives that are kept of a question; a step draws from them."""


@dataclass(frozen=True, slots=True)
class Material:
    """Documents and the questions made of them, before any model has seen them.

    Attributes:
        documents: What will be searched.
        trained: Questions to learn from.
        held_back: Questions to watch.
    """

    documents: Sequence[Document]
    trained: Sequence[Pair]
    held_back: Sequence[Pair]

    @classmethod
    def split(cls, documents: Sequence[Document], pairs: Sequence[Pair]) -> Material:
        """A tenth of the documents is held back; judged pairs are split like the others."""
        return cls(documents, *split_held_back(pairs, HELD_BACK, MOST_HELD_BACK))

    @property
    def texts(self) -> list[str]:
        """The passages."""
        return [document.passage for document in self.documents]


def gather(
    documents: Sequence[Document],
    judged: Collection | None,
    measured: Collection | None,
    seed: int,
    more: Sequence[Pair] = (),
) -> Material:
    """Questions made of the documents and judged ones, without any that will be measured.

    Args:
        documents: What will be searched.
        judged: Questions that people judged, to learn from; those whose answer is not among the documents are left out.
        measured: Questions that the model will be judged by.
        seed: Of what is drawn.
        more: Pairs of other kinds: ``query_logs``, ``generator``.
    """
    asked = list(measured.queries.values()) if measured else []
    pairs = make_pairs(documents, asked, seed) + without_measured(more, asked)
    if judged:
        places = {document.id: place for place, document in enumerate(documents)}
        given = [
            Pair(text, places[one], documents[places[one]].passage, "judged")
            for query, text in judged.queries.items()
            for one, grade in judged.qrels[query].items()
            if grade > 0 and one in places
        ]
        pairs += without_measured(given, asked)
    return Material.split(documents, pairs)


def lessons(
    material: Material,
    teachers: Mapping[str, float],
    student: str,
    cache: Path,
    device: Device,
    *,
    mined: int = MINED,
    language: Language | None = None,
    cluster: ClusterIndex | None = None,
) -> tuple[Lessons, HeldBack]:
    """What is trained on, and what is watched.

    Args:
        material: Documents and questions.
        teachers: ``bm25`` or a bundle, to its weight.
        student: The bundle as it is before training; mines negatives beside BM25.
        cache: Folder of the teachers' vectors.
        device: Where bundles run.
        mined: Hard negatives of a question.
        language: Of BM25's words.
        cluster: An index whose rankings are mined too.
    """
    texts, asked = material.texts, [pair.query for pair in material.trained]
    copies = groups(texts)
    taught = [load_teacher(name, weight, asked, texts, cache, device, language) for name, weight in teachers.items()]
    names = dict.fromkeys((BM25, student)) if mined else ()
    miners: list[Ranker] = [load_teacher(name, 1.0, asked, texts, cache, device, language) for name in names]
    if cluster and mined:
        miners += cluster.rankings(asked, material.documents, cache)
        mined = max(mined, 2 * len(miners))
    negatives = mine(miners, [pair.document for pair in material.trained], copies, mined)
    return Lessons(material.trained, texts, copies, negatives, taught), _watched(material, texts, copies)


def _watched(material: Material, texts: Sequence[str], copies: np.typing.NDArray[np.int64]) -> HeldBack:
    answers = [pair.document for pair in material.held_back]
    others = np.setdiff1d(np.arange(len(texts)), answers)
    strangers = np.random.default_rng(1).permutation(others)[:_STRANGERS].tolist()
    shown = [pair.text for pair in material.held_back] + [texts[place] for place in strangers]
    return HeldBack(material.held_back, shown, copies[[*answers, *strangers]])
