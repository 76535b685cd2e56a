"""Word cache: BERT's tokenizer at the speed of a dictionary.

WordPiece with BERT's normaliser and pre-tokenizer treats what stands between two spaces without looking beyond them:
cleaning, case, accents and the splits at punctuation are decided character by character, and no word piece spans a
space. So the token ids of a text are those of its parts, one after the other, and a part needs the tokenizer only when
it is met for the first time; by Zipf's law that is seldom.

Only BERT's own four space characters count here. Python's ``str.split`` would also split at characters that BERT
deletes (U+001C) or keeps together until its own pre-tokenizer has looked at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from threading import Lock
from typing import Any

_LONGEST_KEPT = 48
"""Characters of a part that is kept; longer ones (addresses, encoded data) hardly come again."""
_GENERATION = 16_384
"""Parts learnt before those that were not met meanwhile are forgotten: by Zipf's law hardly one that comes again."""


def splits_at_spaces(tokenizer: Any) -> bool:
    """Whether a ``tokenizers.Tokenizer`` gives each part of a text between spaces the same ids wherever it stands."""
    added = tokenizer.get_added_tokens_decoder().values()
    kinds = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)
    return [type(kind).__name__ for kind in kinds] == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not any(
        " " in token.content or token.content.split() != [token.content] for token in added
    )


class WordCache:
    """Token ids by part of a text. Safe to call from several threads.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` that ``splits_at_spaces``, without padding.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Sequence[int]] = {"": ()}
        self._older: dict[str, Sequence[int]] = {}
        self._ids = list(range(tokenizer.get_vocab_size()))  # one object for each id, not one for each place it has
        self._lock = Lock()

    def encode(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """The first ``limit`` token ids of each text, without special tokens around them.

        Raises:
            UnicodeEncodeError: A text holds a lone surrogate.
            TypeError: Likewise, as the tokenizer says it.
        """
        split = [text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ") for text in texts]
        found: list[list[int]] = [[]] * len(texts)
        wanting, reach = list(range(len(texts))), limit
        with self._lock:
            passing: set[str] = set()
            while wanting:
                wanting = [place for place in wanting if not self._look_up(split, place, limit, found)]
                # Most parts are a token or more, so the first `limit` of them are nearly always enough.
                passing |= self._learn({part for place in wanting for part in split[place][:reach]})
                reach *= 8
            for part in passing:
                self._known.pop(part, None)
        return found

    def _look_up(self, split: list[list[str]], place: int, limit: int, found: list[list[int]]) -> bool:
        known, parts = self._known.__getitem__, split[place]
        try:
            tokens = list(chain.from_iterable(map(known, parts[:limit])))
            if len(tokens) < limit < len(parts):  # parts without any token, such as control characters
                tokens = list(islice(chain.from_iterable(map(known, parts)), limit))
        except KeyError:
            return False
        found[place] = tokens[:limit]
        return True

    def _learn(self, parts: set[str]) -> set[str]:
        """Makes parts known; returns those that are to be forgotten again."""
        if len(self._known) > _GENERATION:
            self._older, self._known = self._known, {"": ()}
        missing = parts - self._known.keys()
        self._known.update((part, self._older[part]) for part in missing & self._older.keys())
        new = list(missing - self._older.keys())
        encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False) if new else []
        shared = self._ids.__getitem__
        self._known.update(
            (part, tuple(map(shared, encoding.ids))) for part, encoding in zip(new, encodings, strict=True)
        )
        return {part for part in missing if len(part) > _LONGEST_KEPT}
