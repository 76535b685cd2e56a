"""Pseudo-queries: questions made of the documents themselves, where nobody has asked or judged any.

Of each document up to four, as far as it has them:

* its *title*. For every other document it is hidden from the text, so that both are learned: to match and to expand;
* its *first sentence* and its *anchor sentence* (the one of most idf a word), hidden from the text: what is left must
  answer it (the inverse cloze task; Lee et al., arXiv 1906.00300);
* a *span* of three to five words next to each other with the most idf, as short questions are.

Questions asked of two documents, and questions like one that will be measured, are left out.
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

Kind = Literal["title", "first", "anchor", "span", "judged", "log", "generated"]
_SPAN = (3, 5)
_LEAST_LEFT = 8  # words that a document must have besides the sentence that is hidden


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer.

    Attributes:
        query: The question.
        document: Place of the answer among the documents.
        text: The answer as the student reads it, without what was hidden.
        kind: How the question was made; ``judged`` where people said what answers it, ``log`` where only BM25 did,
            ``generated`` by a function of the user's.
    """

    query: str
    document: int
    text: str
    kind: Kind


def make_pairs(documents: Sequence[Document], measured: Iterable[str] = (), seed: int = 0) -> list[Pair]:
    """Pairs of all documents, in their order; the same documents and seed give the same.

    Args:
        documents: What will be searched.
        measured: Questions that the model will be judged by.
        seed: Decides which titles are hidden.
    """
    having = Counter(word for document in documents for word in set(words(document.passage)))
    # A word of one document would find it alone: a typing error, a number.
    idf = {word: math.log(len(documents) / count) for word, count in having.items() if count > 1}
    made = [pair for place, document in enumerate(documents) for pair in _of(place, document, idf, seed)]
    return without_measured(asked_once(made), measured)


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

    Of a held-back document one question is kept, and ``most`` in all; the rest is not used at all. Questions of a log
    are never held back: their answers are guesses.
    """
    trained: list[Pair] = []
    held: dict[int, Pair] = {}
    for pair in pairs:
        draw = _draw(pair.query if pair.kind == "judged" else f"document {pair.document}")
        if draw >= share:
            trained.append(pair)
        elif pair.kind != "log" and (pair.document not in held or _draw(pair.query) < _draw(held[pair.document].query)):
            held[pair.document] = pair
    chosen = sorted(held.values(), key=lambda pair: _draw(pair.query))[:most]
    watched = {pair.document for pair in chosen}
    return [pair for pair in trained if pair.document not in watched], chosen


def _of(place: int, document: Document, idf: dict[str, float], seed: int) -> Iterator[Pair]:
    title, text = " ".join(document.title.split()), " ".join(document.text.split())
    if len(words(title)) > 1 and text:
        hidden = int(_draw(f"{seed} {document.id}") * 2) == 1 and len(words(text)) >= _LEAST_LEFT
        yield Pair(title, place, text if hidden else document.passage, "title")
    found = sentences(document.text)
    chosen: dict[str, Kind] = {}
    if found:
        chosen[found[0]] = "first"
        best = max(found, key=lambda one: (float(np.mean([idf.get(word, 0.0) for word in words(one)])), one))
        chosen.setdefault(best, "anchor")
    for sentence, kind in chosen.items():
        rest = f"{title} {text.replace(sentence, ' ')}".strip()
        if len(words(rest)) >= _LEAST_LEFT:
            yield Pair(sentence, place, rest, kind)
    if span := _span(words(text), idf, _draw(f"span {seed} {document.id}")):
        yield Pair(span, place, document.passage, "span")


def _span(tokens: Sequence[str], idf: dict[str, float], draw: float) -> str:
    length = _SPAN[0] + int(draw * (_SPAN[1] - _SPAN[0] + 1))
    runs = [tokens[start : start + length] for start in range(len(tokens) - length + 1)]
    # fsum: of a set, whose order is another in every process, and the questions must not be
    worth = [math.fsum(idf.get(word, 0.0) for word in set(run)) for run in runs]
    return " ".join(runs[int(np.argmax(worth))]) if runs and max(worth) > 0 else ""


def asked_once(pairs: Sequence[Pair]) -> list[Pair]:
    """Without questions that two documents have: "Introduction" has no answer. Of one document the first stays."""
    asked: dict[str, dict[int, Pair]] = {}
    for pair in pairs:
        asked.setdefault(normalised(pair.query), {}).setdefault(pair.document, pair)
    single = {id(pair) for by_document in asked.values() if len(by_document) == 1 for pair in by_document.values()}
    return [pair for pair in pairs if id(pair) in single]


def _draw(text: str) -> float:
    """A number in [0, 1) by the hash of a text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=6).digest(), "big") / 2**48
