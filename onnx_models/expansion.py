"""Expansion terms: words that a document lacks and a question may use, given with it (uniCOIL, docT5query, TILDE).

A term-weighting model weighs only the tokens that it reads, so they are read after the text: ``text [SEP] terms``. They
come from a model of the caller's own; here they are only joined, and the result is an ordinary text.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensearch_splade.onnx_models.tokenizer import Tokenizer


def with_expansion(text: str, terms: Iterable[str], tokenizer: Tokenizer, separator: str = "[SEP]") -> str:
    """The text, the separator, and those terms that bring a token which the text and earlier terms do not have.

    What lies beyond the bundle's ``max_length`` is cut off as always; leave room for the terms.

    Args:
        text: A passage.
        terms: Words, in the order in which they are to be read.
        tokenizer: The encoder's.
        separator: A special token of that tokenizer.

    Example:
        >>> from opensearch_splade.onnx_models import SparseEncoder
        >>> tokenizer = SparseEncoder.load("splade-tiny").tokenizer
        >>> with_expansion("a red planet", ["mars", "planet", "mars"], tokenizer)
        'a red planet [SEP] mars'
    """
    terms = list(terms)
    known_ids, *found = map(set, tokenizer.encode([text, *terms], special=False))
    new: list[str] = []
    for term, ids in zip(terms, found, strict=True):
        if not ids <= known_ids:
            new.append(term)
            known_ids |= ids
    return f"{text} {separator} {' '.join(new)}" if new else text
