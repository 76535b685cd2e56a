"""When to stop: what the estimates promise, with reviewers that are made up by chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from opensearch_splade.errors import QueryError
from opensearch_splade.query.stopping import Review, at_most, knee, score_knee, slope_ratio, unseen_at_most


@st.composite
def samples(draw):
    """Population, marked, drawn."""
    population = draw(st.integers(1, 400))
    return population, draw(st.integers(0, population)), draw(st.integers(0, population))


@st.composite
def judged(draw):
    """Ranks of relevant documents, how many were seen, and of how many."""
    total = draw(st.integers(1, 300))
    seen = draw(st.integers(0, total))
    return sorted(draw(st.sets(st.integers(1, seen), max_size=20)) if seen else []), seen, total


@given(samples(), st.integers(0, 50))
def test_the_sample_is_the_textbooks(sample, hits) -> None:
    """The distribution is the hypergeometric one, as SciPy has it."""
    population, marked, drawn = sample
    assert at_most(hits, population, marked, drawn) == pytest.approx(
        hypergeom.cdf(hits, population, marked, drawn), abs=1e-9
    )


@given(judged(), st.floats(0.01, 0.5))
def test_the_bound_is_the_largest_number_that_no_sample_rules_out(review, doubt) -> None:
    """Searched for by halves, and from relevant documents on only: the same as by trying all places and numbers."""
    ranks, seen, total = review

    def is_possible(unseen: int) -> bool:
        starts = range(seen)
        inside = [sum(rank > start for rank in ranks) for start in starts]
        return all(
            hypergeom.cdf(found, total - start, found + unseen, seen - start) >= doubt * (1 - 1e-9)
            for start, found in zip(starts[:40], inside, strict=False)
        )

    found = unseen_at_most(ranks, seen, total, doubt)
    assert 0 <= found <= total - seen
    if seen <= 40:
        assert is_possible(found)
        assert found == total - seen or not is_possible(found + 1)


@given(judged())
def test_more_judgements_without_a_find_lower_the_bound(review) -> None:
    """Each document that is read in vain makes the end nearer; more confidence makes it farther."""
    ranks, seen, total = review
    if seen < total:
        assert unseen_at_most(ranks, seen + 1, total) <= unseen_at_most(ranks, seen, total)
    assert unseen_at_most(ranks, seen, total, 0.01) >= unseen_at_most(ranks, seen, total, 0.1)
    assert unseen_at_most(ranks, total, total) == 0


def test_a_ranking_by_chance_keeps_the_promise_about_as_often_as_it_says() -> None:
    """The hard case: documents in no order, where the sample is a sample. Stopping at 80 % with 95 % confidence.

    One place was looked at often and the best one taken, so 95 % is not quite kept; a good ranking is kinder.
    """
    chance, kept, rounds = np.random.default_rng(1), 0, 100
    for _ in range(rounds):
        relevant = [number < 30 for number in range(600)]
        chance.shuffle(relevant)
        review = Review(600, 0.95)
        for place, one in enumerate(relevant):
            review.judge(one)
            if place % 20 == 19 and review.estimate().recall_at_least >= 0.8:
                break
        kept += review.estimate().found >= 0.8 * 30
    assert 0.8 * rounds <= kept < rounds


def test_the_knee_of_a_good_ranking_is_where_the_finds_end() -> None:
    """Forty finds in a row: the slope has fallen 116 times after 116 documents more, and not before."""
    review = Review(5000)
    for number in range(155):
        review.judge(number < 40)
    assert not review.estimate().is_past_knee
    review.judge(False)
    assert (review.estimate().is_past_knee, review.estimate().slope_ratio) == (True, 116)


@given(st.sets(st.integers(1, 200), max_size=30))
def test_without_an_end_of_finds_there_is_no_knee(found) -> None:
    """The ratio is positive and finite, and of finds that come evenly near 1."""
    ranks = sorted(found)
    assert 0 < slope_ratio(ranks, 200) < 201
    assert slope_ratio(list(range(10, 201, 10)), 200) < 4


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50).map(lambda found: sorted(found, reverse=True)))
def test_a_bend_is_a_rank(scores) -> None:
    """And stands where a cliff is."""
    assert 0 <= score_knee(scores) <= len(scores)
    assert score_knee([9, 9, 9, 1, 1, 1, 1]) == 3
    assert knee([0, 1, 2], [0, 5, 5], 10) == 1


def test_judgements_are_those_of_the_ranking() -> None:
    """No more than it has documents; nothing found is no recall."""
    review = Review(1)
    review.judge(False)
    assert (review.estimate().recall_at_least, review.estimate().unseen_at_most) == (0, 0)
    with pytest.raises(QueryError, match="more judgements than"):
        review.judge(True)
    with pytest.raises(QueryError, match="confidence lies between"):
        Review(5, 1)
