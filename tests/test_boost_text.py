"""Boosts as text: what they become, and what is refused with both ways to write one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.query import (
    LINEAR,
    constant_boost,
    feature_boost,
    logarithm,
    parse_boost,
    saturation,
    sigmoid,
)
from opensearch_splade.query.boosts import boost_part
from opensearch_splade.types import Json


@pytest.mark.parametrize(
    ("text", "boost"),
    [
        ("host=docs*0.5", constant_boost({"term": {"host": "docs"}}, 0.5)),
        ("url=a=b*c*2", constant_boost({"term": {"url": "a=b*c"}}, 2.0)),
        ("static.rank:saturation", feature_boost("static.rank", saturation())),
        ("static.rank:saturation:10*2", feature_boost("static.rank", saturation(10.0), 2.0)),
        ("static.rank:log:1*.25", feature_boost("static.rank", logarithm(1.0), 0.25)),
        ("static.rank:sigmoid:5:0.6", feature_boost("static.rank", sigmoid(5.0, 0.6))),
        ("sparse.who:linear*3", feature_boost("sparse.who", LINEAR, 3.0)),
    ],
)
def test_each_way_to_write_one(text: str, boost: Json) -> None:
    """A constant where a field has a value, or a function of a number of the document."""
    assert parse_boost(text) == boost


@pytest.mark.parametrize(
    "text",
    ["", "host", "host=docs", "=docs*2", "host=*2", "host=docs*much", "a:cubic", "a:log", "a:linear:1", ":linear",
     "a:saturation:x", "a:sigmoid:1*2"],
)  # fmt: skip
def test_what_is_neither(text: str) -> None:
    """Refused with an example of both."""
    with pytest.raises(QueryError, match=r"write FIELD=VALUE\*BOOST.*or FIELD:FUNCTION\*BOOST"):
        parse_boost(text)


@pytest.mark.parametrize(
    ("text", "message"), [("a=b*-1", "boost is -1.0: it must be finite"), ("a:saturation:-1", "pivot")]
)
def test_numbers_out_of_bounds(text: str, message: str) -> None:
    """Refused as the builders refuse them."""
    with pytest.raises(QueryError, match=message):
        parse_boost(text)


@given(st.text(min_size=1), st.floats(0.001, 1000))
def test_any_value_is_a_value(value: str, factor: float) -> None:
    """Whatever a user puts there, it is the term's value, and the part of a hit is named by it."""
    boost = parse_boost(f"host={value}*{factor!r}")
    assert boost == constant_boost({"term": {"host": value}}, factor)
    part = boost_part(boost, factor)
    assert (part.feature, part.score) == (f"host={value}", pytest.approx(factor))
