"""English words as the ``english`` analyzer of OpenSearch indexes them: possessives, stop words, Porter's stems.

Texts are cut by ``collection_split.words``, which unlike the analyzer also cuts at dots and apostrophes: ``os.path`` is
two words, as whoever asks for one of them expects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

from opensearch_splade.errors import MissingExtraError
from opensearch_splade.evaluation.collection_split import words

STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)
"""Lucene's 33."""
_POSSESSIVE = re.compile("['\N{RIGHT SINGLE QUOTATION MARK}\N{FULLWIDTH APOSTROPHE}][sS]\\b")
_MEASURED = re.compile("[aeiouy][^aeiouy]")
_LATER = {"bly": "ble", "blies": "ble", "logy": "log", "logies": "log"}
"""What Porter changed in his program after the paper: Lucene has it, Snowball's ``porter`` has not."""


def english_words(text: str) -> list[str]:
    """The stems of a text's words, without stop words.

    Raises:
        MissingExtraError: snowballstemmer is not installed.
    """
    return [stem(word) for word in words(_POSSESSIVE.sub("", text)) if word not in STOP_WORDS]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Porter's stem of a word in lower case (Porter, "An algorithm for suffix stripping", 1980)."""
    if len(word) <= 2:
        return word
    for ending, form in _LATER.items():
        if word.endswith(ending) and _MEASURED.search(beginning := word.removesuffix(ending)):
            return _porter()(beginning + form)
    return _porter()(word)


@cache
def _porter() -> Callable[[str], str]:
    try:
        import snowballstemmer
    except ImportError as error:
        raise MissingExtraError("snowballstemmer", "train") from error
    stemmed: Callable[[str], str] = snowballstemmer.stemmer("porter").stemWord
    return stemmed
