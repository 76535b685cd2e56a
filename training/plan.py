"""Plan: what a run would do, and how long it takes here."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from opensearch_splade.errors import TrainingError
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.training.assignment import RECIPE, Assignment, checkpoint_of, lacks_head, student
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.cross_encoder import pair_seconds
from opensearch_splade.training.gradient_cache import backward, cut
from opensearch_splade.training.lessons import Material
from opensearch_splade.training.recipe import Recipe, TrainingPrecision
from opensearch_splade.training.teacher_cache import BM25
from opensearch_splade.training.trainable import TrainableEncoder

_TEACHING, _SHORT = 0.01, 0.2
"""Seconds that a model costs a document, roughly, and the part of it that a question costs: a plan is no promise."""
_LONGEST, _SAMPLED = 512, 1000
"""Tokens of a text that are read at most where nobody asked for more, and the documents that are counted for it."""
_ASKED = 5
"""Terms that a question of a batch adds to its columns."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        documents: How many are read.
        questions: How many are made, by kind; held-back ones included.
        held_back: How many of them are watched.
        recipe: With as many steps as the budget allows.
        step_seconds: Of one step here.
        seconds: Of everything, about.
        adds_head: What kind of head the checkpoint is given, if any.
    """

    documents: int
    questions: Mapping[str, int]
    held_back: int
    recipe: Recipe
    step_seconds: float
    seconds: float
    adds_head: Literal["vocabulary", "scalar"] | None = None


def make_plan(assignment: Assignment, materials: Sequence[Material]) -> Plan:
    """Measures a step here and says how long everything would take.

    Raises:
        TrainingError: Too few questions could be made.
        BundleError: The bundle does not say where its weights can be had.
    """
    for one in materials:
        if len(one.trained) < 2 or not one.held_back:
            count = len(one.trained) + len(one.held_back)
            raise TrainingError(
                f"{len(one.documents):,} documents gave {count} questions: too few to learn from and to watch."
            )
    recipe = _begun(assignment) or assignment.recipe
    adds_head = lacks_head(checkpoint_of(assignment), recipe)
    with tempfile.TemporaryDirectory() as folder:
        if recipe.max_length is None:
            recipe = recipe.model_copy(update={"max_length": _length(assignment, recipe, materials, Path(folder))})
        speeds = {
            one: _step_seconds(
                student(assignment, recipe.model_copy(update={"precision": one}), Path(folder)), recipe, materials
            )
            for one in _precisions(recipe)
        }
    precision = min(speeds, key=speeds.__getitem__)
    held = sum(len(one.held_back) for one in materials)
    documents = sum(len(one.documents) for one in materials)
    step = speeds[precision] + _cross_seconds(assignment, materials)
    watch = step * (4 * held + 1000 * len(materials)) / (3 * recipe.batch * (1 + recipe.neighbours))
    each = step + watch / recipe.watch_every
    steps = recipe.steps if assignment.seconds is None else max(1, int(assignment.seconds / each))
    recipe = recipe.model_copy(update={"precision": precision, "steps": steps})
    kinds = Counter[str](pair.kind for one in materials for pair in [*one.trained, *one.held_back])
    read = documents + _SHORT * kinds.total()
    preparing = _TEACHING * read * len(dict.fromkeys([assignment.bundle, *assignment.teachers, BM25]))
    preparing += _TEACHING * documents if recipe.anchored else 0
    return Plan(documents, dict(kinds), held, recipe, step, preparing + each * steps + _TEACHING * 8 * held, adds_head)


def _begun(assignment: Assignment) -> Recipe | None:
    """The recipe of a run that is gone on with, if it is this one: what nobody asks for now stays as it is."""
    kept = assignment.work / RECIPE
    if not kept.exists():
        return None
    began = Recipe.model_validate_json(kept.read_bytes())
    asked = assignment.recipe
    free: dict[str, object] = {name: None for name in ("precision", "max_length") if getattr(asked, name) is None}
    free |= {"steps": asked.steps} if assignment.seconds is not None else {}
    return began if began.model_copy(update=free) == asked else None


def _length(assignment: Assignment, recipe: Recipe, materials: Sequence[Material], folder: Path) -> int:
    """Tokens that nineteen of twenty documents have, between what the bundle reads and what the checkpoint can."""
    least = Bundle.open(assignment.bundle).manifest.max_length
    encoder = student(assignment, recipe.model_copy(update={"max_length": max(least, _LONGEST)}), folder)
    texts = [text for one in materials for text in one.texts[:: -(-len(one.texts) // _SAMPLED)]]
    needed = float(np.quantile([len(ids) for ids in encoder.tokenizer.encode(texts)], 0.95))
    return min(max(least, 8 * int(np.ceil(needed / 8))), encoder.longest or _LONGEST)


def _precisions(recipe: Recipe) -> Sequence[TrainingPrecision]:
    return (recipe.precision,) if recipe.precision else ("fp32", "bf16")


def _step_seconds(encoder: TrainableEncoder, recipe: Recipe, materials: Sequence[Material]) -> float:
    """Seconds of forward and backward, the best of three tries on texts as they come."""
    texts = [text for one in materials for text in one.texts]
    chance, size = np.random.default_rng(0), recipe.batch * (1 + recipe.neighbours)
    ids = encoder.tokenizer.encode([texts[place] for place in chance.integers(len(texts), size=size)])
    width = len(encoder.vocabulary.features)
    whole = recipe.kind == "siamese" or recipe.columns is None
    count = None if whole else _ASKED * recipe.questions + (recipe.columns or 0)
    columns = Columns.drawn(ids if recipe.anchored else [], width, count, chance).ids.to(encoder.device)
    chunks = [partial(encoder, chunk, columns) for chunk in cut(ids, recipe.cached or len(ids))]
    taken: list[float] = []
    for _ in range(3):
        began = time.monotonic()
        backward(chunks, lambda vectors: vectors.mean(0).square().sum(), cached=recipe.cached is not None)
        taken.append(time.monotonic() - began)
    return 1.3 * min(taken)  # the optimizer, the teachers and the losses


def _cross_seconds(assignment: Assignment, materials: Sequence[Material]) -> float:
    """Seconds of a step for teachers that read every question of the batch with every document of it."""
    pairs = [(pair.query, one.documents[pair.document].passage) for one in materials for pair in one.trained]
    recipe = assignment.recipe
    each = pair_seconds(assignment.teachers, pairs, assignment.device)
    return each * recipe.questions * recipe.batch * (1 + recipe.neighbours)
