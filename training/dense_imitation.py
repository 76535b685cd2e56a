"""Dense imitation: a dense student learns the ranking of a sparse teacher (SPAR's Lambda, arXiv 2110.06918, section 3).

A step takes questions; of each the teacher's best document and one that it ranks a little lower, which is what a dense
model confuses. All questions are scored with all documents by both, and the student's distribution is drawn to the
teacher's. What is learned is a function of the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from opensearch_splade.training.gradient_cache import backward, cut
from opensearch_splade.training.losses import kl_divergence
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teachers import SparseTeacher, normalise
from opensearch_splade.training.trainable_dense import TrainableDense

DEPTH = 20
"""How far down the teacher's ranking the second document of a question may be."""


def imitate(
    student: TrainableDense,
    teacher: SparseTeacher,
    questions: Sequence[str],
    documents: Sequence[str],
    recipe: Recipe,
    on_step: Callable[[int, float], None] = lambda _, __: None,
) -> None:
    """Trains the student in place.

    Args:
        student: Of any size; its vectors need not be like the teacher's.
        teacher: Its place ``i`` is question ``i`` and document ``i``. It may be BM25 (``lexical``).
        questions: What is asked, made or real.
        documents: Texts.
        recipe: Its steps, batch (questions), learning rate, texts encoded at once, scale of scores and seed.
        on_step: Called after each step with its number and loss.
    """
    import torch

    steps, cached = recipe.steps, recipe.cached or 2 * recipe.batch
    ranked = list(teacher.best(DEPTH))
    usable = np.array([place for place, found in enumerate(ranked) if len(found) > 1])
    asked, texts = student.tokenizer.encode(questions, query=True), student.tokenizer.encode(documents)
    optimizer = torch.optim.AdamW(student.parameters().values(), lr=recipe.learning_rate, weight_decay=0.0)
    last = 0.0
    for step in range(steps):
        chance = np.random.default_rng([recipe.seed, step])
        chosen = chance.choice(usable, min(recipe.batch, len(usable)), replace=False).tolist()
        shown = sorted({place for one in chosen for place in _two(ranked[one], chance)})
        wanted = torch.from_numpy(normalise(teacher.scores(chosen, shown), recipe.normalisation)).to(student.device)

        def loss(vectors: torch.Tensor, here: int = len(chosen), wanted: torch.Tensor = wanted) -> torch.Tensor:
            nonlocal last
            scores = recipe.scale * vectors[:here] @ vectors[here:].T
            found = kl_divergence(scores, recipe.scale * wanted, torch.ones_like(scores, dtype=torch.bool))
            last = float(found.detach())
            return found

        pieces = cut([asked[one] for one in chosen], cached) + cut([texts[one] for one in shown], cached)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min((step + 1) / max(1, steps / 20), (steps - step) / steps)
        optimizer.zero_grad(set_to_none=True)
        backward([partial(student, one) for one in pieces], loss, cached=len(pieces) > 2)
        optimizer.step()
        on_step(step + 1, last)


def overlap(student: npt.NDArray[np.float32], teacher: SparseTeacher, depth: int = 10) -> float:
    """Share of the teacher's best documents that the student has among its best, mean over questions.

    Args:
        student: Its scores, ``(questions, documents)``.
        teacher: Of the same places.
        depth: How many best ones are compared.
    """
    shares = [
        len(set(np.argsort(-row, kind="stable")[: len(best)].tolist()) & set(best)) / len(best)
        for row, best in zip(student, teacher.best(depth), strict=True)
        if best
    ]
    return sum(shares) / max(1, len(shares))


def _two(ranked: list[int], chance: np.random.Generator) -> list[int]:
    return [ranked[0], ranked[int(chance.integers(1, len(ranked)))]]
