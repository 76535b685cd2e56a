"""Course: the lessons of one source, ready for an encoder: token ids, batches, prices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensearch_splade.errors import TrainingError
from opensearch_splade.training.anchors import Anchors
from opensearch_splade.training.asking import question_ids
from opensearch_splade.training.lessons import Lessons
from opensearch_splade.training.losses import idf_price
from opensearch_splade.training.neighbourhoods import Batch, Neighbourhoods
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.shown import shown
from opensearch_splade.training.trainable import TrainableEncoder


class Course:
    """Lessons of one source, ready for an encoder.

    Args:
        lessons: What is learned.
        encoder: The student before training.
        recipe: How.
        cache: Folder where the student's first vectors are kept.
    """

    def __init__(self, lessons: Lessons, encoder: TrainableEncoder, recipe: Recipe, cache: Path) -> None:
        if len(lessons.pairs) < 2:
            raise TrainingError(f"{len(lessons.pairs)} questions could be made of these documents: too few to learn.")
        self.lessons = lessons
        self.asked = question_ids(encoder, [pair.query for pair in lessons.pairs], recipe.kind)
        self.held_asked = question_ids(encoder, [pair.query for pair in lessons.held.pairs], recipe.kind)
        self.idf = query_table(lessons.idf, encoder)
        self.batches = Neighbourhoods(
            lessons.pairs,
            lessons.begin,
            lessons.near,
            size=recipe.batch,
            neighbours=recipe.neighbours,
            questions=recipe.questions,
            seed=recipe.seed,
        )
        self.price = self._first_prices(encoder, recipe)
        texts = [document.passage for document in lessons.documents]
        self.anchors = Anchors(encoder, texts, cache, recipe) if recipe.anchored else None

    def shown(self, batch: Batch, step: int, hidden: float) -> tuple[list[str], set[int]]:
        """Texts of the documents, and the places of the pairs that are hidden from them."""
        chance, pairs = self.batches.chance(step, 1), self.lessons.pairs
        chosen: dict[int, list[int]] = {}
        for place in batch.pairs:
            if chance.random() < hidden:
                chosen.setdefault(pairs[place].document, []).append(place)
        texts, gone = list[str](), set[int]()
        for document in batch.documents:
            places = chosen.get(document, [])
            text, taken = shown(self.lessons.documents[document], [pairs[place] for place in places])
            texts.append(text)
            gone.update(places[one] for one in taken)
        return texts, gone

    def _first_prices(self, encoder: TrainableEncoder, recipe: Recipe) -> Any:
        import torch

        texts = [self.lessons.documents[place].passage for place in self.batches.at(0).documents]
        with torch.no_grad():
            common = encoder(encoder.tokenizer.encode(texts)).mean(0)
        return idf_price(self.idf, common, recipe.balance)


def query_table(idf: Mapping[str, float], encoder: TrainableEncoder) -> Any:
    """Query weights by token id."""
    import torch

    names = encoder.vocabulary.features
    return torch.tensor([idf.get(name, 0.0) if name else 0.0 for name in names], device=encoder.device)
