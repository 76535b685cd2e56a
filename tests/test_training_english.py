"""BM25 as a teacher in English: the words that OpenSearch's ``english`` analyzer indexes."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from opensearchpy import OpenSearch

from opensearch_splade.evaluation.collection_split import words
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.training.english import STOP_WORDS, english_words
from opensearch_splade.training.lexical import Language, Lexical
from opensearch_splade.training.teachers import SparseTeacher
from opensearch_splade.types import Document

MOST = 8_000  # tokens; a server analyses 10,000 at once


@pytest.mark.server
def test_stems_are_those_of_the_server(client: OpenSearch) -> None:
    """Of every word of a part of Python's documentation, and of those in which Porter's program and paper differ."""
    documents = [one for one in islice(read_source("pydoc:"), 3000) if isinstance(one, Document)]
    found = {word for one in documents for word in words(one.passage) if word.isascii() and word.strip("_")}
    found |= {*["possibly", "ably", "nobly", "assemblies", "technology", "technologies", "biology", "us"], *STOP_WORDS}
    asked = sorted(found)[:MOST]
    assert len(asked) > 4000
    answer = client.indices.analyze(body={"analyzer": "english", "text": " ".join(asked)})
    assert english_words(" ".join(asked)) == [token["token"] for token in answer["tokens"]]
    text = "The users\N{RIGHT SINGLE QUOTATION MARK}s and the user's files are not sorted"
    answer = client.indices.analyze(body={"analyzer": "english", "text": text})
    assert english_words(text) == [token["token"] for token in answer["tokens"]]


@pytest.mark.parametrize(("language", "found"), [("english", True), (None, False)])
def test_inflected_words_meet_in_english_alone(language: Language | None, found: bool) -> None:
    """Another form of a word is found, stop words count nothing; plain words meet only as they are written."""
    lexical = Lexical(["the sorting of lists", "a thread is started"], language)
    teacher = SparseTeacher(1.0, lexical.queries(["sorted list", "the of"]), lexical.documents)
    scores = teacher.scores([0, 1], [0, 1])
    assert (scores[0, 0] > 0) == found
    assert scores[0, 1] == 0
    np.testing.assert_array_equal(scores[1] > 0, [not found, False])
