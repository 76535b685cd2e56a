"""Anchors: what terms are held to, and what it costs to leave it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_training import small_bert

from opensearch_splade.training.anchors import Anchors
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.lexical import saturated
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.trainable import TrainableEncoder

pytestmark = pytest.mark.export

TEXTS = ["fox fox fox and hen", "hen and stone", "", "stone fox"]
RECIPE = Recipe(max_length=24)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TrainableEncoder:
    return TrainableEncoder(str(small_bert(tmp_path_factory.mktemp("anchors") / "student", TEXTS)), 24)


def held(encoder: TrainableEncoder, folder: Path, **changed: float) -> Anchors:
    return Anchors(encoder, TEXTS, folder, RECIPE.model_copy(update=changed))


def cost(anchors: Anchors, encoder: TrainableEncoder, vectors: object, columns: Columns | None = None) -> float:
    """Of all documents, each query weight 1."""
    import torch

    width = len(encoder.vocabulary.features)
    every = columns or Columns(torch.arange(width), torch.ones(width))
    weights = torch.as_tensor(vectors)[:, every.ids]
    return float(anchors.distance(weights, range(len(TEXTS)), every, torch.ones(width)))


def test_without_counts_a_student_is_held_to_itself(encoder: TrainableEncoder, tmp_path: Path) -> None:
    """Its own vectors cost nothing, others do; the first vectors are read again from where they were kept."""
    import torch

    first = encoder(encoder.tokenizer.encode(TEXTS)).detach()
    for _ in range(2):
        anchors = held(encoder, tmp_path, frequency=0.0)
        assert cost(anchors, encoder, first) == pytest.approx(0, abs=1e-9)
        assert cost(anchors, encoder, first + 1) > 0.5
    kept = sorted(path.name for path in tmp_path.iterdir())
    with torch.no_grad():
        next(iter(encoder.parameters().values())).add_(0.01)
    held(encoder, tmp_path, frequency=0.0)
    assert len(list(tmp_path.iterdir())) == 2 * len(kept)  # another student, other vectors


def test_counts_decide_where_they_count_most(encoder: TrainableEncoder, tmp_path: Path) -> None:
    """Terms then stand to each other as BM25 has them, and all together weigh what they did."""
    fox, hen = (encoder.tokenizer.encode([word], special=False)[0] for word in ("fox", "hen"))
    shares, totals = [], []
    for frequency in (1.0, 1e6):
        anchors = held(encoder, tmp_path, frequency=frequency, expansion=0.0)
        targets = [targets_of(anchors, encoder, document) for document in range(len(TEXTS))]
        shares.append(np.mean([targets[0][one] for one in fox]) / np.mean([targets[0][one] for one in hen]))
        totals.append(sum(sum(one.values()) for one in targets))
    counts = [Counter(ids) for ids in encoder.tokenizer.encode(TEXTS, special=False)]
    _, weights = saturated(counts)[0]
    ids = sorted(counts[0])
    assert shares[1] == pytest.approx(weights[ids.index(fox[0])] / weights[ids.index(hen[0])], rel=1e-3)
    assert shares[1] > 1
    assert totals[1] == pytest.approx(totals[0], rel=1e-4)


def targets_of(anchors: Anchors, encoder: TrainableEncoder, document: int) -> dict[int, float]:
    """What a document's own terms are held to: the root of what each alone costs a vector of zeros."""
    import torch

    width, [own] = len(encoder.vocabulary.features), anchors.terms([document])
    every, nothing = Columns(torch.arange(width), torch.ones(width)), torch.zeros(1, width)
    alone = torch.eye(width)[own]
    return {
        term: float(anchors.distance(nothing, [document], every, one) * len(own)) ** 0.5
        for term, one in zip(own, alone, strict=True)
    }


def test_some_columns_stand_for_all(encoder: TrainableEncoder, tmp_path: Path) -> None:
    """On average, drawn columns cost what all cost; a document's own are always among them."""
    anchors = held(encoder, tmp_path, expansion=0.5)
    width = len(encoder.vocabulary.features)
    vectors = np.random.default_rng(0).random((len(TEXTS), width), np.float32)
    whole = cost(anchors, encoder, vectors)
    own, chance = anchors.terms(range(len(TEXTS))), np.random.default_rng(1)
    drawn = [cost(anchors, encoder, vectors, Columns.drawn(own, width, 20, chance)) for _ in range(300)]
    assert np.mean(drawn) == pytest.approx(whole, rel=0.05)
    assert np.std(drawn) > 0
