"""Content hash: whether a document says the same as the last time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from opensearch_splade.errors import DocumentError
from opensearch_splade.types import Document

HASH_BYTES = 16
"""Of blake2b: among 10**9 documents the chance that any two contents share a hash is 1.5e-21."""


def content_hash(document: Document) -> str:
    """Hash of title, text and metadata as 32 hexadecimal digits.

    Metadata is taken with sorted keys, so that the order in which a source writes its fields does not matter.

    Raises:
        DocumentError: The metadata holds what JSON cannot.
    """
    try:
        content = orjson.dumps([document.title, document.text, document.metadata], option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise DocumentError(f"It cannot be written as JSON: {error}.") from error
    return hashlib.blake2b(content, digest_size=HASH_BYTES).hexdigest()


def size_of(document: Document) -> int:
    """Roughly the characters of a document: what its memory goes by."""
    return len(document.title) + len(document.text) + sum(map(_length, document.metadata.items()))


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_length, value.items()))
    if isinstance(value, list | tuple):
        return sum(map(_length, value))
    return 8
