"""Expansion by texts: each is asked beside the question, by any mode, and what fails costs nothing but the texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from four_documents import Table, index_four_documents
from test_feedback import Kind, filled
from test_searcher import Recorder, searcher

from opensearch_splade.cli.main import main
from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import Contexts, Feedback, Fusion, Searcher, fuse, search_with_contexts

if TYPE_CHECKING:
    from pathlib import Path

    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

THESAURUS = {"fox": ["dog", " run ", "", "dog"], "cat": []}


def synonyms(question: str) -> Sequence[str]:
    """Of the known words."""
    return THESAURUS[question]


@pytest.fixture
def asker(client: OpenSearch, index_name: str) -> Searcher:
    """Over the four documents."""
    index_four_documents(client, index_name)
    table = Table({"fox": 2.0, "dog": 1.0, "run": 1.0})
    return Searcher(client, index_name, capabilities=probe(client), sparse=table)


@pytest.mark.server
@pytest.mark.parametrize("mode", ["bm25", "neural-sparse", "bm25+neural-sparse"])
@pytest.mark.parametrize("fusion", ["rrf", "min_max"])
def test_rankings_of_each_text_are_fused(asker: Searcher, mode: str, fusion: Any) -> None:
    """The question and it with each text, once; hits that only a text finds; pages are cuts of one ranking."""
    questions = ["fox", "fox dog", "fox run"]
    legs = [{hit.id: hit.score for hit in asker.search(one, mode=mode, size=200).hits} for one in questions]
    result = search_with_contexts(asker, "fox", synonyms, fusion=fusion, mode=mode)
    assert {hit.id: hit.score for hit in result.hits} == fuse(legs, fusion)
    assert "c" not in legs[0]
    assert {hit.id: hit.text for hit in result.hits}["c"] == "dog"
    assert result.notices == ("expansion: the question was also asked with 2 texts",)
    pages = [search_with_contexts(asker, "fox", synonyms, fusion=fusion, mode=mode, size=1, start=n) for n in range(4)]
    assert [hit for page in pages for hit in page.hits] == list(result.hits)
    with pytest.raises(QueryError, match="a page ends within the candidates"):
        search_with_contexts(asker, "fox", synonyms, mode=mode, start=195)


@pytest.mark.server
def test_the_order_of_texts_does_not_matter(asker: Searcher) -> None:
    """Unless weights say whose ranking counts more."""
    orders = (["dog", "run"], ["run", "dog"])
    one, other = (search_with_contexts(asker, "fox", lambda _, o=order: o, mode="bm25") for order in orders)
    assert one.hits == other.hits
    weighted = Fusion("rrf", weights=(1.0, 0.0, 0.0))
    first = search_with_contexts(asker, "fox", synonyms, mode="bm25", fusion=weighted).hits
    alone = asker.search("fox", mode="bm25").hits
    assert [hit.id for hit in first if hit.score > 0] == [hit.id for hit in sorted(alone, key=lambda hit: -hit.score)]


@pytest.mark.server
def test_a_filter_holds_for_every_text(asker: Searcher) -> None:
    """As do the other options of a search."""
    only = {"ids": {"values": ["c", "d"]}}
    result = search_with_contexts(asker, "fox", synonyms, mode="neural-sparse", filter=only)
    assert {hit.id for hit in result.hits} == {"c", "d"}


@pytest.mark.server
@pytest.mark.parametrize("store", ["nested", "documents"])
def test_passages_are_found_by_texts_too(client: OpenSearch, index_name: str, store: str) -> None:
    """Each document once, with its text."""
    found = search_with_contexts(
        filled(client, index_name, Kind(store=store)), "fox", lambda _: ["dog"], mode="neural-sparse"
    )
    assert {hit.id: hit.text for hit in found.hits} == {key: f"text of {key}" for key in "abd"}


def broken(question: str) -> Sequence[str]:
    """An application's mistake."""
    raise ConnectionError(f"no generator for {question}")


@pytest.mark.server
@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        (broken, r"expansion failed \(ConnectionError: no generator for fox\): the question alone was asked"),
        (lambda _: "dog", r"expansion gave no list of texts \(str\): the question alone was asked"),
        (lambda _: ["dog", 3], r"gave no list of texts \(list\)"),
        (lambda _: None, r"gave no list of texts \(NoneType\)"),
        (lambda _: [" "], "expansion gave no text: the question alone was asked"),
    ],
)
def test_a_failing_function_costs_the_texts_only(asker: Searcher, contexts: Contexts, message: str) -> None:
    """The question alone is asked, and a notice says why."""
    alone = asker.search("fox", mode="neural-sparse")
    result = search_with_contexts(asker, "fox", contexts, mode="neural-sparse")
    assert result.hits == alone.hits
    [notice] = result.notices
    assert re.search(message, notice)


@pytest.mark.parametrize("option", [{"explain": True}, {"profile": True}, {"ids_only": True}, {"feedback": Feedback()}])
def test_options_of_one_ranking_are_refused(option: Any) -> None:
    """Before the function is called."""
    with pytest.raises(QueryError, match=f"{next(iter(option))} does not go with expansion by texts"):
        search_with_contexts(searcher(Recorder()), "fox", broken, **option)


@pytest.mark.server
def test_what_the_server_refuses_is_an_error(client: OpenSearch, asker: Searcher) -> None:
    """An index that is gone is no failure of the function."""
    client.indices.delete(index=asker.target.index)
    with pytest.raises(OspladeError, match="no such index"):
        search_with_contexts(asker, "fox", synonyms, mode="bm25")


def title_of_the_first_hit(asker: Searcher) -> Callable[[str], list[str]]:
    """What the corpus itself says of a question."""
    return lambda question: [hit.title for hit in asker.search(question, mode="bm25", size=1).hits]


@pytest.mark.server
def test_the_command_asks_a_function_of_ones_own(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--expand module:function`` from the working directory; its failure is a note, no such name an error."""
    corpus = tmp_path / "corpus.jsonl"
    texts = {"1": "A fox runs through the forest.", "2": "The vulpine den.", "3": "Trains leave at noon."}
    lines = [json.dumps({"_id": key, "title": text.split()[1], "text": text}) for key, text in texts.items()]
    corpus.write_text("\n".join(lines), encoding="utf-8")
    module = "def of(question):\n    return {'fox': ['vulpine']}[question]\n"
    (tmp_path / "own_synonyms.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def osplade(*arguments: str) -> Any:
        return CliRunner().invoke(main, list(arguments))

    where = ["--index", index_name, "--url", node.url]
    assert osplade("ingest", "corpus.jsonl", *where, "--bundle", "splade-tiny-idf").exit_code == 0
    expanded = ["--mode", "bm25", "--expand", "own_synonyms:of"]
    result = osplade("search", "fox", *where, *expanded, "--json")
    assert [hit["id"] for hit in json.loads(result.stdout)["hits"]] == ["1", "2"]
    table = osplade("search", "forest", *where, *expanded)
    assert "note: expansion failed (KeyError: 'forest'): the question alone was asked" in table.stderr
    dry = osplade("search", "fox", *where, *expanded, "--dry-run")
    assert json.loads(dry.stdout)["query"] == {"match": {"text": {"query": "fox"}}}
    assert "note: this is the first search only; the texts are asked in searches of their own" in dry.stderr
    missing = osplade("search", "fox", *where, "--expand", "own_synonyms:none")
    assert (missing.exit_code, "--expand own_synonyms:none: no such function" in missing.output) == (1, True)
    asker = Searcher(client, index_name, capabilities=probe(client))
    found = search_with_contexts(asker, "forest", title_of_the_first_hit(asker), mode="bm25")
    assert [hit.id for hit in found.hits] == ["1"]
