"""Query logs: what users asked, with what they clicked, or with the answer where one stands out.

* Of a *click log* the graded documents are answers (``evaluation.clicks``), of its questions of the split ``train``:
  those of ``test`` stay for ``osplade eval``.
* A question that nobody answered is paired with BM25's best document only if that one stands out: it scores
  ``MARGIN`` times the second best that is no copy of it. All others are left out: logs are long, and a wrong answer is
  pulled towards its question like a right one. Teachers rank the answer like any other document, so what is left of
  wrong ones weighs less. Such answers are guesses and measure nothing, so they are never held back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from opensearch_splade.errors import TrainingError
from opensearch_splade.evaluation.clicks import ClickRule, is_click_log, read_clicks
from opensearch_splade.evaluation.collection_split import normalised, split_of
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.questions import Question, drawn, read_asked
from opensearch_splade.training.lexical import Language, Lexical
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.pseudo_queries import Pair
from opensearch_splade.types import Document

MARGIN = 1.1
"""Of the questions of SciFact (train), CACM and Vaswani 72, 48 and 34 % reach it, and 73, 76 and 78 % of those have a
right answer, against 59, 56 and 57 % of all; at 1.2 it is 81, 77 and 83 % of 54, 25 and 13 %."""
MOST = 20_000
"""Questions without an answer that are looked at, drawn as often as they were asked."""
_LOOKED_AT = 10  # best documents, of which the first may have copies


def log_pairs(
    paths: Sequence[Path], documents: Sequence[Document], *, seed: int = 0, language: Language | None = None
) -> list[Pair]:
    """Pairs of the kinds ``judged`` (clicked) and ``log``.

    Args:
        paths: Click logs, slow logs, search bodies or questions; each may be packed (``.gz``, ``.zst``).
        documents: What will be searched.
        seed: Of what is drawn.
        language: Of BM25's words.

    Raises:
        SourceError: One cannot be read; says which line and what is expected there.
        TrainingError: They hold nothing to learn from.
    """
    pairs: list[Pair] = []
    asked: dict[str, Question] = {}
    counts: Counter[str] = Counter()
    for path in paths:
        if is_click_log(path):
            pairs += _clicked(path, documents)
            continue
        for question in read_asked(path):
            asked.setdefault(key := normalised(question.text), question)
            counts[key] += question.count
    known = {normalised(pair.query) for pair in pairs}
    left = [Question(key, one.text, counts[key]) for key, one in asked.items() if key not in known]
    pairs += answered([one.text for one in drawn(left, MOST, seed)], documents, language)
    if not pairs:
        raise TrainingError(
            f"{', '.join(map(str, paths))}: of {len(asked):,} questions none has an answer that stands out among these "
            f"{len(documents):,} documents, and none was clicked here (a click log names documents by their ids, and "
            "needs ten looks at one). Leave --queries out, or read more documents (--documents)."
        )
    return pairs


def answered(questions: Sequence[str], documents: Sequence[Document], language: Language | None) -> Iterator[Pair]:
    """The questions whose best document by BM25 stands out, with it."""
    if not questions:
        return
    texts = [document.passage for document in documents]
    lexical, copies = Lexical(texts, language), groups(texts)
    index = ExactIndex([""] * len(texts), lexical.documents)
    for question, row in zip(questions, lexical.queries(questions), strict=True):
        scores = index.scores(*row)
        best, *others = np.argsort(-scores, kind="stable")[:_LOOKED_AT].tolist()
        second = next((scores[place] for place in others if copies[place] != copies[best]), 0.0)
        if scores[best] > 0 and scores[best] >= MARGIN * second:
            yield Pair(question, best, "log")


def _clicked(path: Path, documents: Sequence[Document]) -> list[Pair]:
    places = {document.id: place for place, document in enumerate(documents)}
    texts, grades = read_clicks(path, ClickRule())
    return [
        Pair(text, places[one], "judged")
        for query, text in texts.items()
        if split_of(text) == "train"
        for one, grade in grades[query].items()
        if grade > 0 and one in places
    ]
