"""Feedback: the new weights as pure functions, and two searches that become one result on the real node."""

from __future__ import annotations

import asyncio
import json
import math
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from four_documents import Table, index_four_documents
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import AsyncOpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.asking import ask
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.feedback_rounds import feedback_rounds
from opensearch_splade.evaluation.latency import time_searches
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems import System
from opensearch_splade.index_meta import DenseMeta, PassagesMeta, SeismicMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import (
    AsyncSearcher,
    Evidence,
    Expansion,
    Feedback,
    Rocchio,
    Searcher,
    SearchResult,
    contributions,
)

if TYPE_CHECKING:
    from pathlib import Path

    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode
    from opensearch_splade.types import Features

WEIGHT = st.floats(2**-20, 2**20)
FEATURES = st.dictionaries(st.sampled_from("abcdefghij"), WEIGHT, max_size=8)
EVIDENCE = st.lists(
    st.builds(Evidence, st.sampled_from("123456"), WEIGHT, FEATURES), max_size=6, unique_by=lambda one: one.id
)
FEEDBACKS = st.builds(Feedback, st.integers(1, 6), st.integers(1, 6), st.floats(0, 1))
ROCCHIOS = st.builds(Rocchio, st.just(("1", "2", "3")), st.just(("4", "5")), WEIGHT, WEIGHT, WEIGHT, st.integers(1, 6))


# The new weights


def test_rm3_by_hand() -> None:
    """Documents count by their scores, the strongest features stay, and the mixture has the question's sum."""
    hits = [Evidence("1", 3.0, {"fox": 3.0, "red": 1.0}), Evidence("2", 1.0, {"fox": 1.0, "den": 1.0, "a": 2.0})]
    # fox .75 * .75 + .25 * .25 = .625, red .1875, a .125, den .0625; of the first two fox has 10/13
    found = Feedback(docs=2, terms=2, original=0.5).apply({"fox": 3.0, "the": 1.0}, hits)
    assert found == pytest.approx({"fox": 1.5 + 2 * 10 / 13, "the": 0.5, "red": 2 * 3 / 13})
    assert list(found) == ["fox", "the", "red"]


def test_rocchio_by_hand() -> None:
    """Unit vectors: towards the mean of the relevant, away from that of the irrelevant, nothing negative."""
    judged = Rocchio(["1"], ["2"], alpha=1, beta=0.5, gamma=0.25, terms=1)
    seen = [Evidence("1", 0, {"red": 3.0, "den": 4.0}), Evidence("2", 0, {"fox": 1.0, "the": 0.0})]
    # of length 5: red .3 * 5, den .4 * 5, of which one stays; fox 3 - .25 * 5
    assert judged.apply({"fox": 3.0, "the": 4.0}, seen) == pytest.approx({"the": 4.0, "den": 2.0, "fox": 1.75})
    assert Rocchio(irrelevant=["2"], gamma=10).apply({"fox": 3.0}, seen) == {}


@given(st.one_of(FEEDBACKS, ROCCHIOS), FEATURES, EVIDENCE, st.randoms(use_true_random=False))
def test_weights_are_positive_ordered_and_owe_nothing_to_the_order(
    kind: Feedback | Rocchio, question: Features, evidence: list[Evidence], shuffle: random.Random
) -> None:
    """Whatever the evidence: positive and finite, strongest first, and the same in whichever order documents come."""
    found = kind.apply(question, evidence)
    assert all(0 < weight < math.inf for weight in found.values())
    assert list(found.items()) == sorted(found.items(), key=lambda each: (-each[1], each[0]))
    assert len(found.keys() - question.keys()) <= kind.terms
    mixed = [
        one._replace(features=dict(shuffle.sample(list(one.features.items()), len(one.features)))) for one in evidence
    ]
    shuffle.shuffle(mixed)
    assert list(kind.apply(question, mixed).items()) == list(found.items())


@given(FEEDBACKS, FEATURES.filter(bool), EVIDENCE)
def test_rm3_keeps_the_sum(kind: Feedback, question: Features, evidence: list[Evidence]) -> None:
    """Scores keep the scale of the question."""
    found = kind.apply(question, evidence)
    assert math.fsum(found.values()) == pytest.approx(math.fsum(question.values()))


@given(st.integers(1, 9), FEATURES, EVIDENCE)
def test_an_original_weight_of_one_is_the_question(terms: int, question: Features, evidence: list[Evidence]) -> None:
    """To the last bit; and so is feedback without evidence, of either kind."""
    assert Feedback(9, terms, 1).apply(question, evidence) == question
    assert Feedback(9, terms, 0).apply(question, []) == question
    assert Rocchio(["1"], terms=terms).apply(question, []) == question


@given(ROCCHIOS, FEATURES, EVIDENCE)
def test_rounds_need_no_memory(kind: Rocchio, question: Features, evidence: list[Evidence]) -> None:
    """Judging in several rounds is judging all at once, and what is not judged does not count."""
    start = Rocchio(["1"], ["4"], kind.alpha, kind.beta, kind.gamma, kind.terms)
    rounds = start.judged(["2"]).judged(["3"], ["5"])
    assert rounds == kind
    assert rounds.apply(question, evidence) == kind.apply(question, [one for one in evidence if one.id in kind.ids])


@given(FEEDBACKS)
def test_a_spec_reads_back(kind: Feedback) -> None:
    """Its text says everything, to twelve digits of the share."""
    assert Feedback.parse(str(kind)).original == pytest.approx(kind.original, rel=1e-11)
    assert str(Feedback.parse(str(kind))) == str(kind)
    assert Feedback.parse("rm3") == Feedback()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rm4:10:20:0.5", "write rm3, or rm3:DOCUMENTS:TERMS:ORIGINAL"),
        ("rm3:10", "write rm3"),
        ("rm3:ten:20:0.5", "write rm3"),
        ("rm3:0:20:0.5", "0 documents: it takes 1 to 1,000"),
        ("rm3:1001:20:0.5", "1001 documents"),
        ("rm3:10:0:0.5", "0 terms"),
        ("rm3:10:20:nan", "original weight of nan"),
        ("rm3:10:20:1.5", "original weight of 1.5"),
    ],
)
def test_specs_that_are_none(text: str, message: str) -> None:
    """Are refused with what to write."""
    with pytest.raises(QueryError, match=message):
        Feedback.parse(text)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "0 documents are judged"),
        ({"relevant": map(str, range(1001))}, "1001 documents are judged"),
        ({"relevant": ["1", "2"], "irrelevant": ["2"]}, "'2' is judged relevant and irrelevant"),
        ({"relevant": "1", "beta": -1}, "beta is -1"),
        ({"relevant": "1", "gamma": math.nan}, "gamma is nan"),
        ({"relevant": "1", "terms": 0}, "0 terms"),
    ],
)
def test_judgements_that_are_none(how: dict[str, Any], message: str) -> None:
    """Are refused with the reason."""
    with pytest.raises(QueryError, match=message):
        Rocchio(**how)


# On the real node

RM3 = Feedback(docs=2, terms=3, original=0.5)


class Numbered(Table):
    """A table whose words have token ids too, as a ``sparse_vector`` field needs, and a direction for kNN."""

    token_ids = {"fox": 7, "dog": 8, "run": 9}  # noqa: RUF012

    def embed_query(self, _: str) -> list[float]:
        """The same for all."""
        return [0.6, 0.8]


@dataclass
class Kind:
    """An index of the four documents, of one kind.

    Attributes:
        seismic: Whether its field is a ``sparse_vector``.
        store: How passages lie in it.
    """

    seismic: bool = False
    store: str = ""

    def body(self, client: OpenSearch) -> Any:
        """What makes it."""
        meta = SparseMeta("f1", "t", "siamese", seismic=SeismicMeta(16.0, 64.0, 1000) if self.seismic else None)
        dense = None if self.seismic else DenseMeta("f1", "m", 2)
        passages = PassagesMeta("windows:1", self.store) if self.store else None  # type: ignore[arg-type]
        return index_body(sparse=meta, dense=dense, passages=passages, capabilities=probe(client))


PASSAGES = {
    "a": [{"fox": 2.0}, {"run": 4.0}],
    "b": [{"dog": 0.5}, {"fox": 1.5, "dog": 2.0}],
    "c": [{"dog": 9.0}],
    "d": [{"fox": 1.0, "run": 0.5}],
}
KINDS = [Kind(), Kind(seismic=True), Kind(store="nested"), Kind(store="documents"), Kind(seismic=True, store="nested")]


def filled(client: OpenSearch, index: str, kind: Kind) -> Searcher:
    """The searcher of an index whose documents have two passages, or only the one that the question likes best."""
    client.indices.create(index=index, body=kind.body(client))
    keys = Numbered.token_ids
    lines: list[Any] = []
    for place, (key, passages) in enumerate(PASSAGES.items()):
        vectors = [
            {str(keys[name]) if kind.seismic else name: weight for name, weight in one.items()} for one in passages
        ]
        source: dict[str, Any] = {"id": key, "text": f"text of {key}", "encoded": ["f1"]}
        if not kind.seismic:
            source["dense"] = [1.0 - place / 5, 0.1]
        if kind.store == "nested":
            spans = [{"start": 0, "end": 4, "sparse": vector} for vector in vectors]
            lines += [{"index": {"_id": key}}, source | {"passages": spans}]
        elif kind.store == "documents":
            for number, vector in enumerate(vectors):
                lines += [{"index": {"_id": f"{key}#{number}"}}, source | {"number": number, "sparse": vector}]
        else:
            best = max(vectors, key=lambda vector: vector.get(str(keys["fox"]) if kind.seismic else "fox", 0))
            lines += [{"index": {"_id": key}}, source | {"sparse": best}]
    assert not client.bulk(index=index, body=lines, params={"refresh": "true"})["errors"]
    encoder = Numbered({"fox": 2.0})
    dense = None if kind.seismic else encoder
    return Searcher(client, index, capabilities=probe(client), sparse=encoder, dense=dense)


def expected(kind: Feedback | Rocchio, evidence: dict[str, float]) -> dict[str, float]:
    """New weights of the question by the best passages of documents."""
    best = {"a": {"fox": 2.0}, "b": {"fox": 1.5, "dog": 2.0}, "c": {"dog": 9.0}, "d": {"fox": 1.0, "run": 0.5}}
    return kind.apply({"fox": 2.0}, [Evidence(key, score, best[key]) for key, score in evidence.items()])


@pytest.mark.server
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_best_hits_expand_the_question(client: OpenSearch, index_name: str, kind: Kind) -> None:
    """In every kind of field: weights by the best passages, a hit that the question missed, and reasons that add up."""
    searcher = filled(client, index_name, kind)
    assert [hit.id for hit in searcher.search("fox", mode="neural-sparse").hits] == ["a", "b", "d"]
    result = searcher.search("fox", mode="neural-sparse", feedback=RM3, explain=True)
    weights = expected(RM3, {"a": 4.0, "b": 3.0})
    assert [hit.id for hit in result.hits] == ["a", "b", "c", "d"]
    assert result.notices == (f"feedback {RM3}: 1 features added (dog) from 2 documents",)
    for hit in result.hits:
        assert {one.feature: one.query_weight for one in hit.why} == pytest.approx(
            {one.feature: weights[one.feature] for one in hit.why}
        )
        assert {one.feature for one in hit.why if one.added} <= {"dog"}
        assert sum(one.score for one in hit.why) == pytest.approx(hit.score, rel=1e-5)


@pytest.mark.server
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_judged_documents_move_the_question(client: OpenSearch, index_name: str, kind: Kind) -> None:
    """Also those that the question does not find; a round later they count with the new ones; strangers are told of."""
    searcher = filled(client, index_name, kind)
    first = Rocchio(relevant=["c"])
    [found] = searcher.expansions(["fox"], mode="neural-sparse", feedback=first)
    assert isinstance(found, Expansion)
    assert found.features == pytest.approx(expected(first, {"c": 0.0}))
    assert found.added == {"dog"}
    second = first.judged(["b"], ["d", "nobody"])
    result = searcher.search("fox", mode="neural-sparse", feedback=second)
    assert result.hits[0].id == "c"
    assert result.notices[0] == "feedback without 1 judged documents (e.g. 'nobody'): not there, or no features"
    [found] = searcher.expansions(["fox"], mode="neural-sparse", feedback=second)
    assert isinstance(found, Expansion)
    assert found.features == pytest.approx(expected(second, {"c": 0.0, "b": 0.0, "d": 0.0}))


@pytest.mark.server
def test_an_original_weight_of_one_is_the_same_ranking(client: OpenSearch, index_name: str) -> None:
    """Ids and scores, by both sparse rankings."""
    searcher = filled(client, index_name, Kind())
    for mode in ("neural-sparse", "weighted-terms"):
        plain = searcher.search("fox", mode=mode)
        assert searcher.search("fox", mode=mode, feedback=Feedback(2, 3, 1)).hits == plain.hits


@pytest.mark.server
def test_only_sparse_legs_are_expanded(client: OpenSearch, index_name: str) -> None:
    """bm25 and knn of a hybrid keep the question; a mode without a sparse leg is refused; filters hold for both."""
    searcher = filled(client, index_name, Kind())
    how: Any = {"mode": "bm25+neural-sparse+knn", "size": 5}
    plain = searcher.search("fox", **how).body["query"]["hybrid"]["queries"]
    result = searcher.search("fox", **how, feedback=RM3, explain=True)
    bm25, sparse, knn = result.body["query"]["hybrid"]["queries"]
    assert [bm25, knn] == [plain[0], plain[2]]
    assert sparse["neural_sparse"]["sparse"]["query_tokens"] == pytest.approx(expected(RM3, {"a": 4.0, "b": 3.0}))
    assert not [notice for notice in result.notices if "add up" in notice]
    with pytest.raises(QueryError, match="feedback expands sparse rankings, and mode bm25 asks bm25"):
        searcher.search("fox", mode="bm25", feedback=RM3)
    only = searcher.search("fox", mode="neural-sparse", feedback=RM3, filter={"ids": {"values": ["b", "d"]}})
    assert [hit.id for hit in only.hits] == ["b", "d"]
    assert "dog, run" in only.notices[0]


@pytest.mark.server
def test_what_cannot_be_learnt_from_is_told(client: OpenSearch, index_name: str) -> None:
    """No hit, or hits of another bundle: the question alone is asked."""
    searcher = filled(client, index_name, Kind())
    client.update(index=index_name, id="a", body={"doc": {"encoded": ["f0"]}}, params={"refresh": "true"})
    result = searcher.search("fox", mode="neural-sparse", feedback=Feedback(docs=1))
    assert result.notices[:2] == (
        "feedback without 1 documents: another bundle encoded them",
        "feedback rm3:1:100:0.7: no document to learn from, so the question alone was asked",
    )
    unknown = searcher.search("cow", mode="neural-sparse", feedback=RM3)
    assert unknown.hits == ()
    assert "so the question alone was asked" in unknown.notices[0]
    assert Rocchio(["c"]).apply({}, [Evidence("c", 0, {"dog": 9.0})]) == {"dog": 0.75}
    assert searcher.search("cow", mode="neural-sparse", feedback=Rocchio(["c"])).hits[0].id == "c"


@pytest.mark.server
def test_the_expanded_question_keeps_the_servers_limits(client: OpenSearch, index_name: str) -> None:
    """More features than clauses: the weakest are left out, and the answer says so."""
    from dataclasses import replace

    searcher = filled(client, index_name, Kind())
    small = Searcher(
        client, index_name, capabilities=replace(probe(client), max_clause_count=2), sparse=Numbered({"fox": 2.0})
    )
    assert len(searcher.search("fox", mode="neural-sparse", feedback=Feedback(3)).notices) == 1
    _, cut = small.search("fox", mode="neural-sparse", feedback=Feedback(3)).notices
    assert cut.startswith("2 weakest query features left out")
    not_a_number = Searcher(
        client, index_name, capabilities=probe(client), sparse=Numbered({"fox": 2.0, "dog": math.nan})
    )
    with pytest.raises(QueryError, match="'dog' is nan"):
        not_a_number.search("fox dog", mode="neural-sparse", feedback=RM3)


@pytest.mark.server
def test_bodies_batches_and_awaited_searches_are_the_same(
    client: OpenSearch, index_name: str, node: RunningNode
) -> None:
    """One logic: both bodies by hand, many questions at once, and a client that is awaited."""
    searcher = filled(client, index_name, Kind())
    how: Any = {"mode": "neural-sparse", "feedback": RM3, "size": 3}
    with pytest.raises(QueryError, match="first_body is the first"):
        searcher.body("fox", **how)
    with pytest.raises(QueryError, match="without feedback"):
        searcher.first_body("fox")
    first = searcher.first_body("fox", **how)
    assert (first["size"], first["_source"]["includes"]) == (2, ["id", "encoded", "sparse", "passages.sparse"])
    [expansion, error] = searcher.expansions(["fox", " "], **how)
    assert isinstance(error, QueryError)
    assert isinstance(expansion, Expansion)
    result = searcher.search("fox", **how)
    assert searcher.body("fox", expansion=expansion, mode="neural-sparse", size=3) == result.body
    one, other = searcher.search_many(["fox", " "], **how)
    assert isinstance(one, SearchResult)
    assert isinstance(other, QueryError)
    assert (one.hits, one.notices) == (result.hits, result.notices)
    assert searcher.expansions(["fox"], mode="bm25") == [None]

    async def awaited() -> list[Any]:
        async with AsyncOpenSearch(node.url) as waiting:
            asker = await AsyncSearcher.open(
                waiting, index_name, capabilities=searcher.target.capabilities, sparse=Numbered({"fox": 2.0})
            )
            return [(await asker.search("fox", **how)).hits, (await asker.expansions(["fox"], **how))[0].features]  # type: ignore[union-attr]

    assert asyncio.run(awaited()) == [result.hits, expansion.features]


@pytest.mark.server
def test_systems_are_evaluated_with_feedback(client: OpenSearch, index_name: str) -> None:
    """Rankings in batches and timed single searches are the searcher's, with two steps too."""
    searcher = filled(client, index_name, Kind())
    spec = SystemSpec.parse(f"neural-sparse feedback={RM3}")
    system = System("rm3", spec, index_name, searcher)
    asked = ask(client, system, {"q": "fox", "r": "cow"}, depth=10)
    hits = searcher.search("fox", mode="neural-sparse", feedback=RM3).hits
    assert asked.run == {"q": {hit.id: hit.score for hit in hits}, "r": {}}
    assert time_searches(client, system, {"q": "fox"}).client_p50 > 0
    stages = System("both", SystemSpec.parse(f"neural-sparse feedback={RM3} two-step=top_k:1"), index_name, searcher)
    found = ask(client, stages, {"q": "fox"}, depth=10).run["q"]
    assert found == {key: score for key, score in asked.run["q"].items() if key in found}
    assert time_searches(client, stages, {"q": "fox"}).client_p50 > 0
    for line, message in (("bm25 feedback=rm3", "bm25 has none"), ("template=x feedback=rm3", "goes with a mode")):
        with pytest.raises(QueryError, match=message):
            SystemSpec.parse(line)


@pytest.mark.server
def test_the_command_expands_and_explains(node: RunningNode, index_name: str, tmp_path: Path) -> None:
    """``--feedback`` and judgements reach the search, added features are marked, and a dry run sends no search."""
    corpus = tmp_path / "corpus.jsonl"
    texts = {"1": "A red fox runs through the forest.", "2": "The red forest has a den.", "3": "Trains leave at noon."}
    corpus.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    where = ["--index", index_name, "--url", node.url]

    def osplade(*arguments: str) -> Any:
        return CliRunner().invoke(main, list(arguments))

    letters = ["--dead-letters", str(tmp_path / "dead.jsonl")]
    assert osplade("ingest", str(corpus), *where, *letters, "--bundle", "splade-tiny-idf").exit_code == 0
    question = ["search", "fox", *where, "--mode", "neural-sparse"]
    result = osplade(*question, "--feedback", "rm3:1:10:0.5", "--explain", "--json")
    found = json.loads(result.stdout)
    assert [hit["id"] for hit in found["hits"]][:2] == ["1", "2"]
    assert {part["feature"]: part["added"] for part in found["hits"][0]["why"]}.items() >= {
        ("fox", False),
        ("red", True),
    }
    assert "+red" in osplade(*question, "--feedback", "rm3:1:10:0.5", "--explain").stdout
    page = tmp_path / "why.html"
    assert osplade(*question, "--relevant", "2", "--irrelevant", "1", "--html", str(page)).exit_code == 0
    assert 'title="added by feedback">+red</th>' in page.read_text(encoding="utf-8")
    dry = osplade(*question, "--feedback", "rm3:4:10:0.5", "--dry-run")
    assert json.loads(dry.stdout)["size"] == 4
    assert "this is the first search only" in dry.stderr
    both = osplade(*question, "--feedback", "rm3", "--relevant", "2")
    assert (both.exit_code, "leave out --relevant" in both.output) == (2, True)


@pytest.mark.server
def test_rounds_measure_what_was_not_judged(client: OpenSearch, index_name: str) -> None:
    """Judged hits leave rankings and judgements; feedback finds what the question misses; other questions stay out."""
    searcher = filled(client, index_name, Kind())
    qrels = {"q": {"b": 1, "c": 1, "a": 0}, "r": {"a": 1}}
    collection = Collection("four", "", {"q": "fox", "r": "fox"}, qrels)
    first, second = feedback_rounds(
        searcher, "neural-sparse", collection, rounds=2, shown=2, judge=partial(Rocchio, beta=1), measures=["R@2"]
    )
    assert (first.judged, first.relevant) == (4, 2)
    assert {query: set(run) for query, run in first.plain.run.items()} == {"q": {"d"}}
    assert list(first.moved.run["q"]) == ["c", "d"]
    assert (first.plain.measures, first.moved.measures) == ({"R@2": 0.0}, {"R@2": 1.0})
    assert (second.judged, second.relevant) == (7, 3)
    assert second.plain.run == {}


def test_contributions_say_what_was_added() -> None:
    """By default nothing was."""
    one, two = contributions({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {"b"})
    assert (one.added, two.added) == (False, True)


@pytest.mark.server
def test_an_index_of_others_teaches_too(client: OpenSearch, index_name: str) -> None:
    """Features with dots, as the server's own ingest writes them, cannot be asked by weighted terms: left out."""
    index_four_documents(client, index_name)
    source = {"id": "e", "text": "e", "sparse": {"fox": 9.0, "x.y": 2.0, "run": 1.0}, "encoded": ["f1"]}
    client.index(index=index_name, id="e", body=source, params={"refresh": "true"})
    searcher = Searcher(client, index_name, capabilities=probe(client), sparse=Table({"fox": 2.0}))
    result = searcher.search("fox", mode="weighted-terms", feedback=Feedback(1))
    assert result.notices == ("feedback rm3:1:100:0.7: 1 features added (run) from 1 documents",)
