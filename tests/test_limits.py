"""Limits: weights and questions are made to fit the server, and every change is told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.query import Fit, fit, neural_sparse, weighted_terms
from opensearch_splade.query.limits import as_float32, count_clauses, count_tokens, fit_text
from opensearch_splade.types import Capabilities

SERVER = Capabilities((3, 6, 0), frozenset({"opensearch-neural-search"}))
WEIGHTS = st.dictionaries(st.text(max_size=4), st.floats(-1e30, 1e30))


def test_fine_weights_are_left_alone():
    """Weights that keep the rules come back as they are, strongest first, without a notice."""
    assert fit({"b": 0.5, "a": 2.0}, max_clauses=9) == Fit({"a": 2.0, "b": 0.5})
    assert fit({"b": 0.5}, max_clauses=9).notices == ()


def test_weights_above_the_bound_are_scaled_together():
    """One factor for all keeps the ranking; it is told."""
    fitted = fit({"a": 128.0, "b": 1.0}, max_clauses=9, max_weight=64.0)
    assert fitted == Fit({"a": 64.0, "b": 0.5}, scale=0.5)
    [notice] = fitted.notices
    assert notice.startswith("query weights multiplied by 0.5: neural_sparse takes no weight above 64")


def test_weights_that_are_not_positive_are_dropped_and_counted():
    """Zero, negative, and what becomes zero as float32 cannot be asked for."""
    fitted = fit({"zero": 0.0, "minus": -1.0, "tiny": 1e-50, "a": 1.0}, max_clauses=9)
    assert fitted == Fit({"a": 1.0}, dropped=3)
    assert fitted.notices == ("3 query features dropped: their weights are not positive",)


def test_the_strongest_features_are_kept():
    """Where the clause limit leaves no room, the weakest go, ties by name; it is told."""
    fitted = fit({"a": 1.0, "b": 3.0, "d": 2.0, "c": 2.0}, max_clauses=2)
    assert list(fitted.features) == ["b", "c"]
    assert fitted.truncated == 2
    assert "2 weakest query features left out" in fitted.notices[0]


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, 1e39])
def test_weights_that_are_no_float32_are_errors(weight):
    """Such a weight comes from a broken encoder; dropping it would hide that."""
    with pytest.raises(QueryError, match="'broken'"):
        fit({"a": 1.0, "broken": weight}, max_clauses=9)


@given(WEIGHTS, st.integers(1, 6))
def test_fitted_weights_are_never_refused(features, max_clauses):
    """Whatever finite weights come, the clauses take what ``fit`` returns, and it accounts for every feature."""
    aliased = {name.replace(".", "<dot>"): weight for name, weight in features.items()}
    fitted = fit(aliased, max_clauses=max_clauses, max_weight=64.0)
    neural_sparse(fitted.features, capabilities=SERVER)
    weighted_terms(fitted.features)
    assert len(fitted.features) + fitted.dropped + fitted.truncated == len(aliased)
    assert len(fitted.features) <= max_clauses


@given(WEIGHTS)
def test_fit_is_idempotent(features):
    """What fits is left alone the next time."""
    once = fit(features, max_clauses=5, max_weight=64.0).features
    again = fit(once, max_clauses=5, max_weight=64.0)
    assert again == Fit(once)
    assert list(again.features) == list(once)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_values_stay(weight):
    """Rounding to float32 changes no float32."""
    assert as_float32(weight, "a") == weight


def test_long_questions_are_cut_at_a_word():
    """A question of more words than clauses loses its end, and the number of lost words is told."""
    assert fit_text("one two, three four", max_clauses=9) == ("one two, three four", 0)
    assert fit_text("one two three four", max_clauses=2) == ("one two", 2)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("well-known", 3), ("汉字 kana", 3), ("🙂🙂", 2), ("a" * 256, 2), ("naïve über", 2)],
)
def test_tokens_are_never_counted_too_low(text, tokens):
    """Ideographs and emoji count singly, long words as the tokenizer cuts them."""
    assert count_tokens(text) == tokens


def test_clauses_of_a_filter():
    """Each value is a clause, a list of values is one, words of a text count singly."""
    assert count_clauses({"term": {"metadata.lang": "en"}}) == 1
    assert count_clauses({"terms": {"_id": ["1", "2", "3"]}}) == 1
    assert count_clauses({"bool": {"should": [{"match": {"text": "two words"}}, {"term": {"a": 1}}]}}) == 3
    assert count_clauses({"match_all": {}}) == 0


def count_on(client, text):
    """How many tokens the server's own tokenizer makes."""
    return len(client.indices.analyze(body={"tokenizer": "standard", "text": text})["tokens"])


@pytest.mark.server
def test_the_standard_tokenizer_never_makes_more_tokens(client):
    """The count of tokens is an upper bound of what the server's tokenizer makes, in any script."""
    samples = [
        "汉字かなカナ한국어 ภาษาไทย",
        "e-mail: a_b.c@d.org, 3.14 U.S.A. can't",
        "🙂👨‍👩‍👧🇩🇪 x",
        "ab" * 400,
        "𠀀𠀁 ﷺ ½ ℃ ①",
    ]
    for text in samples:
        assert 0 < count_on(client, text) <= count_tokens(text)
