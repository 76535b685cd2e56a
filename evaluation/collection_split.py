"""Which questions are the same, and which half of a collection a question belongs to."""

from __future__ import annotations

import hashlib
import re
import unicodedata

TEST_SHARE = 0.5
"""Of the questions of a click log. Half: what is tuned has few parameters, and differences need many test questions."""
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Letters and digits of a text, in the words they make: compatible forms and cases are one (NFKC, casefold)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """What two questions share that are the same but for case, punctuation, spaces and the form of characters."""
    return " ".join(words(text)) or text.strip()


def split_of(text: str, share: float = TEST_SHARE) -> str:
    """``train`` or ``test``, by the hash of the normalised question alone.

    A question that is asked again, tomorrow or in another log, falls into the same split, so nothing leaks.

    Args:
        text: The question.
        share: Of questions that are for testing, 0 to 1.
    """
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "replace"), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") < share * 2**64 else "train"
