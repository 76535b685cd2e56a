"""Questions made of documents that nobody judged."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.collection_split import words
from opensearch_splade.evaluation.made_collection import documents_of
from opensearch_splade.evaluation.made_questions import LENGTHS, Kind, make_questions
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Document

NOUNS = [
    "fox",
    "dog",
    "train",
    "river",
    "hill",
    "engine",
    "paper",
    "signal",
    "bridge",
    "market",
    "garden",
    "winter",
    "letter",
    "window",
    "mountain",
    "harbour",
]
KINDS: list[Kind] = ["terms", "title", "pseudo"]


def corpus(count: int = 60) -> list[Document]:
    """Documents of a few sentences, each with a title of its own; the last one copies the first one."""
    chance = random.Random(5)  # noqa: S311 - a sample
    texts = [". ".join(f"The {' '.join(chance.sample(NOUNS, 5))} {n}" for _ in range(3)) + "." for n in range(count)]
    documents = [Document(f"d{n}", text, f"About {' '.join(chance.sample(NOUNS, 3))}") for n, text in enumerate(texts)]
    return [*documents, Document("copy", documents[0].text + " The end.", documents[0].title)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_documents_give_the_same_questions(kind: Kind) -> None:
    """Whatever their order; another seed gives others."""
    documents = corpus()
    mixed = documents[::-1]
    made, count = make_questions(lambda: documents, kind, 20, 1)
    assert (len(made), count) == (20, len(documents))
    assert made == make_questions(lambda: mixed, kind, 20, 1)[0]
    assert made != make_questions(lambda: documents, kind, 20, 2)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_answers_and_no_questions_of_their_own(kind: Kind) -> None:
    """A document and its near-duplicate give one question, whose answers are both."""
    documents = corpus()
    made, _ = make_questions(lambda: documents, kind, 1000, 1)
    assert len({one.text for one in made}) == len(made)
    both = [one for one in made if {"d0", "copy"} & set(one.documents)]
    assert [set(one.documents) >= {"d0", "copy"} for one in both] == [True]


def test_a_question_holds_what_its_kind_says() -> None:
    """Terms are words of the body that others have too, a title is the title, an anchor is a sentence of the text."""
    documents = {one.id: one for one in corpus()}
    having = Counter(word for one in documents.values() for word in set(words(one.passage)))
    for one in make_questions(documents.values, "terms", 20, 1)[0]:
        found = one.text.split()
        assert LENGTHS[0] <= len(found) <= LENGTHS[1]
        assert set(found) <= set(words(documents[one.documents[0]].text))
        assert all(1 < having[word] < len(documents) for word in found)
    for one in make_questions(documents.values, "title", 20, 1)[0]:
        assert one.text == documents[one.documents[0]].title
    for one in make_questions(documents.values, "pseudo", 20, 1)[0]:
        assert one.text in documents[one.documents[0]].text
        assert one.text.endswith(".")


def test_the_anchor_is_the_sentence_of_rare_words() -> None:
    """Of two sentences of one length the one whose words few documents have."""
    common = [Document(f"c{n}", "The old dog saw them.") for n in range(50)]
    rare = [Document(f"r{n}", f"The old dog saw them. A quick ibex jumped {n} over.") for n in (1, 2)]
    made, _ = make_questions(lambda: [*common, *rare], "pseudo", 1000, 0)
    assert {one.text for one in made if one.documents[0][0] == "r"} == {
        f"A quick ibex jumped {n} over." for n in (1, 2)
    }
    assert [len(one.documents) for one in made if one.text == "The old dog saw them."] == [52]


def test_an_id_that_fits_no_line_is_left_out() -> None:
    """Judgements are separated by tabs."""
    documents = [Document("a\tb", "The fox saw a dog here."), Document("c", "The fox met a train there.")]
    made, _ = make_questions(lambda: documents, "pseudo", 5, 0)
    assert [one.documents for one in made] == [("c",)]


@pytest.mark.server
@pytest.mark.parametrize(("kind", "label"), [("known-item", "known items"), ("pseudo", "pseudo-queries")])
def test_a_made_folder_is_measured_and_keeps_its_label(
    kind: str, label: str, tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str
) -> None:
    """From a real index to figures: the folder says who judged and is never overwritten; its documents are found."""
    lines = [json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in corpus(30)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    where = ["--url", node.url]
    ingest = ["ingest", str(tmp_path / "corpus.jsonl"), "--index", index_name, "--bundle", "splade-tiny", *where]
    done = CliRunner().invoke(main, [*ingest, "--dead-letters", str(tmp_path / "dead.jsonl")])
    assert done.exit_code == 0, done.output
    assert client.count(index=index_name)["count"] == 31
    out, again = tmp_path / "made", tmp_path / "again"
    make = ["make-questions", index_name, "--kind", kind, "--count", "10", "--seed", "3", *where, "--out"]
    made = CliRunner().invoke(main, [*make, str(out)])
    assert made.exit_code == 0, made.output
    assert f"10 questions, judged by {label}" in made.stdout
    CliRunner().invoke(main, [*make, str(again)])
    loaded, same = load_collection(str(out)), load_collection(str(again))
    assert (loaded.judged_by, loaded.split, loaded.source) == (label, "test", f"index:{index_name}")
    assert (loaded.queries, loaded.qrels) == (same.queries, same.qrels)
    refused = CliRunner().invoke(main, [*make, str(out)])
    assert refused.exit_code == 1
    assert "exists and is not empty; it is left alone" in refused.stderr
    found = CliRunner().invoke(main, ["eval", str(out), "--index", index_name, *where, "--mode", "bm25", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["systems"][0]["measures"]["R@100"] == 1.0


@pytest.mark.server
def test_passages_are_asked_under_the_id_of_their_document(
    tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str
) -> None:
    """Where passages are documents of the index, judgements name the document, which is what a search gives."""
    lines = [json.dumps({"_id": f"{one.id}#x", "text": f"{one.text} {one.title}. " * 3}) for one in corpus(20)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ingest = ["ingest", str(tmp_path / "corpus.jsonl"), "--index", index_name, "--bundle", "splade-tiny"]
    how = [
        "--passages",
        "windows:32:0",
        "--store-passages",
        "documents",
        "--dead-letters",
        str(tmp_path / "dead.jsonl"),
    ]
    done = CliRunner().invoke(main, [*ingest, *how, "--url", node.url])
    assert done.exit_code == 0, done.output
    assert client.count(index=index_name)["count"] > 2 * len(lines)
    ids = Counter(one.id for one in documents_of(client, index_name))
    assert ids.keys() == {f"{one.id}#x" for one in corpus(20)}
    made, _ = make_questions(lambda: documents_of(client, index_name), "terms", 20, 0)
    assert made
    assert {document for one in made for document in one.documents} <= ids.keys()
