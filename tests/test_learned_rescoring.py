"""Learned rescoring: what is applied is what was learned."""

from __future__ import annotations

import random

import pytest

from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.learned_rescorer import RescorerTuner
from opensearch_splade.query import LearnedRescorer

MODEL = {f"{kind} {leg}": weight for leg, weight in (("a", 1.0), ("b", -2.0)) for kind in ("min_max", "rrf", "found")}


def test_a_model_ranks_as_when_it_was_learned() -> None:
    """Trained on made rankings: same documents, scores equal but for the six decimals that are kept, same order."""
    dice = random.Random(7)  # noqa: S311 - not for secrets
    names = [f"d{number}" for number in range(40)]
    runs = {
        leg: {
            question: dict(
                sorted(((name, dice.random()) for name in dice.sample(names, 25)), key=lambda each: -each[1])
            )
            for question in ("q1", "q2", "q3")
        }
        for leg in ("bm25", "neural-sparse query-side=siamese")
    }
    qrels = {question: dict.fromkeys(dice.sample(names, 5), 1) for question in ("q1", "q2", "q3")}
    chosen = RescorerTuner("learned", runs, qrels).choose(["q1", "q2"])
    coefficients = chosen.parameters["coefficients"]
    assert any(abs(weight) > 0.01 for weight in coefficients.values())
    expected = chosen.rank(["q3"])["q3"]
    found = LearnedRescorer(coefficients).rank({leg: run["q3"] for leg, run in runs.items()})
    assert found == pytest.approx(expected, abs=1e-5)
    assert list(found) == list(expected)


def test_scores_by_hand() -> None:
    """Kinds of each leg are added; a leg that lacks a document adds nothing; only the candidates take part."""
    found = LearnedRescorer(MODEL).rank({"a": {"x": 9.0, "y": 5.0, "z": 1.0}, "b": {"y": 4.0}}, candidates=2)
    assert found == pytest.approx({"x": 3.0, "y": 0.001 + 61 / 62 + 1 - 2 * 3})
    assert list(found) == ["x", "y"]


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({}, "has no coefficients"),
        (MODEL | {"l2 a": 1.0}, "coefficient 'l2 a'"),
        (MODEL | {"rrf c": 1.0}, "lacks the coefficient 'min_max c'"),
        (MODEL | {"rrf a": float("nan")}, "not finite"),
    ],
)
def test_a_model_that_cannot_be_one(coefficients: dict[str, float], message: str) -> None:
    """Is refused when it is made."""
    with pytest.raises(QueryError, match=message):
        LearnedRescorer(coefficients)


@pytest.mark.parametrize("legs", [{"a": {}}, {"a": {}, "b": {}, "c": {}}])
def test_other_legs_than_it_learned_are_refused(legs: dict[str, dict[str, float]]) -> None:
    """Its coefficients would mean something else."""
    with pytest.raises(QueryError, match="learned with the legs a, b"):
        LearnedRescorer(MODEL).rank(legs)
