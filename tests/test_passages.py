"""Passages: every token of a document stands in one, on borders of sentences, and the model reads what it should."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.passages import PassageRule, cut_spans, grouped


@given(st.integers(0, 300), st.lists(st.integers(1, 299), unique=True), st.integers(1, 60), st.integers(0, 59))
def test_spans_cover_everything_in_order(count: int, borders: list[int], size: int, overlap: int) -> None:
    """No token is lost, no passage is too long, each brings something new, and overlaps stay within bounds."""
    overlap = min(overlap, size - 1)
    borders = sorted(border for border in borders if border < count)
    spans = cut_spans(count, borders, size, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    assert all(0 < end - start <= size for start, end in spans) or spans == [(0, 0)]
    for (start, end), (after, until) in pairwise(spans):
        assert start < after <= end < until
        assert end - after <= overlap


@given(st.integers(1, 300), st.lists(st.integers(1, 299), unique=True), st.integers(1, 60))
def test_a_sentence_that_fits_is_never_torn(count: int, borders: list[int], size: int) -> None:
    """A span ends within a sentence only if that alone is longer than a span."""
    borders = sorted(border for border in borders if border < count)
    for start, end in cut_spans(count, borders, size, 0)[:-1]:
        inside = [border for border in borders if start < border <= start + size]
        assert end == (inside[-1] if inside else start + size)


@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 59), st.integers(60, 200))
def test_groups_keep_order_and_room(count: int, size: int, overlap: int, room: int) -> None:
    """What the model reads at once holds whole passages, all of them, and no more than it takes."""
    spans = cut_spans(count, [], size, min(overlap, size - 1))
    groups = grouped(spans, room)
    assert [span for group in groups for span in group] == spans
    assert all(group[-1][1] - group[0][0] <= room for group in groups)


@pytest.mark.parametrize("text", ["windows:128", "late:128:32", "late:64+title", "windows:9:8+title"])
def test_a_rule_says_itself(text: str) -> None:
    """What the index notes is what the option takes."""
    assert str(PassageRule.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "late", "late:", "late:x", "late:1:2:3", "early:3", "late:0", "late:8:8", "late:-1"]
)
def test_another_rule_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(OspladeError, match=r"--passages .*(write KIND:TOKENS|at least 1 token)"):
        PassageRule.parse(text)
