"""Tokenizer: text to token ids, the same for documents, queries and counting."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.prompt import NO_PROMPT, Prompt, echo_pieces
from opensearch_splade.onnx_models.word_cache import WordCache, splits_at_spaces


class Tokenizer:
    """A Hugging Face fast tokenizer with our truncation and no padding.

    Args:
        path: ``tokenizer.json``.
        max_length: Tokens kept of a text, special tokens included.
        prompt: What stands around documents and questions.

    Raises:
        BundleError: The file cannot be read as a tokenizer.
    """

    def __init__(self, path: Path, max_length: int, prompt: Prompt = NO_PROMPT) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises a bare Exception
            raise BundleError(f"{path} cannot be read as a tokenizer: {error}.") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._max_length = max_length
        self._prompt = prompt
        self._words = WordCache(self._tokenizer) if splits_at_spaces(self._tokenizer) else None
        self._before, self._after = self._ends() if self._words else ([], [])

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token to id, added tokens included."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    @property
    def special(self) -> frozenset[str]:
        """Added tokens that the tokenizer marks as special, such as ``[CLS]``."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @property
    def special_ids(self) -> list[int]:
        """The same by id."""
        return [self.vocabulary[token] for token in sorted(self.special)]

    def echo_ids(self) -> tuple[list[int], list[int], list[int]]:
        """Ids before, between and after the two copies of an echo, special tokens at its ends included.

        The pieces are tokenised one by one, so that both copies are the same ids whatever stands beside them.
        """
        _, before, between, after = echo_pieces(self._prompt.echo or "")
        whole = self._tokenizer.encode("a", add_special_tokens=self._prompt.special_tokens)
        mask, ids = list(whole.special_tokens_mask), list(whole.ids)
        start, end = mask.index(0), len(mask) - mask[::-1].index(0)
        middle = [self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in (before, between, after)]
        return ids[:start] + middle[0], middle[1], middle[2] + ids[end:]

    def encode(self, texts: Sequence[str], *, special: bool = True, query: bool = False) -> list[list[int]]:
        """Token ids of each text, truncated.

        Args:
            texts: Documents or questions.
            special: Whether what the model expects around them is added: special tokens and the prompt.
            query: Whether they are questions, which may have a prefix of their own.
        """
        if special and self._prompt.changes_strings:
            texts = [self._prompt.apply(text, query=query) for text in texts]
        special = special and self._prompt.adds_special_tokens
        try:
            return self._encode(texts, special=special)
        except (TypeError, UnicodeEncodeError):
            # A lone surrogate is no character; the tokenizer refuses the whole batch for one of them.
            return self._encode(list(map(well_formed, texts)), special=special)

    def offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Token ids of documents, neither truncated nor with anything around them, and each token's characters.

        ``before + ids + after`` is what ``encode`` gives where that is not longer than ``max_length``; of a longer text
        a caller makes windows of the same form.

        Args:
            texts: Documents.

        Returns:
            Of each text its token ids, and for each token the indices ``(start, end)`` of its characters in the string.

        Raises:
            BundleError: The prompt has an echo.
        """
        prefix, leading = self._prompt.document, len(self._prefix_ids)
        found: list[tuple[list[int], list[tuple[int, int]]]] = []
        whole = [prefix + well_formed(text) for text in texts]
        for text, encoding in zip(texts, self._whole.encode_batch(whole, add_special_tokens=False), strict=True):
            skipped = leading if encoding.ids[:leading] == self._prefix_ids else 0
            place = _places(text)
            spans = [
                (place[max(0, start - len(prefix))], place[max(0, end - len(prefix))])
                for start, end in encoding.offsets[skipped:]
            ]
            found.append((encoding.ids[skipped:], spans))
        return found

    @cached_property
    def before(self) -> list[int]:
        """Ids that stand before a document's own: special tokens and the prefix.

        Raises:
            BundleError: The prompt has an echo.
        """
        return self._around[0] + self._prefix_ids

    @cached_property
    def after(self) -> list[int]:
        """Ids that stand after a document's own.

        Raises:
            BundleError: The prompt has an echo.
        """
        return self._around[1]

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        whole = self._whole.encode("a", add_special_tokens=self._prompt.adds_special_tokens)
        mask, ids = list(whole.special_tokens_mask), list(whole.ids)
        return ids[: mask.index(0)], ids[len(mask) - mask[::-1].index(0) :]

    @cached_property
    def _prefix_ids(self) -> list[int]:
        """Ids of the prefix alone: a tokenizer may join its last space with the text."""
        encoding = self._whole.encode(f"{self._prompt.document}a", add_special_tokens=False)
        ends = [end for _, end in encoding.offsets]
        return list(encoding.ids[: bisect_right(ends, len(self._prompt.document))])

    @cached_property
    def _whole(self) -> Any:
        """The same tokenizer without truncation, which is a setting of the object."""
        import tokenizers

        if self._prompt.echo is not None:
            raise BundleError(
                "This bundle reads each text twice (its prompt has an echo), so a long text cannot be read in windows. "
                "Cut it and encode each passage by itself, or export the checkpoint without --echo."
            )
        whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole

    def _encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        if self._words is None:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
            return [encoding.ids for encoding in encodings]
        if not special:
            return self._words.encode(texts, self._max_length)
        before, after = self._before, self._after
        room = self._max_length - len(before) - len(after)
        return [before + tokens + after for tokens in self._words.encode(texts, room)]

    def _ends(self) -> tuple[list[int], list[int]]:
        """The ids that ``special`` adds before and after a text, seen at one word."""
        (plain,) = self._tokenizer.encode("a", add_special_tokens=False).ids
        whole: list[int] = self._tokenizer.encode("a").ids
        at = whole.index(plain)
        return whole[:at], whole[at + 1 :]


def well_formed(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _places(text: str) -> Sequence[int]:
    """Index in the text of each character of its ``well_formed`` form, and of the end."""
    if text.isascii():
        return range(len(text) + 1)
    starts = [
        place for place, (char, last) in enumerate(zip(text, " " + text, strict=False)) if not _is_pair(last + char)
    ]
    return [*starts, len(text)]


def _is_pair(chars: str) -> bool:
    return "\ud800" <= chars[0] <= "\udbff" and "\udc00" <= chars[1] <= "\udfff"
