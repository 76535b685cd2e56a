"""Trainer: steps, measurements and states of one run. Killed anywhere, it goes on to the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import TrainingError
from opensearch_splade.training.asking import inference_free, siamese
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.course import Course, query_table
from opensearch_splade.training.gradient_cache import backward, cut
from opensearch_splade.training.imitation import imitation
from opensearch_splade.training.lessons import Lessons
from opensearch_splade.training.losses import flops, over
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.term_target import TermTarget
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.training_state import load_state, save_state

STATE = "state.safetensors"
BEST = "best.safetensors"
_WARM_UP = 0.05
_WATCHED = 32
"""Texts that are encoded at once when nothing is learned."""
_LONGEST_GRADIENT = 1.0
_CHANCE = 0.005
"""Of held-back nDCG: what differs by less is chance, and the later weights, of a lower learning rate, are kept."""
_PLANNED_EVERY = 20
"""Steps after which a run with a budget counts anew how many still fit."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """How a run stands.

    Attributes:
        step: Steps done.
        steps: That will be done, as it looks now.
        loss: Of the last step, without the penalty.
        terms: Terms of a document of late.
        penalty: Weight of the penalty.
        held_back: nDCG@10 of the last measurement; ``None`` before the first.
        best: The best one.
    """

    step: int
    steps: int
    loss: float
    terms: float
    penalty: float
    held_back: float | None
    best: float


class Trainer:
    """One run in one folder.

    Args:
        encoder: The student; holds the best weights when ``run`` has ended.
        lessons: What is learned from: of each source its own, by turns.
        idf: Feature to query weight of all sources together, which is what ``query_weights`` begins with.
        recipe: How.
        folder: Where its states lie; a state found there is gone on with.

    Raises:
        TrainingError: There are too few pairs, or the state is of another recipe.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        lessons: Sequence[Lessons],
        idf: Mapping[str, float],
        recipe: Recipe,
        folder: Path,
    ) -> None:
        import torch

        self.encoder, self.recipe, self._folder = encoder, recipe, folder
        self._idf = query_table(idf, encoder)
        self._learned = torch.zeros_like(self._idf, requires_grad=recipe.learned_queries)
        self._courses = [Course(one, encoder, recipe, folder / "anchors") for one in lessons]
        self._target = TermTarget(recipe.terms, recipe.steps, recipe.penalty)
        self._trained = encoder.parameters() | ({"query_weights": self._learned} if recipe.learned_queries else {})
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=recipe.learning_rate, weight_decay=0.0)
        self.step, self.seconds, self.best, self.first = 0, 0.0, -1.0, -1.0
        self.steps, self.progress = recipe.steps, 0.0
        self._worse, self._last, self._loss, self._terms = 0, -1.0, 0.0, 0.0
        if (folder / STATE).exists():
            self._resume()

    def run(self, on_step: Callable[[StepReport], None] = lambda _: None, seconds: float | None = None) -> None:
        """Trains to the end of the recipe, until nothing gets better, or until the time is used up.

        Args:
            on_step: Called after each step.
            seconds: At most, those of a run that was interrupted included.
        """
        began = time.monotonic() - self.seconds
        if self.step == 0 and self.first < 0:
            self.first = self._watch()
            self._save()
        started = (time.monotonic() - began, self.step)
        while self.step < self.steps and self._worse < self.recipe.patience:
            gone = time.monotonic() - began
            if seconds is not None and gone > seconds:
                break
            if seconds is not None and self.step - started[1] and self.step % _PLANNED_EVERY == 0:
                each = (gone - started[0]) / (self.step - started[1])
                self.steps = self.step + max(1, int((seconds - gone) / each))
            self._learn()
            if self.step % self.recipe.watch_every == 0 or self.step == self.steps:
                self._last = self._watch()
                self.seconds = time.monotonic() - began
                self._save()
            on_step(self.report())
        if self.step % self.recipe.watch_every and self.step < self.steps:
            self._watch()
        best, _ = load_state(self._folder / BEST)
        self.encoder.load(best)
        if self.recipe.learned_queries:
            self._learned.data.copy_(best["query_weights"])

    def report(self) -> StepReport:
        """How the run stands."""
        held = None if self._last < 0 else self._last
        return StepReport(
            self.step, self.steps, self._loss, self._target.seen or 0.0, self._target.weight, held, self.best
        )

    def query_weights(self) -> dict[str, float]:
        """Feature to weight: the idf, times what was learned."""
        weights = (self._idf * self._learned.exp()).tolist()
        named = zip(self.encoder.vocabulary.features, weights, strict=True)
        return {name: round(weight, 4) for name, weight in named if name and weight > 0}

    def _learn(self) -> None:
        import torch

        recipe = self.recipe
        self.progress += (1 - self.progress) / (self.steps - self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _slope(self.progress)
        course = self._courses[self.step % len(self._courses)]
        batch = course.batches.at(self.step)
        read, gone = course.shown(batch, self.step, recipe.hidden)
        texts = self.encoder.tokenizer.encode(read)
        asked = [course.asked[place] for place in batch.pairs]
        held = course.anchors.terms(batch.documents) if course.anchors else []
        columns = self._columns([*asked, *held], course.batches.chance(self.step, 2))
        encoders = [partial(self.encoder, one, columns.ids) for one in cut(texts, recipe.cached or len(texts))]
        if recipe.kind == "siamese":
            chunks = cut(asked, recipe.cached or len(asked))
            encoders += [partial(siamese, self.encoder, one, columns.ids) for one in chunks]

        def loss(vectors: Any) -> Any:
            weights, questions = vectors[: len(texts)], vectors[len(texts) :]
            if recipe.kind == "inference-free":
                questions = inference_free(course.idf * self._learned.exp(), asked, columns.ids)
            found = imitation(questions @ weights.T, batch, gone, course.lessons, recipe)
            if course.anchors:
                found = found + recipe.anchor * course.anchors.distance(weights, batch.documents, columns, course.idf)
            self._loss = float(found.detach())
            self._terms = float(((weights > 0).float().mean(0) * columns.counts).sum())
            return found + self._target.weight * self._penalty(weights, questions, columns, course.price[columns.ids])

        self._optimizer.zero_grad(set_to_none=True)
        backward(encoders, loss, cached=recipe.cached is not None)
        torch.nn.utils.clip_grad_norm_(self._trained.values(), _LONGEST_GRADIENT)
        self._optimizer.step()
        self.step += 1
        self._target.update(self._terms, self.progress)

    def _columns(self, asked: Sequence[Sequence[int]], chance: np.random.Generator) -> Columns:
        width = len(self._idf)
        if self.recipe.kind == "siamese":  # which terms a model will give a question nobody knows
            asked, drawn = [], None
        else:
            drawn = self.recipe.columns
        columns = Columns.drawn(asked, width, drawn, chance)
        return Columns(columns.ids.to(self.encoder.device), columns.counts.to(self.encoder.device))

    def _penalty(self, weights: Any, questions: Any, columns: Columns, price: Any) -> Any:
        recipe = self.recipe
        paying = weights if recipe.spared is None else over(weights, recipe.spared, columns.counts)
        penalty = flops(paying, price, columns.counts)
        if recipe.kind == "siamese":
            penalty = penalty + recipe.query_penalty * flops(questions, price, columns.counts)
        return penalty

    def _watch(self) -> float:
        """Mean of the sources: a large one is no more than a small one."""
        each = [np.mean(course.lessons.held.ndcg(self._held_scores(course))) for course in self._courses]
        found = float(np.mean(each))
        self._worse = 0 if found > self.best else self._worse + 1
        if found > self.best - _CHANCE:
            save_state(self._folder / BEST, self._trained, {"step": self.step, "held_back": found})
        self.best = max(self.best, found)
        return found

    def _held_scores(self, course: Course) -> npt.NDArray[np.float32]:
        """Of all held-back questions with all texts shown beside them."""
        import torch

        asked, texts = course.held_asked, course.lessons.held.texts
        columns = None
        if self.recipe.kind == "inference-free":
            columns = torch.tensor(sorted({token for one in asked for token in one}), device=self.encoder.device)
        ids = self.encoder.tokenizer.encode(texts)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        scores = np.empty((len(asked), len(ids)), np.float32)
        with torch.no_grad():
            if self.recipe.kind == "siamese":
                questions = torch.cat([siamese(self.encoder, chunk) for chunk in cut(asked, _WATCHED)])
            else:
                questions = inference_free(course.idf * self._learned.exp(), asked, columns)
            for places in cut(order, _WATCHED):
                weights = self.encoder([ids[place] for place in places], columns)
                scores[:, list(places)] = (questions @ weights.T).cpu().numpy()
        return scores

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self._trained.items()}
        for name, value in self._trained.items():
            kept = self._optimizer.state.get(value, {})
            tensors |= {f"optimizer.{part}.{name}": one for part, one in kept.items()}
        values = {
            "recipe": self.recipe.model_dump(),
            "step": self.step,
            "planned": [self.steps, self.progress],
            "seconds": self.seconds,
            "held_back": [self.first, self._last, self.best, self._worse],
            "target": [self._target.weight, self._target.first, self._target.seen],
        }
        save_state(self._folder / STATE, tensors, values)

    def _resume(self) -> None:
        import torch

        tensors, values = load_state(self._folder / STATE)
        if values["recipe"] != self.recipe.model_dump():
            raise TrainingError(
                f"{self._folder / STATE} is of a run with another recipe; remove it, or give another folder."
            )
        self.encoder.load({name.removeprefix("model."): one for name, one in tensors.items()})
        if self.recipe.learned_queries:
            self._learned.data.copy_(tensors["model.query_weights"])
        for name, value in self._trained.items():
            parts = {part: tensors.get(f"optimizer.{part}.{name}") for part in ("step", "exp_avg", "exp_avg_sq")}
            if parts["step"] is not None:
                self._optimizer.state[value] = {  # the count of steps stays on the CPU
                    part: one if part == "step" else torch.as_tensor(one, device=value.device)
                    for part, one in parts.items()
                }
        self.step, self.seconds = values["step"], values["seconds"]
        self.first, self._last, self.best, self._worse = values["held_back"]
        self.steps, self.progress = values["planned"]
        self._target.weight, self._target.first, self._target.seen = values["target"]


def _slope(progress: float) -> float:
    """Share of the highest learning rate."""
    return progress / _WARM_UP if progress < _WARM_UP else (1 - progress) / (1 - _WARM_UP)
