"""Made questions: for an index that nobody has judged, questions whose document is known because they were made of it.

* *Known items* (Azzopardi, de Rijke and Balog, "Building simulated queries for known-item topics", SIGIR 2007): a
  document is drawn, then words of its text, each with a chance in proportion to its count times its idf (their model of
  discrimination and popularity, without noise); or its title stands for the question.
* *Pseudo-queries*: the anchor sentence of a document, which is the one with the largest sum of its distinct words' idf.

Both hold words of the document itself and so favour lexical rankings. A title finds its own title: in an index of ours
``title`` is copied into ``text``, so an item is known by words of its body unless titles are asked for.

Copies and near-duplicates of a document are right answers too: those that hold at least ``COPY`` of its shingles (runs
of four words; Broder, 1997), have the title that is asked, or hold the sentence that is asked. They are looked for
among all documents, and drawn documents that are copies of each other give one question.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from opensearch_splade.evaluation.collection_split import normalised, words
from opensearch_splade.types import Document

Kind = Literal["terms", "title", "pseudo"]
"""Known item by words of its body, by its title, or a pseudo-query."""
JUDGED_BY: Mapping[Kind, str] = {"terms": "known items", "title": "known items", "pseudo": "pseudo-queries"}
COPY = 0.8
LENGTHS = (2, 5)
"""Words of a known-item question, at least and at most."""
SENTENCE = (4, 24)
"""Words of an anchor sentence; without a limit the longest would always win."""
_SHINGLE = 4
_SPARE = 4  # documents drawn for each question that is wanted: some give none
_END = re.compile("(?<=[.!?\u2026])[\"'\u201d\u2019)\\]]*\\s+|(?<=[\u3002\uff01\uff1f])|\n\\s*\n")


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question and the documents that it was made of.

    Attributes:
        text: As it is asked.
        documents: The one it was made of, and its copies.
    """

    text: str
    documents: tuple[str, ...]


class _Counted:
    """How many documents have a word."""

    def __init__(self) -> None:
        self.documents = 0
        self.having = Counter[str]()

    def add(self, document: Document) -> None:
        self.documents += 1
        self.having.update(set(words(document.passage)))

    def idf(self, word: str) -> float:
        """0 for a word of one document, since it would find it alone: a typing error, a number."""
        having = self.having[word]
        return math.log(self.documents / having) if having > 1 else 0.0


def make_questions(
    read: Callable[[], Iterable[Document]], kind: Kind, count: int, seed: int
) -> tuple[list[MadeQuestion], int]:
    """Questions made of documents that were drawn by the hash of seed and id, and how many documents there are.

    The same documents give the same questions, whatever their order. They are read twice: to count words and draw, and
    to look for copies.

    Args:
        read: Gives all documents, each time anew. Passages of a document share its id.
        kind: How a question is made of a document.
        count: Questions wanted; fewer come where documents are few or give none.
        seed: Another one draws other documents.
    """
    counted = _Counted()
    drawn: list[Document] = heapq.nsmallest(
        count * _SPARE, _counting(read(), counted), key=lambda one: (_draw(seed, one.id), one.text, one.title)
    )
    chosen: dict[str, tuple[str, Document]] = {}
    used = set[str]()
    for document in drawn:
        text = _question(kind, document, counted, random.Random(_draw(seed, document.id)))  # noqa: S311 - a sample
        if text and normalised(text) not in chosen and document.id not in used:
            chosen[normalised(text)] = (text, document)
            used.add(document.id)
    sources = [document for _, document in chosen.values()]
    asked = {normalised(text): place for place, (text, _) in enumerate(chosen.values())}
    copies = _copies(kind, sources, asked, read())
    kept: dict[str, set[str]] = {}
    made: list[MadeQuestion] = []
    for (text, document), same in zip(chosen.values(), copies, strict=True):
        # Copies hold each other; a long document that merely holds a short one has its own question.
        if len(made) < count and not any(document.id in kept.get(one, ()) for one in same):
            made.append(MadeQuestion(text, (document.id, *sorted(same - {document.id}))))
            kept[document.id] = same
    return made, counted.documents


def _counting(documents: Iterable[Document], counted: _Counted) -> Iterator[Document]:
    for document in documents:
        counted.add(document)
        if _fits_a_line(document.id):
            yield document


def _fits_a_line(identity: str) -> bool:
    """Whether it can stand in a file separated by tabs."""
    return identity == identity.strip() and not re.search(r"[\t\r\n]", identity)


def _draw(seed: int, identity: str) -> int:
    return int.from_bytes(blake2b(f"{seed} {identity}".encode(), digest_size=8).digest(), "big")


def _question(kind: Kind, document: Document, counted: _Counted, chance: random.Random) -> str:
    if kind == "title":
        return " ".join(document.title.split()) if document.text.strip() else ""
    return _terms(document, counted, chance) if kind == "terms" else _anchor(document, counted)


def _terms(document: Document, counted: _Counted, chance: random.Random) -> str:
    """Words without replacement, in the order of the text."""
    tokens = words(document.text)
    weights = {word: times * counted.idf(word) for word, times in Counter(tokens).items() if len(word) > 2}
    weights = {word: weight for word, weight in weights.items() if weight > 0}
    if len(weights) < LENGTHS[0]:
        return ""
    length = min(chance.randint(*LENGTHS), len(weights))
    # The largest of log(u) / weight are a draw without replacement (Efraimidis and Spirakis, 2006).
    keys = {word: math.log(1 - chance.random()) / weight for word, weight in weights.items()}
    best = set(sorted(keys, key=lambda word: (-keys[word], word))[:length])
    return " ".join(word for word in dict.fromkeys(tokens) if word in best)


def sentences(text: str) -> list[str]:
    """The sentences of a text that are neither too short nor too long to be asked, white space as single spaces."""
    found = [" ".join(part.split()) for part in _END.split(text)]
    return [one for one in found if SENTENCE[0] <= len(words(one)) <= SENTENCE[1]]


def _anchor(document: Document, counted: _Counted) -> str:
    fit = sentences(document.text)
    return max(fit, key=lambda one: (sum(map(counted.idf, sorted(set(words(one))))), one), default="")


def _shingles(text: str) -> set[int]:
    tokens = words(text)  # a short text is one shingle
    runs = {" ".join(tokens[place : place + _SHINGLE]) for place in range(max(1, len(tokens) - _SHINGLE + 1))}
    return {int.from_bytes(blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs}


def _copies(
    kind: Kind, sources: Sequence[Document], asked: Mapping[str, int], documents: Iterable[Document]
) -> list[set[str]]:
    """Of each source the documents that answer its question as well, itself among them."""
    # By title and text: entries of a form (release notes, tickets) often differ by their titles alone.
    needles = [(place, COPY, _shingles(source.passage)) for place, source in enumerate(sources)]
    if kind == "pseudo":
        needles += [(place, 1.0, _shingles(text)) for text, place in asked.items()]
    having: dict[int, list[int]] = {}
    for number, (_, _, shingles) in enumerate(needles):
        for shingle in shingles:
            having.setdefault(shingle, []).append(number)
    found: list[set[str]] = [{source.id} for source in sources]
    for document in documents:
        if not _fits_a_line(document.id):
            continue
        for number, count in Counter(n for one in _shingles(document.passage) for n in having.get(one, ())).items():
            place, share, shingles = needles[number]
            if count >= share * len(shingles):
                found[place].add(document.id)
        if kind == "title" and (place := asked.get(normalised(document.title), -1)) >= 0:
            found[place].add(document.id)
    return found
