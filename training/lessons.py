"""Lessons of a run: from documents to questions, negatives, teachers and what is held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.cluster_negatives import ClusterIndex
from opensearch_splade.training.cross_encoder import CROSS_ENCODER
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.nearest import Ranker, Some, nearest
from opensearch_splade.training.pseudo_queries import Pair, make_pairs, split_held_back, without_measured
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.shown import shown
from opensearch_splade.training.teacher_cache import BM25, load_teacher
from opensearch_splade.training.teachers import Teacher
from opensearch_splade.types import Document

HELD_BACK, MOST_HELD_BACK = 0.1, 300
"""Share of the documents that are watched instead of trained on, and how many at most."""
_STRANGERS, _WRONG = 700, 3
"""Documents among which a held-back question looks for its answer, besides the other answers: any, and the best wrong
ones of each question, without which it would be found by anything."""
_BEGINNINGS, _NEAR = 10_000, 40
"""Questions that may begin a batch, and how many documents near each are known."""


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
            Pair(text, places[one], "judged")
            for query, text in judged.queries.items()
            for one, grade in judged.qrels[query].items()
            if grade > 0 and one in places
        ]
        pairs += without_measured(given, asked)
    return Material.split(documents, pairs)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from, of one source.

    Attributes:
        pairs: Questions and answers; place ``i`` is the teachers' question ``i``.
        documents: All of them, by the pairs' ``document``.
        groups: Group of each document: copies share one.
        begin: Places of the pairs that may begin a batch.
        near: Documents near each of these; see ``nearest``.
        teachers: May be none where ``kl`` and ``margin_mse`` are 0.
        idf: Feature to query weight, counted over these documents.
        held: Questions to watch.
    """

    pairs: Sequence[Pair]
    documents: Sequence[Document]
    groups: npt.NDArray[np.int64]
    begin: Sequence[int]
    near: npt.NDArray[np.int32]
    teachers: Sequence[Teacher]
    idf: Mapping[str, float]
    held: HeldBack


def lessons(
    material: Material,
    teachers: Mapping[str, float],
    student: str,
    idf: Mapping[str, float],
    cache: Path,
    device: Device,
    recipe: Recipe,
    cluster: ClusterIndex | None = None,
) -> Lessons:
    """What is trained on, and what is watched.

    Args:
        material: Documents and questions.
        teachers: ``bm25`` or a bundle, to its weight.
        student: The bundle as it is before training; finds near documents beside BM25 and the teachers.
        idf: Feature to query weight, counted over these documents.
        cache: Folder of the teachers' vectors.
        device: Where bundles run.
        recipe: Its language is that of BM25's words, its seed draws the questions that begin batches.
        cluster: An index whose rankings say what is near, too.
    """
    texts, pairs = material.texts, material.trained
    copies = groups(texts)
    drawn = np.random.default_rng(recipe.seed).permutation(len(pairs))
    begin = sorted({*drawn[:_BEGINNINGS].tolist(), *(place for place, pair in enumerate(pairs) if not pair.made)})
    # Near documents are looked for with the held-back questions too: among them these look for their answer.
    asked = [*pairs, *material.held_back]
    mined = [*begin, *range(len(pairs), len(asked))]
    both = [asked[place] for place in mined]
    questions = [pair.query for pair in asked]
    loaded = {
        name: load_teacher(name, teachers.get(name, 1.0), questions, texts, cache, device, recipe.language)
        for name in dict.fromkeys((BM25, student, *teachers))
    }
    models: list[Ranker] = [Some(one, mined) for name, one in loaded.items() if not name.startswith(CROSS_ENCODER)]
    if cluster:
        models += cluster.rankings([pair.query for pair in both], material.documents, cache)
    near = nearest(models, [pair.document for pair in both], copies, _NEAR)
    held = _watched(material, near[len(begin) :], copies)
    taught = [loaded[name] for name in teachers]
    return Lessons(pairs, material.documents, copies, begin, near[: len(begin)], taught, idf, held)


def _watched(material: Material, near: npt.NDArray[np.int32], copies: npt.NDArray[np.int64]) -> HeldBack:
    held = material.held_back
    answers = [pair.document for pair in held]
    wrong = near[:, :_WRONG]
    strangers = np.random.default_rng(1).permutation(len(copies))[:_STRANGERS]
    others = np.setdiff1d(np.concatenate([wrong[wrong >= 0], strangers]), answers).tolist()
    hidden = [shown(material.documents[pair.document], [pair])[0] for pair in held]
    texts = material.texts
    return HeldBack(held, hidden + [texts[place] for place in others], copies[[*answers, *others]])
