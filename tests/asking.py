"""Generators of questions, as users write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opensearch_splade.types import Document

CALLS: list[int] = []
"""Documents of each call."""
FAILS_AFTER: list[int] = []
"""Calls after which the next one fails; none if it is empty."""


def ask(documents: Sequence[Document]) -> Iterator[list[str]]:
    """Two questions of each document with a title, none of others."""
    if FAILS_AFTER and len(CALLS) >= FAILS_AFTER[0]:
        raise ConnectionError("the model is away")
    CALLS.append(len(documents))
    for document in documents:
        yield [f"what does {document.title} do", "what is this  good\nfor"] if document.title else []


def too_few(documents: Sequence[Document]) -> list[list[str]]:
    """Not one list for each."""
    return [["a question"] for _ in documents[1:]]


def flat(documents: Sequence[Document]) -> list[str]:
    """Texts instead of lists of them."""
    return ["a question" for _ in documents]
