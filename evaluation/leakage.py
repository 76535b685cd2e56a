"""Leakage: what was tuned on a question says nothing about that question."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from opensearch_splade.errors import QueryError

HELD_OUT = ("test", "eval")
"""Names of splits that are for measuring."""


def normal_text(text: str) -> str:
    """A question without case, marks and punctuation: what makes two of them the same."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain))


def refuse_test_split(split: str, judged_on: str, *, allow_test: bool) -> None:
    """Stops tuning on what is for measuring.

    Raises:
        QueryError: The split is named so, or is the one that results are judged on.
    """
    if allow_test:
        return
    if split in HELD_OUT:
        raise QueryError(
            f"split {split!r} is for measuring: what is tuned on it and measured on it is too good to be true. Tune on "
            "another one (--split train), judge each question by parameters that were chosen without it "
            "(--cross-validate), or say --allow-test"
        )
    if split == judged_on:
        raise QueryError(f"tuning and judging on the same split {split!r}: judge on another one, or --cross-validate")


def overlapping(training: Mapping[str, str], judged: Mapping[str, str]) -> dict[str, str]:
    """Training questions whose text is judged too, under whatever id, each with the other's id."""
    texts = {normal_text(text): query for query, text in judged.items()}
    return {query: texts[normal] for query, text in training.items() if (normal := normal_text(text)) in texts}


def refuse_overlap(training: Mapping[str, str], judged: Mapping[str, str], *, allow_test: bool = False) -> None:
    """Stops tuning on questions that are judged later.

    Args:
        training: Query id to text.
        judged: The same of the questions that results are measured on.
        allow_test: Whether the caller knows.

    Raises:
        QueryError: A text is on both sides; names the first.
    """
    both = overlapping(training, judged)
    if both and not allow_test:
        query, other = next(iter(both.items()))
        raise QueryError(
            f"{len(both)} training questions are among those that are judged (e.g. {query!r} is {other!r}): leave them "
            "out (--leave-out-overlap), or say --allow-test"
        )


def folds(queries: Mapping[str, str], count: int, seed: int = 0) -> list[list[str]]:
    """Questions in groups of like size, by chance; the same text is in one group only.

    Raises:
        QueryError: There are fewer distinct questions than groups, or fewer than two groups.
    """
    groups: dict[str, list[str]] = {}
    for query, text in queries.items():
        groups.setdefault(normal_text(text), []).append(query)
    if not 2 <= count <= len(groups):
        raise QueryError(f"{count} folds of {len(groups)} distinct questions: choose 2 to {len(groups)}")
    shuffled: Sequence[list[str]] = list(groups.values())
    order = np.random.default_rng(seed).permutation(len(shuffled))
    parts: list[list[str]] = [[] for _ in range(count)]
    for place, group in enumerate(order):
        parts[place % count] += shuffled[group]
    return parts
