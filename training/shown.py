"""Shown: a document as the student reads it in one step, some of its questions hidden from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from opensearch_splade.training.pseudo_queries import Pair
from opensearch_splade.types import Document

HIDDEN = ("title", "sentence")
"""Kinds of questions that can be taken out of a text; spans and words are what is to be kept of it."""
_LEAST = 8
"""Words that must be left."""


def shown(document: Document, asked: Sequence[Pair]) -> tuple[str, Collection[int]]:
    """The text that is left, and the places of the questions that are really gone from it.

    Args:
        document: As it is.
        asked: Questions of it that are to be hidden; others than ``HIDDEN`` are not.
    """
    title, text, gone = " ".join(document.title.split()), " ".join(document.text.split()), list[int]()
    for place, pair in enumerate(asked):
        rest = (title, text)
        if pair.kind == "title":
            rest = ("", text)
        elif pair.kind == "sentence":
            rest = (title, text.replace(pair.query, " "))
        if rest != (title, text) and len(" ".join(rest).split()) >= _LEAST:
            title, text = rest
            gone.append(place)
    return (" ".join(f"{title} {text}".split()) if gone else document.passage), gone
