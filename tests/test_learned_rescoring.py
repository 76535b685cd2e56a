"""Learned rescoring: what is applied is what was learned."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from four_documents import Table, index_four_documents

from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.learned_rescorer import RescorerTuner
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import LearnedRescorer, Searcher, search_learned

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

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


def test_a_model_in_a_file_is_the_same(tmp_path: Path) -> None:
    """As JSON, with what it was learned on."""
    model = LearnedRescorer(MODEL, "scifact/train")
    model.write(tmp_path / "model.json")
    assert LearnedRescorer.read(tmp_path / "model.json") == model
    with pytest.raises(QueryError, match="cannot be written"):
        model.write(tmp_path / "no" / "model.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a learned rescoring"),
        ("[]", "has no coefficients"),
        ('{"coefficients": {"rrf a": "1"}}', "has no coefficients"),
        ('{"coefficients": {"rrf a": true}}', "has no coefficients"),
        ('{"coefficients": {"rrf a": 1}}', "model.json: the learned rescoring lacks the coefficient 'min_max a'"),
        ('{"coefficients": {"min_max a": NaN, "rrf a": 1, "found a": 1}}', "not finite"),
    ],
)
def test_a_file_that_holds_no_model(tmp_path: Path, content: str, message: str) -> None:
    """Is refused with its name."""
    (tmp_path / "model.json").write_text(content, encoding="utf-8")
    with pytest.raises(QueryError, match=message):
        LearnedRescorer.read(tmp_path / "model.json")
    with pytest.raises(QueryError, match="cannot be read"):
        LearnedRescorer.read(tmp_path / "none.json")


def model_of(*legs: str) -> LearnedRescorer:
    """One that takes a leg's min-max score the more the later it comes."""
    weights = {"min_max": 1.0, "rrf": 0.0, "found": 0.5}
    return LearnedRescorer(
        {f"{kind} {leg}": place * weight for place, leg in enumerate(legs, 1) for kind, weight in weights.items()}
    )


@pytest.fixture
def searchers(client: OpenSearch, index_name: str) -> dict[str, Searcher]:
    """Two query sides over four documents."""
    index_four_documents(client, index_name)
    tables = {"inference-free": {"fox": 3.0, "dog": 1.0, "run": 0.5}, "siamese": {"run": 2.0}}
    return {
        side: Searcher(client, index_name, capabilities=probe(client), sparse=Table(table))
        for side, table in tables.items()
    }


@pytest.mark.server
def test_a_search_is_ranked_by_a_model(searchers: dict[str, Searcher]) -> None:
    """As the model ranks what each leg, asked alone by its own query side, has found; pages are cuts of one ranking."""
    model = model_of("bm25", "neural-sparse query-side=siamese", "neural-sparse query-side=inference-free")
    rankings = {
        "bm25": searchers["siamese"].search("fox run", mode="bm25"),
        **{
            f"neural-sparse query-side={side}": one.search("fox run", mode="neural-sparse")
            for side, one in searchers.items()
        },
    }
    expected = model.rank({leg: {hit.id: hit.score for hit in found.hits} for leg, found in rankings.items()})
    found = search_learned(searchers, "fox run", model)
    assert {hit.id: hit.score for hit in found.hits} == pytest.approx(expected)
    assert [hit.id for hit in found.hits] == list(expected)
    assert all(hit.text for hit in found.hits)
    assert search_learned(searchers, "fox run", model, size=1, start=1).hits == found.hits[1:2]
    only = search_learned(searchers, "fox run", model, filter={"ids": {"values": ["d"]}})
    assert [hit.id for hit in only.hits] == ["d"]


@pytest.mark.server
@pytest.mark.parametrize(
    ("leg", "message"),
    [
        ("neural-sparse query-side=siamese", "learned with siamese questions; this index can be asked inference-free"),
        ("bm25+knn", "which is no leg"),
        ("bm26", "unknown ranking 'bm26'"),
    ],
)
def test_a_model_of_legs_that_cannot_be_asked(searchers: dict[str, Searcher], leg: str, message: str) -> None:
    """Is refused with what to do."""
    del searchers["siamese"]
    with pytest.raises(QueryError, match=message):
        search_learned(searchers, "fox", model_of("bm25", leg))
