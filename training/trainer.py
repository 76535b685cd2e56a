"""Trainer: steps, measurements and states of one run. Killed anywhere, it goes on to the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import TrainingError
from opensearch_splade.onnx_models.query_weights import QueryWeights
from opensearch_splade.onnx_models.sparse_rows import stack
from opensearch_splade.training.asking import inference_free, question_ids, siamese
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.losses import flops, idf_price, info_nce, kl_divergence, margin_mse, over
from opensearch_splade.training.pseudo_queries import Pair
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.schedule import Schedule
from opensearch_splade.training.teachers import Teacher, ensemble
from opensearch_splade.training.term_target import TermTarget
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.training_state import load_state, save_state
from opensearch_splade.types import SparseVectors

STATE = "state.safetensors"
BEST = "best.safetensors"
_WARM_UP = 0.05
_LONGEST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from.

    Attributes:
        pairs: Questions and answers; place ``i`` is the teachers' question ``i``.
        documents: All texts, by the pairs' ``document``.
        groups: Group of each document: copies share one.
        negatives: Of each pair the mined documents, ``-1`` where there are fewer.
        teachers: May be none where ``kl`` and ``margin_mse`` are 0.
    """

    pairs: Sequence[Pair]
    documents: Sequence[str]
    groups: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int32]
    teachers: Sequence[Teacher]


@dataclass(frozen=True, slots=True)
class StepReport:
    """How a run stands.

    Attributes:
        step: Steps done.
        loss: Of the last step, without the penalty.
        terms: Terms of a document of late.
        penalty: Weight of the penalty.
        held_back: nDCG@10 of the last measurement; ``None`` before the first.
        best: The best one.
    """

    step: int
    loss: float
    terms: float
    penalty: float
    held_back: float | None
    best: float


class Trainer:
    """One run in one folder.

    Args:
        encoder: The student; holds the best weights when ``run`` has ended.
        idf: Feature to query weight.
        lessons: What is learned from.
        held_back: What it is watched by.
        recipe: How.
        folder: Where its states lie; a state found there is gone on with.

    Raises:
        TrainingError: There are too few pairs, or the state is of another recipe.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        idf: dict[str, float],
        lessons: Lessons,
        held_back: HeldBack,
        recipe: Recipe,
        folder: Path,
    ) -> None:
        import torch

        if len(lessons.pairs) < 2:
            raise TrainingError(f"{len(lessons.pairs)} questions could be made of these documents: too few to learn.")
        self.encoder, self.recipe, self._folder = encoder, recipe, folder
        self._lessons, self._held = lessons, held_back
        ids = encoder.tokenizer.encode
        self._answers = ids([pair.text for pair in lessons.pairs])
        self._asked = question_ids(encoder, [pair.query for pair in lessons.pairs], recipe.kind)
        names = encoder.vocabulary.features
        self._idf = torch.tensor([idf.get(name, 0.0) if name else 0.0 for name in names])
        self._learned = torch.zeros_like(self._idf, requires_grad=recipe.learned_queries)
        self._schedule = Schedule(list(map(len, self._answers)), recipe.batch, recipe.seed)
        self._target = TermTarget(recipe.terms, recipe.penalty)
        self._price = self._first_prices()
        self._trained = encoder.parameters() | ({"query_weights": self._learned} if recipe.learned_queries else {})
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=recipe.learning_rate, weight_decay=0.0)
        self.step, self.seconds, self.best, self.first = 0, 0.0, -1.0, -1.0
        self._worse, self._last, self._loss = 0, -1.0, 0.0
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
        while self.step < self.recipe.steps and self._worse < self.recipe.patience:
            if seconds is not None and time.monotonic() - began > seconds:
                break
            self._learn()
            if self.step % self.recipe.watch_every == 0 or self.step == self.recipe.steps:
                self._last = self._watch()
                self.seconds = time.monotonic() - began
                self._save()
            on_step(self.report())
        if self.step % self.recipe.watch_every and self.step < self.recipe.steps:
            self._watch()
        best, _ = load_state(self._folder / BEST)
        self.encoder.load(best)
        if self.recipe.learned_queries:
            self._learned.data.copy_(best["query_weights"])

    def report(self) -> StepReport:
        """How the run stands."""
        held = None if self._last < 0 else self._last
        return StepReport(self.step, self._loss, self._target.seen or 0.0, self._target.weight, held, self.best)

    def query_weights(self) -> dict[str, float]:
        """Feature to weight: the idf, times what was learned."""
        weights = (self._idf * self._learned.exp()).tolist()
        named = zip(self.encoder.vocabulary.features, weights, strict=True)
        return {name: round(weight, 4) for name, weight in named if name and weight > 0}

    def _learn(self) -> None:
        import torch

        recipe, lessons = self.recipe, self._lessons
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _slope(self.step, recipe.steps)
        places = self._schedule.at(self.step)
        hard = self._hard(places)
        documents = [lessons.pairs[place].document for place in places] + hard
        texts = [self._answers[place] for place in places]
        texts += self.encoder.tokenizer.encode([lessons.documents[one] for one in hard])
        weights, asked = self.encoder(texts), self._questions(places)
        loss = self._imitation(asked @ weights.T, places, documents)
        self._optimizer.zero_grad(set_to_none=True)
        paying = weights if recipe.spared is None else over(weights, recipe.spared)
        penalty = flops(paying, self._price)
        if recipe.kind == "siamese":
            penalty = penalty + recipe.query_penalty * flops(asked, self._price)
        (loss + self._target.weight * penalty).backward()
        torch.nn.utils.clip_grad_norm_(self._trained.values(), _LONGEST_GRADIENT)
        self._optimizer.step()
        self._target.update(float((weights > 0).sum(1).float().mean()))
        self._loss = float(loss.detach())
        self.step += 1

    def _imitation(self, scores: Any, places: list[int], documents: list[int]) -> Any:
        import torch

        recipe = self.recipe
        groups = torch.from_numpy(self._lessons.groups[documents])
        known = groups[None] != groups[: len(places), None]
        known.fill_diagonal_(fill_value=True)
        loss = recipe.info_nce * info_nce(scores, known) if recipe.info_nce else scores.sum() * 0
        if recipe.kl or recipe.margin_mse:
            taught = ensemble(self._lessons.teachers, places, documents, recipe.normalisation)
            teacher = torch.from_numpy(taught) * recipe.scale
            loss = loss + recipe.kl * kl_divergence(scores, teacher, known)
            if recipe.margin_mse:
                loss = loss + recipe.margin_mse * margin_mse(scores, teacher, known)
        return loss

    def _questions(self, places: list[int]) -> Any:
        asked = [self._asked[place] for place in places]
        if self.recipe.kind == "siamese":
            return siamese(self.encoder, asked)
        return inference_free(self._idf * self._learned.exp(), asked)

    def _hard(self, places: list[int]) -> list[int]:
        chance, chosen = self._schedule.chance(self.step), list[int]()
        for place in places:
            mined = self._lessons.negatives[place]
            mined = mined[mined >= 0]
            count = min(self.recipe.negatives, len(mined))
            chosen += chance.choice(mined, count, replace=False).tolist() if count else []
        return chosen

    def _first_prices(self) -> Any:
        import torch

        sample = self._schedule.at(0)
        with torch.no_grad():
            common = self.encoder([self._answers[place] for place in sample]).mean(0)
        return idf_price(self._idf, common, self.recipe.balance)

    def _watch(self) -> float:
        asked = self._held_questions([pair.query for pair in self._held.pairs])
        scores = self._held.ndcg(asked, self.encoder.encode(self._held.texts))
        found = sum(scores) / max(1, len(scores))
        self._worse = 0 if found > self.best else self._worse + 1
        if found > self.best:
            self.best = found
            save_state(self._folder / BEST, self._trained, {"step": self.step, "held_back": found})
        return found

    def _held_questions(self, questions: list[str]) -> SparseVectors:
        if self.recipe.kind == "siamese":
            return self.encoder.encode(questions, query=True)
        table = QueryWeights(self.query_weights(), self.encoder.vocabulary)
        return _rows(table, self.encoder.tokenizer.encode(questions, special=False), self.encoder)

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self._trained.items()}
        for name, value in self._trained.items():
            kept = self._optimizer.state.get(value, {})
            tensors |= {f"optimizer.{part}.{name}": one for part, one in kept.items()}
        values = {
            "recipe": self.recipe.model_dump(),
            "step": self.step,
            "seconds": self.seconds,
            "held_back": [self.first, self._last, self.best, self._worse],
            "target": [self._target.weight, self._target.seen],
        }
        save_state(self._folder / STATE, tensors, values)

    def _resume(self) -> None:
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
                self._optimizer.state[value] = parts
        self.step, self.seconds = values["step"], values["seconds"]
        self.first, self._last, self.best, self._worse = values["held_back"]
        self._target.weight, self._target.seen = values["target"]


def _slope(step: int, steps: int) -> float:
    """Share of the highest learning rate."""
    warm = max(1, int(steps * _WARM_UP))
    return (step + 1) / warm if step < warm else (steps - step) / max(1, steps - warm)


def _rows(table: QueryWeights, asked: Sequence[Sequence[int]], encoder: TrainableEncoder) -> SparseVectors:
    ids = encoder.vocabulary.ids
    rows = [sorted((ids[name], weight) for name, weight in table.weigh(tokens).items()) for tokens in asked]
    return stack((np.array([i for i, _ in row], np.int32), np.array([w for _, w in row], np.float32)) for row in rows)
