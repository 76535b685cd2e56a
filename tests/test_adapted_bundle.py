"""The shipped bundle that ``osplade adapt`` made: better than the one before, and of the recipe beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.training.comparison import on_collection
from opensearch_splade.training.recipe import Recipe

BEFORE, ADAPTED = "splade-tiny-idf", "splade-tiny-adapted"
REPOSITORY = Path(__file__).parent.parent


def test_it_finds_more_than_the_one_it_began_with(collections_dir: Path) -> None:
    """CACM's judged questions, documents cut to 200 terms: better beyond chance, by the figures of the model card."""
    found = on_collection((BEFORE, ADAPTED), load_collection(str(collections_dir / "cacm")), Device(), 200.0)
    assert found.interval[0] > 0, found
    assert found.new.ndcg == pytest.approx(0.4316, abs=0.005)
    assert found.old.ndcg == pytest.approx(0.3739, abs=0.005)


def test_it_comes_from_the_recipe_and_asks_without_a_model() -> None:
    """The recipe is one that today's code takes, and the bundle reads as far as it says."""
    recipe = Recipe.model_validate(json.loads((REPOSITORY / "examples" / f"{ADAPTED}.recipe.json").read_bytes()))
    manifest = Bundle.open(ADAPTED).manifest
    assert (manifest.kind, manifest.query_weights) == (recipe.kind, "idf")
    assert manifest.max_length == recipe.max_length == 512
    assert manifest.origin.licence == "apache-2.0"
    assert "osplade adapt" in manifest.origin.checkpoint
