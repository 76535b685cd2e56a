"""Pruning of questions: what stays, and how it is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.query import PrunedQueries, QueryPruning
from opensearch_splade.types import Features, QueryEncoder, SparseVectors

# Names in the order of token ids, so that ties break alike on both sides.
features = st.lists(st.floats(2**-7, 8, width=32), max_size=30).map(
    lambda weights: {f"f{place:02}": weight for place, weight in enumerate(weights)}
)
ratios = st.none() | st.floats(0.001, 0.999)
counts = st.none() | st.integers(1, 40)


@given(features, ratios, counts)
def test_the_strongest_stays_and_weights_do_not_change(
    asked: Features, max_ratio: float | None, top_k: int | None
) -> None:
    """Only dropped, strongest first, never all; doing it again changes nothing."""
    pruning = QueryPruning(max_ratio, top_k)
    kept = pruning.apply(asked)
    assert kept.items() <= asked.items()
    assert list(kept.values()) == sorted(kept.values(), reverse=True)
    assert max(kept.values(), default=0) == max(asked.values(), default=0)
    assert len(kept) <= (top_k or len(asked))
    assert min(kept.values(), default=1) >= max((w for f, w in asked.items() if f not in kept), default=0)
    assert pruning.apply(kept) == kept


@given(features, st.sampled_from(["max_ratio:0.1", "max_ratio:0.7", "top_k:1", "top_k:16"]))
def test_a_question_is_pruned_as_a_document_is(asked: Features, text: str) -> None:
    """The same rule keeps the same features of the same vector on both sides."""
    weights = np.array(list(asked.values()), np.float32)
    row = SparseVectors(np.array([0, len(asked)]), np.arange(len(asked), dtype=np.int32), weights)
    [(ids, _)] = Pruning.parse(text).apply(row)
    assert QueryPruning.parse(text).apply(asked).keys() == {f"f{place:02}" for place in ids.tolist()}


@given(ratios, counts)
def test_no_rule_keeps_all_and_text_comes_back(max_ratio: float | None, top_k: int | None) -> None:
    """What is written can be read again."""
    pruning = QueryPruning(max_ratio and float(f"{max_ratio:g}"), top_k)
    if str(pruning):
        assert QueryPruning.parse(str(pruning)) == pruning
    assert list(QueryPruning().apply({"a": 1.0, "b": 2.0})) == ["b", "a"]


@pytest.mark.parametrize(
    "text",
    ["", "top_k", "top_k:0", "top_k:1.5", "max_ratio:1", "max_ratio:nan", "max_ratio:x", "top_k:1,top_k:2", "a:1"],
)
def test_what_is_no_pruning(text: str) -> None:
    """One error that says what would be right."""
    with pytest.raises(QueryError, match="query pruning"):
        QueryPruning.parse(text)


@pytest.mark.parametrize("name", ["splade-tiny", "splade-tiny-idf"])
def test_both_query_sides_are_pruned(name: str) -> None:
    """The wrapper is a query encoder of the same vectors."""
    encoder = SparseEncoder.load(name)
    pruned = PrunedQueries(encoder, QueryPruning(max_ratio=0.2, top_k=4))
    assert isinstance(pruned, QueryEncoder)
    assert pruned.fingerprint == encoder.fingerprint
    whole, found = encoder.encode_query("how to read the csv file"), pruned.encode_query("how to read the csv file")
    assert list(found.items()) == list(whole.items())[: len(found)]
    assert 0 < len(found) <= 4 < len(whole)
    assert min(found.values()) >= 0.2 * max(whole.values())
