"""Pseudo-queries: questions made of the documents themselves, where nobody has asked or judged any.

Of each document, as far as it has them:

* its *title*;
* its first, its last and its *anchor sentence* (the one of most idf a word);
* two *spans* of three to six words next to each other, those with the most idf of some that are drawn;
* three to seven single *words* of it, drawn with their idf as chance, as short questions are.

Titles and sentences are hidden from their document half of the time when it is shown (``shown``): what is left must
answer them (the inverse cloze task; Lee et al., arXiv 1906.00300). Questions asked of two documents, and questions like
one that will be measured, are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np

from opensearch_splade.evaluation.collection_split import normalised, words
from opensearch_splade.evaluation.made_questions import sentences
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.types import Document

Kind = Literal["title", "sentence", "span", "words", "judged"]
_SENTENCE, _SPAN, _WORDS = (5, 40), (3, 6), (3, 7)
"""Words of a question, at least and at most."""
_SPANS, _DRAWN = 2, 8
"""Spans of a document, and how many are drawn for each."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer.

    Attributes:
        query: The question.
        document: Place of the answer among the documents.
        kind: How the question was made; ``judged`` where people did.
    """

    query: str
    document: int
    kind: Kind

    @property
    def made(self) -> bool:
        """Whether the question stands in its document, so that no teacher's opinion of that one says anything."""
        return self.kind != "judged"


def make_pairs(documents: Sequence[Document], measured: Iterable[str] = (), seed: int = 0) -> list[Pair]:
    """Pairs of all documents, in their order; the same documents and seed give the same.

    Args:
        documents: What will be searched.
        measured: Questions that the model will be judged by.
        seed: Another one makes other spans and words.
    """
    having = Counter(word for document in documents for word in set(words(document.passage)))
    # A word of one document would find it alone: a typing error, a number.
    idf = {word: math.log(len(documents) / count) for word, count in having.items() if count > 1}
    made = [pair for place, document in enumerate(documents) for pair in _of(place, document, idf, seed)]
    return without_measured(_asked_once(made), measured)


def without_measured(pairs: Sequence[Pair], measured: Iterable[str]) -> list[Pair]:
    """The pairs whose question is neither one of those nor a copy of it."""
    judged = list(measured)
    if not judged:
        return list(pairs)
    same = set(map(normalised, judged))
    alike = groups([*judged, *(pair.query for pair in pairs)])[len(judged) :]
    return [
        pair
        for pair, group in zip(pairs, alike.tolist(), strict=True)
        if group >= len(judged) and normalised(pair.query) not in same
    ]


def split_held_back(pairs: Sequence[Pair], share: float, most: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs to watch: all questions of a document are on one side, by the hash of its text.

    Of a held-back document one question is kept, and ``most`` in all; the rest is not used at all. Spans and words are
    not kept: they stand in the text as they are, and everything finds them.
    """
    trained: list[Pair] = []
    held: dict[int, Pair] = {}
    for pair in pairs:
        draw = _draw(pair.query if pair.kind == "judged" else f"document {pair.document}")
        if draw >= share:
            trained.append(pair)
        elif pair.kind in {"span", "words"}:
            continue
        elif pair.document not in held or _draw(pair.query) < _draw(held[pair.document].query):
            held[pair.document] = pair
    chosen = sorted(held.values(), key=lambda pair: _draw(pair.query))[:most]
    watched = {pair.document for pair in chosen}
    return [pair for pair in trained if pair.document not in watched], chosen


def _of(place: int, document: Document, idf: dict[str, float], seed: int) -> Iterator[Pair]:
    title, text = " ".join(document.title.split()), " ".join(document.text.split())
    chance = np.random.default_rng(int(_draw(f"{seed} {document.id}") * 2**48))
    if len(words(title)) > 1 and text:
        yield Pair(title, place, "title")
    for sentence in _sentences(document.text, idf):
        yield Pair(sentence, place, "sentence")
    tokens = words(document.passage)
    for span in _spans(tokens, idf, chance):
        yield Pair(span, place, "span")
    if drawn := _words(tokens, idf, chance):
        yield Pair(drawn, place, "words")


def _sentences(text: str, idf: dict[str, float]) -> list[str]:
    found = [" ".join(one.split()) for one in sentences(text)]
    fit = [one for one in found if _SENTENCE[0] <= len(words(one)) <= _SENTENCE[1]]
    if not fit:
        return []
    telling = max(fit, key=lambda one: (float(np.mean([idf.get(word, 0.0) for word in words(one)])), one))
    return list(dict.fromkeys([fit[0], telling, fit[-1]]))


def _spans(tokens: Sequence[str], idf: dict[str, float], chance: np.random.Generator) -> Iterator[str]:
    for _ in range(_SPANS):
        length = int(chance.integers(_SPAN[0], _SPAN[1] + 1))
        if len(tokens) <= length:
            return
        starts = chance.integers(0, len(tokens) - length + 1, _DRAWN).tolist()
        runs = [tokens[start : start + length] for start in starts]
        # fsum: of a set, whose order is another in every process, and the questions must not be
        worth = [math.fsum(idf.get(word, 0.0) for word in set(run)) for run in runs]
        if max(worth) > 0:
            yield " ".join(runs[int(np.argmax(worth))])


def _words(tokens: Sequence[str], idf: dict[str, float], chance: np.random.Generator) -> str:
    telling = [word for word in dict.fromkeys(tokens) if idf.get(word, 0.0) > 0]
    count = int(chance.integers(_WORDS[0], _WORDS[1] + 1))
    if len(telling) <= count:
        return ""
    weights = np.array([idf[word] for word in telling])
    return " ".join(chance.choice(telling, count, replace=False, p=weights / weights.sum()).tolist())


def _asked_once(pairs: Sequence[Pair]) -> list[Pair]:
    """Without questions that two documents have: "Introduction" has no answer. Of one document the first stays."""
    asked: dict[str, dict[int, Pair]] = {}
    for pair in pairs:
        asked.setdefault(normalised(pair.query), {}).setdefault(pair.document, pair)
    single = {id(pair) for by_document in asked.values() if len(by_document) == 1 for pair in by_document.values()}
    return [pair for pair in pairs if id(pair) in single]


def _draw(text: str) -> float:
    """A number in [0, 1) by the hash of a text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=6).digest(), "big") / 2**48
