"""The sliding window of texts sorted by length, and padding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.onnx_models.batches import SlidingWindow, pad

lengths_ = st.lists(st.integers(1, 300), min_size=1, max_size=60)


def filled(lengths: list[int]) -> SlidingWindow:
    """A window of texts of these lengths."""
    window = SlidingWindow()
    for place, length in enumerate(lengths):
        window.add(place, [7] * length)
    return window


@given(lengths_, st.integers(1, 1024))
def test_every_text_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    """Nothing is lost or doubled; padding included, a batch keeps to the budget unless it is one long text."""
    window, seen = filled(lengths), []
    assert window.tokens == sum(lengths)
    while window:
        places, batch = window.take(budget)
        assert [len(tokens) for tokens in batch] == [lengths[place] for place in places]
        assert len(batch) == 1 or max(map(len, batch)) * len(batch) <= budget
        seen += places
    assert sorted(seen) == list(range(len(lengths)))
    assert window.tokens == 0


@given(lengths_, st.integers(1, 1024))
def test_nothing_waits_forever(lengths: list[int], budget: int) -> None:
    """Each batch holds the text that has waited longest."""
    window, waiting = filled(lengths), set(range(len(lengths)))
    while window:
        oldest = min(waiting)
        places, _ = window.take(budget)
        assert oldest in places
        waiting -= set(places)


def test_neighbours_in_length_go_together() -> None:
    """Little is padding: the oldest takes those next to it, not those that came next."""
    assert filled([10, 200, 11, 190, 9]).take(33)[0] == [2, 0, 4]


def test_padding_is_masked() -> None:
    """Shorter texts are padded on the right, and the mask says where."""
    ids, mask = pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert pad([[5, 6, 7], [8]], multiple=4)[1].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
