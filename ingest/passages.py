"""Passages: a long document cut by tokens, on borders of sentences.

* ``windows``: each passage is encoded alone, with the special tokens around it.
* ``late``: the model reads as much of the document as it can at once, and each passage is pooled from its own places
  (Late Chunking, arXiv 2409.04701, with the sparse head's maximum in place of the mean): a passage knows what stands
  around it, and a text is encoded once however much its passages overlap.

Either way the title may be put in front of every piece that the model reads, so that a passage knows its document
(document-aware passages, DAPR, arXiv 2305.13915).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models.long_texts import Span
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.types import Document

PassageKind = Literal["windows", "late"]
MOST_CONTEXT = 32
"""Tokens of a title that stand before a passage: what is longer is rather a text."""
_TITLE = "+title"
_SENTENCE_END = re.compile("[.!?\u2026][\"'\u201d\u2019)\\]]*\\s+(?![a-z])|[\u3002\uff01\uff1f]|\n\\s*\n")


@dataclass(frozen=True, slots=True)
class PassageRule:
    """How documents are cut.

    Attributes:
        kind: ``windows`` or ``late``.
        tokens: The longest passage.
        overlap: Tokens at the end of a passage that may stand in the next one too: from its first whole sentence on.
        with_title: Whether the model reads the title before every passage (windows) or piece of the document (late).

    Raises:
        OspladeError: A number is out of bounds.
    """

    kind: PassageKind
    tokens: int
    overlap: int = 0
    with_title: bool = False

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.overlap < self.tokens:
            raise OspladeError(
                f"--passages {self}: passages have at least 1 token, and overlap in fewer than they have."
            )

    @classmethod
    def parse(cls, text: str) -> PassageRule:
        """Reads ``windows:128``, ``late:128:32`` and ``late:128:32+title``.

        Raises:
            OspladeError: It is none of these.
        """
        rest = text.removesuffix(_TITLE)
        kind, *numbers = rest.split(":")
        for known in get_args(PassageKind):
            if kind == known and 1 <= len(numbers) <= 2 and all(number.isdecimal() for number in numbers):
                tokens, overlap = (int(number) for number in [*numbers, "0"][:2])
                return cls(known, tokens, overlap, rest != text)
        raise OspladeError(
            f"--passages {text}: write KIND:TOKENS or KIND:TOKENS:OVERLAP, with windows or late as KIND, and +title "
            "after it for the title before each; e.g. late:128:32+title."
        )

    def __str__(self) -> str:
        overlap = f":{self.overlap}" if self.overlap else ""
        return f"{self.kind}:{self.tokens}{overlap}{_TITLE if self.with_title else ''}"


class Passage(NamedTuple):
    """One passage of a document.

    Attributes:
        start: Where it begins in the document's ``text``, in characters. The title before it is not counted.
        end: Where it ends there.
        kept: Whether it gets a vector; the gate decides.
    """

    start: int
    end: int
    kept: bool = True


class LatePiece(NamedTuple):
    """What the model reads at once.

    Attributes:
        tokens: Token ids, special ones included.
        spans: The passages in it, by the places of their tokens; before them the title, if it has one.
        has_title: Whether the first span is the title, whose features each passage has too.
    """

    tokens: list[int]
    spans: list[Span]
    has_title: bool = False


class Cut(NamedTuple):
    """A document in passages.

    Attributes:
        passages: At least one.
        spans: Their places in ``ids``.
        ids: Token ids of the whole text, without special tokens.
        context: Token ids of the title that stands before each piece.
    """

    passages: list[Passage]
    spans: list[Span]
    ids: list[int]
    context: list[int]


class PassageCutter:
    """Cuts documents and makes what the encoder reads.

    Args:
        rule: How.
        tokenizer: Of the sparse bundle.
        max_length: Tokens that the model takes, special ones included.

    Raises:
        OspladeError: The passages are longer than the model takes.
        BundleError: The bundle's prompt does not allow it.
    """

    def __init__(self, rule: PassageRule, tokenizer: Tokenizer, max_length: int) -> None:
        self.rule = rule
        self._tokenizer = tokenizer
        self._before, self._after = tokenizer.before, tokenizer.after
        self._room = max_length - len(self._before) - len(self._after) - (MOST_CONTEXT if rule.with_title else 0)
        if rule.tokens > self._room:
            raise OspladeError(
                f"--passages {rule}: this bundle takes {max_length} tokens at once, which leaves {self._room} for a "
                f"passage: write {rule.kind}:{max(1, self._room)} or fewer."
            )

    def cut(self, documents: Sequence[Document]) -> list[Cut]:
        """Each document's passages, in order."""
        separate = [self.rule.with_title and bool(one.text.strip()) for one in documents]
        texts = [one.text if apart else one.passage for one, apart in zip(documents, separate, strict=True)]
        titles = [one.title if apart else "" for one, apart in zip(documents, separate, strict=True)]
        contexts = self._tokenizer.encode(titles, special=False) if any(titles) else [[]] * len(titles)
        together = zip(documents, texts, self._tokenizer.offsets(texts), contexts, strict=True)
        return [self._cut(*each) for each in together]

    def _cut(self, document: Document, text: str, tokenised: tuple[list[int], list[Span]], context: list[int]) -> Cut:
        ids, offsets = tokenised
        # What stands before the document's text in what was tokenised: the title and a space, or nothing.
        shift = text.find(document.text) if document.text else len(text)
        spans = cut_spans(len(ids), _borders(text, offsets), self.rule.tokens, self.rule.overlap)
        passages = [
            Passage(max(0, offsets[start][0] - shift), max(0, offsets[end - 1][1] - shift))
            for start, end in spans
            if end
        ]
        return Cut(passages or [Passage(0, len(document.text))], spans, ids, context[:MOST_CONTEXT])

    def windows(self, cut: Cut) -> list[list[int]]:
        """What the model reads for each passage that is kept."""
        return [
            [*self._before, *cut.context, *cut.ids[start:end], *self._after] if cut.ids else []
            for (start, end), passage in zip(cut.spans, cut.passages, strict=True)
            if passage.kept
        ]

    def late(self, cut: Cut) -> list[LatePiece]:
        """What the model reads for all passages that are kept: as many at once as it takes, in order."""
        kept = [span for span, passage in zip(cut.spans, cut.passages, strict=True) if passage.kept]
        before = [*self._before, *cut.context]
        pieces = list[LatePiece]()
        for group in grouped(kept, self._room):
            # Room that the group leaves is given to what stands before it, which its passages then know of.
            first = min(group[0][0], max(0, group[-1][1] - self._room))
            shift = len(before) - first
            tokens = [*before, *cut.ids[first : group[-1][1]], *self._after]
            title = [(len(self._before), len(before))] if cut.context else []
            spans = [(start + shift, end + shift) for start, end in group]
            pieces.append(LatePiece(tokens, title + spans, bool(title)))
        return pieces


def cut_spans(count: int, borders: Sequence[int], size: int, overlap: int) -> list[Span]:
    """Spans of at most ``size`` places that cover ``count`` places; at least one, be it empty.

    Args:
        count: Places.
        borders: Where sentences begin, ascending. A span ends at the last one that fits, or in the midst of a sentence
            that is longer than a span.
        size: Of the longest span.
        overlap: How far before the end of a span the next one may begin: at the first border there.
    """
    spans, start, end = list[Span](), 0, 0
    while count - start > size:
        place = bisect_right(borders, start + size) - 1
        # Beyond the end of the last one, or an overlap would bring nothing new.
        end = borders[place] if place >= 0 and borders[place] > end else start + size
        spans.append((start, end))
        place = bisect_left(borders, max(end - overlap, start + 1))
        start = borders[place] if place < len(borders) and borders[place] <= end else end - overlap
    return [*spans, (start, count)]


def grouped(spans: Sequence[Span], room: int) -> list[list[Span]]:
    """Consecutive spans together as long as they reach over at most ``room`` places."""
    groups = list[list[Span]]()
    for span in spans:
        if groups and span[1] - groups[-1][0][0] <= room:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _borders(text: str, offsets: Sequence[Span]) -> list[int]:
    """The tokens with which sentences begin."""
    starts = [start for start, _ in offsets]
    return sorted({bisect_left(starts, match.end()) for match in _SENTENCE_END.finditer(text)} - {0, len(starts)})
