"""Token-budget batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.onnx_models.batches import pad, token_budget_batches


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1024))
def test_every_text_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    """Nothing is lost or doubled; padding included, a batch keeps to the budget unless it is one long text."""
    batches = token_budget_batches(lengths, budget)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[place] for place in batch) * len(batch) <= budget


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_longest_first(lengths: list[int]) -> None:
    """The first batch holds the longest text: if memory suffices for it, it suffices for all."""
    assert max(lengths) in [lengths[place] for place in token_budget_batches(lengths, 512)[0]]


def test_texts_without_tokens_are_in_no_batch() -> None:
    """Nothing to run: a tokenizer that adds no special tokens gives none for an empty text."""
    assert token_budget_batches([0, 3, 0], 512) == [[1]]
    assert token_budget_batches([0], 512) == []


def test_padding_is_masked() -> None:
    """Shorter texts are padded on the right, and the mask says where."""
    ids, mask = pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
