"""Measures: the numbers of trec_eval, question by question."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import MeasureError
from opensearch_splade.evaluation.measures import (
    MEASURES,
    measure,
    measure_each,
    measure_key,
    measure_names,
    trec_order,
)

TREC_EVAL = {"nDCG@10": "ndcg_cut_10", "R@100": "recall_100", "AP": "map", "RR": "recip_rank", "P@5": "P_5"}
"""Our names and trec_eval's."""

documents = st.sampled_from([f"d{number}" for number in range(14)] + ["é", "ß1"])
scores = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, -2.0]),  # many ties
    st.sampled_from([0.3, 0.30000000001, 16777216.0, 16777217.0]),  # equal to trec_eval, which has 32 bits
    st.floats(-1e6, 1e6, width=32),
)
rankings = st.dictionaries(documents, scores, max_size=14)
judgements = st.dictionaries(documents, st.integers(0, 3), min_size=1, max_size=8)
questions = st.sampled_from(["1", "2", "3"])


@given(st.dictionaries(questions, rankings), st.dictionaries(questions, judgements, min_size=1))
def test_measures_equal_trec_eval(run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]) -> None:
    """Ties, graded judgements and unjudged hits included, each question to four digits and more."""
    found = measure_each(run, qrels, list(TREC_EVAL))
    expected = trec_eval(run, qrels)
    for question in qrels:
        for name, theirs in TREC_EVAL.items():
            assert found[name][question] == pytest.approx(expected.get(question, {}).get(theirs, 0.0), abs=1e-9)


@given(st.dictionaries(questions, rankings), st.dictionaries(questions, judgements, min_size=1))
def test_what_trec_eval_does_not_cut_is_cut_in_its_order(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    """RR@3 is trec_eval's reciprocal rank down to rank 3; Judged@3 counts the first three hits in its order of ties."""
    found = measure_each(run, qrels, ["RR@3", "Judged@3"])
    expected = trec_eval(run, qrels)
    for question, grades in qrels.items():
        rank = expected.get(question, {}).get("recip_rank", 0.0)
        assert found["RR@3"][question] == pytest.approx(rank if rank > 0.3 else 0.0)
        top = by_places(run.get(question, {}))[:3]
        judged = sum(document in grades for document in top) / max(1, len(top))
        assert found["Judged@3"][question] == pytest.approx(judged)


def test_a_large_random_run_equals_trec_eval_in_its_means() -> None:
    """Means over all questions with hundreds of hits, a tenth of them tied; questions without hits pull them down."""
    dice = random.Random(7)  # noqa: S311
    names = [f"d{number}" for number in range(2000)]
    qrels = {f"q{n}": {name: dice.randint(0, 2) for name in dice.sample(names, 60)} for n in range(40)}
    run = {f"q{n}": {name: round(dice.random(), 2) for name in dice.sample(names, 900)} for n in range(35)}
    expected = trec_eval(run, qrels)
    found = measure(run, qrels, list(TREC_EVAL))
    for name, theirs in TREC_EVAL.items():
        assert found[name] == pytest.approx(sum(one[theirs] for one in expected.values()) / 40, abs=0.00005)
    assert min(found.values()) > 0


def test_the_order_of_ties_is_that_of_trec_eval() -> None:
    """Of equal scores the larger id is first, as bytes; scores that are equal in 32 bits are equal."""
    assert trec_order({"a": 1.0, "b": 1.0, "é": 1.0, "Z": 1.0, "top": 2.0}) == ["top", "é", "b", "a", "Z"]
    assert trec_order({"a": 0.30000000001, "b": 0.3}) == ["b", "a"]


def test_only_judged_questions_count() -> None:
    """One without hits counts as 0, one that was not judged or not at all does not count."""
    run = {"1": {"a": 1.0}, "unjudged": {"a": 1.0}}
    qrels: dict[str, dict[str, int]] = {"2": {"a": 1}, "1": {"a": 1}, "empty": {}}
    found = measure_each(run, qrels)
    assert tuple(found) == MEASURES
    assert all(list(values.items()) == [("2", 0.0), ("1", 1.0)] for values in found.values())
    assert measure(run, qrels) == dict.fromkeys(MEASURES, 0.5)
    assert measure({}, qrels) == measure({"1": {}}, qrels) == dict.fromkeys(MEASURES, 0.0)


def test_measures_are_called_as_ir_measures_writes_them() -> None:
    """An alias is the same measure, so results of two evaluations have the same keys."""
    assert measure_names(["MAP", "AP", "P( rel=2 )@5"]) == ("AP", "P(rel=2)@5")
    assert measure_each({}, {"1": {"a": 1}}, ["MRR@10"]) == {"RR@10": {"1": 0.0}}
    assert measure_key("MAP", ["nDCG@10", "AP"]) == "AP"
    with pytest.raises(MeasureError, match="R@5 was not measured, only AP"):
        measure_key("R@5", ["AP"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nDCG@0", "'nDCG@0'.*a cutoff is a whole number"),  # would end the process
        ("nDCG@2147483648", "a cutoff is a whole number"),
        ("nDCG@ten", "'nDCG@ten' is not a measure"),
        ("P@True", "a cutoff is a whole number"),
        ("P", "cutoff is missing"),
        ("nDCG(foo=1)@10", "foo"),
        ("ndgc@10", "ndgc.*such as nDCG@10"),
        ("", "is not a measure"),
        ("__import__('os')", "is not a measure"),
        ("alpha_nDCG@10", "needs a package"),
    ],
)
def test_a_bad_measure_is_named(name: str, reason: str) -> None:
    """Names that cannot be computed are refused before anything is, with names that can."""
    with pytest.raises(MeasureError, match=reason):
        measure_each({"1": {"a": 1.0}}, {"1": {"a": 1}}, ["AP", name])


def trec_eval(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Trec_eval's own code on the scores as they are, for questions with hits."""
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut", "recall", "map", "recip_rank", "P"})
    found: dict[str, dict[str, float]] = evaluator.evaluate({question: hits for question, hits in run.items() if hits})
    return found


def by_places(hits: Mapping[str, float]) -> list[str]:
    """Documents in trec_eval's order, found by asking it for the reciprocal rank of each."""
    places = {name: 1 / trec_eval({"q": hits}, {"q": {name: 1}})["q"]["recip_rank"] for name in hits}
    return sorted(places, key=lambda name: places[name])
