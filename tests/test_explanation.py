"""Explanations: the summands of a sparse score, and that they sum to what the server says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.query import contributions, shares
from opensearch_splade.query.explanation import as_stored
from opensearch_splade.types import Contribution


def test_contributions_are_the_shared_features_strongest_first():
    """Only features of both sides give something; ties go by name."""
    why = contributions({"b": 1.0, "a": 2.0, "c": 4.0, "x": 9.0}, {"a": 2.0, "b": 4.0, "c": 0.5, "y": 9.0})
    assert why == [Contribution("a", 2.0, 2.0), Contribution("b", 1.0, 4.0), Contribution("c", 4.0, 0.5)]
    assert shares(why) == [0.4, 0.4, 0.2]


def test_nothing_shared_explains_nothing():
    """A hit of another leg has no sparse summands."""
    assert contributions({"a": 1.0}, {"b": 1.0}) == []
    assert shares([]) == []


def test_stored_weights_are_cut_to_nine_bits():
    """1 + 2^-8 is kept, 1 + 2^-9 is cut to 1."""
    assert as_stored(1 + 2**-8) == 1 + 2**-8
    assert as_stored(1 + 2**-9) == 1.0


@given(st.floats(2**-126, 2.0**127, width=32))
def test_stored_weights_keep_the_bound(weight):
    """A stored weight is never larger, less than 2^-8 smaller, and stays what it is when stored again."""
    stored = as_stored(weight)
    assert 0 <= weight - stored < weight * 2**-8
    assert as_stored(stored) == stored


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(1 / 64, 64)),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(1 / 64, 64)),
)
def test_contributions_sum_to_the_dot_product(query, stored):
    """The sum is the dot product within the rounding of the stored side and float32; the shares sum to 1."""
    why = contributions(query, stored)
    exact = sum(weight * stored[feature] for feature, weight in query.items() if feature in stored)
    assert sum(each.score for each in why) == pytest.approx(exact, rel=2**-8)
    assert sum(shares(why)) == pytest.approx(1.0 if why else 0.0)
