"""Documents by the scores of their passages: what the server computes is what the vectors say, in both stores."""

from __future__ import annotations

import math
import uuid

import numpy as np
import pytest
from four_documents import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.asking import ask
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems import System
from opensearch_splade.index_meta import PassagesMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import DocumentScore, Searcher

QUESTION = {"fox": 2.0, "dog": 0.5, "run": 0.25}
DOCUMENTS = 60

SCORES = st.one_of(
    st.builds(DocumentScore, st.sampled_from(["max", "whole"]), share=st.sampled_from([0, 0.25, 0.7, 1.0])),
    st.builds(
        DocumentScore,
        st.sampled_from(["sum", "avg"]),
        st.integers(0, 4),
        st.sampled_from([0, 0.25, 0.7, 1.0]),
    ),
)


@given(SCORES)
def test_a_score_reads_back(score) -> None:
    """Its text says everything."""
    assert DocumentScore.parse(str(score)) == score


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9).map(lambda each: sorted(each, reverse=True)))
def test_what_the_aggregates_are(scores) -> None:
    """Between the least and the sum; mixing lies between the parts; one passage is its document, however counted."""
    best, mean, total = (DocumentScore(each).of(scores) for each in ("max", "avg", "sum"))
    assert scores[-1] <= mean + 1e-9
    assert mean <= best + 1e-9 <= total + 2e-9
    assert DocumentScore("avg", share=0.25).of(scores) == pytest.approx(0.25 * best + 0.75 * mean)
    assert DocumentScore("sum", 1).of(scores) == DocumentScore("avg", 1).of(scores) == best
    assert all(DocumentScore(each, share=0.5).of(scores[:1]) == scores[0] for each in ("max", "avg", "sum"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", "write max, sum, avg or whole"),
        ("mixed:0.7", "write max, sum, avg or whole"),
        ("mixed:1.5/avg", "between 0 and 1"),
        ("mixed:1.5.1/avg", "write max"),
        ("max@3", "@3 goes with sum and avg"),
        ("sum@0", "write max"),
    ],
)
def test_what_is_no_score_is_refused(text, message) -> None:
    """With what can be written."""
    with pytest.raises(QueryError, match=message):
        DocumentScore.parse(text)
    with pytest.raises(QueryError, match=message):
        SystemSpec.parse(f"neural-sparse passages={text}")


# On the real node


def passages(number: int) -> list[dict[str, float]]:
    """Of one document: up to five, some of which the question does not match, with weights that 9 bits hold."""
    random = np.random.default_rng(number)
    words = [*QUESTION, "cat"]
    return [
        {word: float(random.integers(1, 64)) / 16 for word in words if random.random() < 0.5} or {"cat": 1.0}
        for _ in range(int(random.integers(1, 6)))
    ]


def dot(vector: dict[str, float]) -> float:
    """With the question."""
    return math.fsum(QUESTION.get(word, 0) * weight for word, weight in vector.items())


def exact(score: DocumentScore) -> dict[str, float]:
    """Of the vectors, by the definition."""
    found: dict[str, float] = {}
    for number in range(DOCUMENTS):
        vectors = passages(number)
        scores = sorted((value for value in map(dot, vectors) if value), reverse=True)
        if not scores:
            continue
        whole = dot({word: max(one.get(word, 0) for one in vectors) for word in QUESTION})
        taken = scores[: score.best] if score.best else scores
        parts = {"max": scores[0], "sum": sum(taken), "avg": sum(taken) / len(taken), "whole": whole}
        found[f"d{number}"] = score.share * scores[0] + (1 - score.share) * parts[score.aggregate]
    return found


@pytest.fixture(scope="module")
def searchers(client):
    """The same passages in both stores."""
    made = {}
    for store in ("nested", "documents"):
        index = f"test-{uuid.uuid4().hex[:12]}"
        meta = PassagesMeta("late:64", store)
        sparse = SparseMeta("f1", "t", "siamese")
        body = index_body(sparse=sparse, passages=meta, shards=2, capabilities=probe(client))
        client.indices.create(index=index, body=body)
        lines = []
        for number in range(DOCUMENTS):
            name, vectors = f"d{number}", passages(number)
            common = {"id": name, "encoded": ["f1"]}
            if store == "nested":
                text = "".join(f"part {place}." for place in range(len(vectors)))
                inner = [
                    {"start": 7 * place, "end": 7 * place + 7, "sparse": each} for place, each in enumerate(vectors)
                ]
                lines += [{"index": {"_id": name}}, {**common, "text": text, "passages": inner}]
                continue
            for place, each in enumerate(vectors):
                more = {"number": place, "passage_count": len(vectors), "text": f"part {place}.", "sparse": each}
                lines += [{"index": {"_id": f"{name}#{place}"}}, {**common, **more}]
        assert not client.bulk(index=index, body=lines, refresh=True)["errors"]
        made[store] = Searcher(client, index, capabilities=probe(client), sparse=Table(QUESTION))
    yield made
    client.indices.delete(index=",".join(searcher.target.index for searcher in made.values()))


@pytest.mark.server
@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from(["nested", "documents"]), st.sampled_from(["neural-sparse", "weighted-terms"]))
def test_the_server_scores_by_the_definition(searchers, score, store, mode) -> None:
    """All documents with the score that their vectors give them, best first, and the text of the best passage."""
    if store == "documents" and score.aggregate == "whole":
        with pytest.raises(QueryError, match="do not know the whole"):
            searchers[store].search("fox dog run", mode=mode, passages=score)
        return
    result = searchers[store].search("fox dog run", mode=mode, size=100, passages=score)
    assert {hit.id: hit.score for hit in result.hits} == pytest.approx(exact(score), rel=1e-5)
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    if score.aggregate != "whole" or score.share:
        for hit in result.hits:
            vectors = passages(int(hit.id[1:]))
            shown = hit.passage if store == "nested" else hit.text
            assert dot(vectors[int(shown[5])]) == pytest.approx(max(map(dot, vectors)))


@pytest.mark.server
@pytest.mark.parametrize("text", ["max", "sum", "mixed:0.5/avg", "avg@2", "mixed:0.5/whole"])
@pytest.mark.parametrize("store", ["nested", "documents"])
def test_an_evaluation_ranks_as_the_search_does(client, searchers, store, text) -> None:
    """The same option as a system; pages of the search are cuts of its ranking."""
    if store == "documents" and text.endswith("whole"):
        pytest.skip("passages stored as documents have no whole document to be mixed with")
    searcher = searchers[store]
    system = System("one", SystemSpec.parse(f"neural-sparse passages={text}"), searcher.target.index, searcher)
    run = ask(client, system, {"q": "fox dog run"}, 30).run["q"]
    whole = searcher.search("fox dog run", mode="neural-sparse", size=30, passages=text, ids_only=True).hits
    assert list(run.items()) == [(hit.id, hit.score) for hit in whole]
    page = searcher.search("fox dog run", mode="neural-sparse", size=7, start=5, passages=text).hits
    assert [hit.score for hit in page] == [hit.score for hit in whole[5:12]]


@pytest.mark.server
def test_what_an_index_cannot_is_refused(searchers) -> None:
    """Rankings without passages, hybrids that are fused first, explanations of several passages."""
    nested, documents = searchers["nested"], searchers["documents"]
    for searcher, options, message in (
        (nested, {"mode": "bm25", "passages": "sum"}, "only sparse rankings know anything"),
        (documents, {"mode": "bm25+neural-sparse", "passages": "sum"}, "before their passages are gathered"),
        (nested, {"mode": "bm25+neural-sparse", "passages": "sum@2"}, "before their passages are gathered"),
        (nested, {"mode": "neural-sparse", "passages": "sum", "explain": True}, "has no explanation"),
    ):
        with pytest.raises(QueryError, match=message):
            searcher.search("fox", **options)
    assert documents.search("part", mode="bm25", passages="sum").hits
    assert nested.search("fox part", mode="bm25+neural-sparse", passages="mixed:0.5/whole").hits
    assert nested.search("fox", mode="neural-sparse", passages="max", explain=True).hits[0].why
    assert not nested.search("unknown", mode="neural-sparse", passages="mixed:0.5/whole").hits


@pytest.mark.server
def test_whole_documents_have_no_passages(client, index_name) -> None:
    """The error names the option that makes them."""
    sparse = SparseMeta("f1", "t", "siamese")
    client.indices.create(index=index_name, body=index_body(sparse=sparse, capabilities=probe(client)))
    searcher = Searcher(client, index_name, capabilities=probe(client), sparse=Table(QUESTION))
    with pytest.raises(QueryError, match="--store-passages nested"):
        searcher.search("fox", mode="neural-sparse", passages="avg")
