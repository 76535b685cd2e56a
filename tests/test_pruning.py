"""Pruning of document vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.types import SparseVectors

rows = st.lists(st.lists(st.floats(2**-7, 4, width=32), max_size=12), max_size=6)
rules = st.sampled_from(
    ["max_ratio:0.1", "max_ratio:0.6", "abs_value:0.5", "top_k:3", "alpha_mass:0.5", "alpha_mass:0.9"]
)


def vectors(weights: list[list[float]]) -> SparseVectors:
    """Rows with token ids 0, 1, 2, ..."""
    flat = [weight for row in weights for weight in row]
    ids = [place for row in weights for place in range(len(row))]
    return SparseVectors(np.cumsum([0, *map(len, weights)]), np.array(ids, np.int32), np.array(flat, np.float32))


def reference(rule: Pruning, row: list[float]) -> set[int]:
    """One row by the book: strongest first, ties to the lower token id, the strongest always kept."""
    order = sorted(range(len(row)), key=lambda place: (-row[place], place))
    kept: set[int] = set(order[:1])
    mass = 0.0
    for rank, place in enumerate(order):
        mass += row[place]
        keep = {
            "max_ratio": np.float32(row[place]) >= np.float32(rule.value) * np.float32(max(row)),
            "abs_value": row[place] >= rule.value,
            "top_k": rank < rule.value,
            "alpha_mass": mass <= rule.value * sum(row) * (1 + 1e-9),
        }[rule.kind]
        kept |= {place} if keep else set()
    return kept


@given(rows, rules)
def test_each_rule_by_the_book(weights: list[list[float]], text: str) -> None:
    """All rows at once equal one row at a time, written plainly."""
    rule = Pruning.parse(text)
    pruned = rule.apply(vectors(weights))
    assert [set(ids.tolist()) for ids, _ in pruned] == [reference(rule, row) for row in weights]


@given(rows, rules)
def test_weights_that_stay_are_unchanged_and_no_row_is_emptied(weights: list[list[float]], text: str) -> None:
    """Pruning only drops, and leaves every document at least its strongest feature."""
    for row, (ids, kept) in zip(weights, Pruning.parse(text).apply(vectors(weights)), strict=True):
        assert kept.tolist() == [row[place] for place in ids.tolist()]
        assert bool(row) == bool(len(ids))


def test_the_largest_of_four_kinds() -> None:
    """Worked by hand: weights 4, 2, 1, 1."""
    one = vectors([[4.0, 2.0, 1.0, 1.0]])
    kept = {
        text: Pruning.parse(text).apply(one).token_ids.tolist()
        for text in ("max_ratio:0.5", "top_k:3", "alpha_mass:0.75")
    }
    assert kept == {"max_ratio:0.5": [0, 1], "top_k:3": [0, 1, 2], "alpha_mass:0.75": [0, 1]}


@pytest.mark.parametrize(
    "text",
    ["", "max_ratio", "max_ratio:1", "max_ratio:0", "top_k:2.5", "top_k:0", "abs_value:-1", "alpha_mass:nan", "best:3"],
)
def test_rules_out_of_range_are_refused(text: str) -> None:
    """The error repeats what was written."""
    with pytest.raises(OspladeError, match="--prune"):
        Pruning.parse(text)


def test_a_rule_reads_as_it_is_written() -> None:
    """``str`` is the parse format: it stands in the index' ``_meta``."""
    assert str(Pruning.parse("max_ratio:0.10")) == "max_ratio:0.1"
    assert Pruning.parse(str(Pruning("top_k", 200))) == Pruning("top_k", 200)
