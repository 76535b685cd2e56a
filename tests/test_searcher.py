"""The searcher: what it sends for a question, what it refuses, and what the real server answers."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch, exceptions

from opensearch_splade.errors import CapabilityError, ClusterError, QueryError, TargetError
from opensearch_splade.index_meta import DenseMeta, IndexMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import Mode, Searcher
from opensearch_splade.types import Capabilities

ALL = Capabilities((3, 6, 0), frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"}))
META = IndexMeta(SparseMeta("s1", "tiny", "inference-free"), DenseMeta("d1", "mini", 2))
TAG = {"term": {"metadata.lang": "en"}}


@dataclass
class Words:
    """A query encoder by table: each word weighs what the table says, unknown words are no features."""

    table: dict[str, float]
    fingerprint: str = "s1"
    asked: list[str] = field(default_factory=list)

    def encode_query(self, text):
        """Weights of the known words."""
        self.asked.append(text)
        return {word: self.table[word] for word in text.split() if word in self.table}


@dataclass
class Compass:
    """A dense query encoder: every question looks the same way."""

    vector: list[float]
    fingerprint: str = "d1"

    def embed_query(self, _text):
        """The same for all."""
        return self.vector


class Recorder:
    """A client without a cluster: one index of ours, and it keeps what it is sent."""

    def __init__(self, meta=META, hits=(), failed=0, timed_out=False, refusal=None, documents=None):
        self.indices = self
        self.meta = meta
        self.sent = []
        self.refusal = refusal
        self.documents = documents or {}
        shards = {"total": 2, "failed": failed}
        self.answer = {"took": 3, "timed_out": timed_out, "_shards": shards, "hits": {"hits": list(hits)}}

    def get_mapping(self, *, index):
        """The record of the one index."""
        return {index: {"mappings": {"_meta": self.meta.to_json()}}}

    def search(self, *, index, body):
        """The one answer."""
        self.sent.append((index, body))
        if self.refusal:
            raise self.refusal
        return self.answer

    def mget(self, *, body):
        """The documents it has."""
        places = [(each["_index"], each["_id"]) for each in body["docs"]]
        found = {
            place: {"found": True, "_source": self.documents[place]} for place in places if place in self.documents
        }
        return {
            "docs": [{"_index": place[0], "_id": place[1], **found.get(place, {"found": False})} for place in places]
        }


def searcher(client=None, *, capabilities=ALL, sparse=True, dense=True):
    """A searcher over all legs."""
    return Searcher(
        client or Recorder(),
        "books",
        capabilities=capabilities,
        sparse=Words({"fox": 2.0, "dog": 100.0}) if sparse else None,
        dense=Compass([0.6, 0.8]) if dense else None,
    )


def test_hybrid_asks_all_there_is():
    """By default text, sparse and dense are fused, with the pipeline in the body and without vectors in the hits."""
    assert searcher().body("fox", size=5, filter=TAG) == {
        "size": 5,
        "query": {
            "hybrid": {
                "queries": [
                    {"match": {"text": {"query": "fox"}}},
                    {"neural_sparse": {"sparse": {"query_tokens": {"fox": 2.0}}}},
                    {"knn": {"dense": {"vector": [0.6, 0.8], "k": 200}}},
                ],
                "filter": TAG,
                "pagination_depth": 200,
            }
        },
        "_source": {"excludes": ["sparse", "dense", "passages.sparse"]},
        "track_total_hits": False,
        "search_pipeline": {
            "phase_results_processors": [
                {
                    "normalization-processor": {
                        "normalization": {"technique": "min_max"},
                        "combination": {"technique": "arithmetic_mean", "parameters": {"weights": [1 / 3] * 3}},
                    }
                }
            ]
        },
    }


def test_a_single_ranking_needs_no_pipeline():
    """One leg is asked alone; the filter does not score; later pages skip."""
    body = searcher().body("fox", mode=Mode.parse("weighted-terms"), start=20, filter=TAG)
    terms = {"bool": {"should": [{"rank_feature": {"field": "sparse.fox", "boost": 2.0, "linear": {}}}]}}
    assert body == {
        "size": 10,
        "from": 20,
        "query": {"bool": {"must": [terms], "filter": [TAG]}},
        "_source": {"excludes": ["sparse", "dense", "passages.sparse"]},
        "track_total_hits": False,
    }


def test_nothing_is_sent_by_body_and_one_search_by_search():
    """``body`` is what ``search`` sends for a single ranking."""
    client = Recorder()
    asker = searcher(client)
    body = asker.body("fox dog", mode="neural-sparse")
    assert client.sent == []
    result = asker.search("fox dog", mode="neural-sparse")
    assert client.sent == [("books", body)]
    assert (result.body, result.took_ms, result.hits) == (body, 3, ())


def test_a_hybrid_ranks_by_id_first_and_opens_only_the_hits():
    """Candidates are never opened; the hits' documents are read by index and id; what is gone or foreign is told."""
    hits = [
        {"_index": "b1", "_score": 1.0, "fields": {"id": ["7"], "encoded": ["s1", "d1"]}},
        {"_index": "b2", "_score": 0.9, "fields": {"id": ["7"], "encoded": ["s1", "d1"]}},
        {"_index": "b1", "_score": 0.8, "fields": {"id": ["8"], "encoded": ["s1", "d1"]}},
        {"_index": "b1", "_score": 0.7},
    ]
    documents = {
        ("b1", "7"): {"text": "one", "encoded": ["s1", "d1"]},
        ("b2", "7"): {"text": "two", "encoded": ["s1", "d1"]},
    }
    client = Recorder(hits=hits, documents=documents)
    asker = searcher(client)
    body = asker.body("fox", mode="bm25+neural-sparse")
    result = asker.search("fox", mode="bm25+neural-sparse")
    assert client.sent == [
        (
            "books",
            {
                **{key: value for key, value in body.items() if key != "_source"},
                "stored_fields": "_none_",
                "docvalue_fields": ["id", "encoded", "number"],
            },
        )
    ]
    assert [(hit.id, hit.text) for hit in result.hits] == [("7", "one"), ("7", "two")]
    assert [notice.split(":")[0] for notice in result.notices] == [
        "1 hits are left out",
        "1 hits (e.g. '8') could not be read any more",
    ]


def test_ids_only_needs_one_request():
    """Where only the ranking matters no document is opened."""
    client = Recorder(hits=[{"_index": "b", "_score": 1.0, "fields": {"id": ["7"], "encoded": ["s1", "d1"]}}])
    result = searcher(client).search("fox", mode="hybrid", ids_only=True)
    assert [hit.id for hit in result.hits] == ["7"]
    assert len(client.sent) == 1
    assert result.notices == ()


def test_hybrid_without_neural_search_is_refused_and_sparse_falls_back():
    """Without the plugin there is no hybrid, while weighted terms still ask the same vectors."""
    plain = searcher(capabilities=Capabilities((3, 6, 0), frozenset({"opensearch-knn"})))
    assert plain.target.legs == ("bm25", "weighted-terms", "knn")
    with pytest.raises(CapabilityError, match="a hybrid query needs the plugin opensearch-neural-search"):
        plain.body("fox")


def test_hybrid_tells_which_ranking_it_goes_without():
    """Vectors without their encoder, or the other way round, take no part, and that is said."""
    result = searcher(dense=False).search("fox")
    assert len(result.body["query"]["hybrid"]["queries"]) == 2
    assert result.notices == ("hybrid without that ranking: no dense query encoder was given",)
    result = searcher(Recorder(IndexMeta())).search("fox")
    assert result.body["query"] == {"match": {"text": {"query": "fox"}}}
    assert result.notices == (
        "hybrid without that ranking: index 'books' holds no sparse vectors",
        "hybrid without that ranking: index 'books' holds no dense vectors",
    )
    assert searcher(Recorder(IndexMeta()), sparse=False, dense=False).search("fox").notices == ()


@pytest.mark.parametrize(
    ("asker", "mode", "message"),
    [
        (
            lambda: searcher(sparse=False),
            "weighted-terms",
            "no sparse query encoder was given; possible here: bm25, knn",
        ),
        (lambda: searcher(Recorder(IndexMeta())), "knn", "index 'books' holds no dense vectors; possible here: bm25"),
    ],
)
def test_modes_that_cannot_be_asked(asker, mode, message):
    """What is missing and what is possible is said."""
    with pytest.raises(TargetError, match=message):
        asker().body("fox", mode=mode)


def test_encoders_of_another_bundle_are_refused():
    """Query weights of one model are never matched with vectors of another."""
    with pytest.raises(TargetError, match=r"sparse vectors of bundle 'tiny' \(fingerprint s1\).*fingerprint s2"):
        Searcher(Recorder(), "books", capabilities=ALL, sparse=Words({}, fingerprint="s2"))
    with pytest.raises(TargetError, match=r"dense vectors of bundle 'mini' \(fingerprint d1\).*fingerprint d2"):
        Searcher(Recorder(), "books", capabilities=ALL, dense=Compass([1.0], fingerprint="d2"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (" \n", {}, "the question is empty"),
        ("fox", {"size": 0}, "size 0 from 0 on is outside the result window"),
        ("fox", {"start": -1}, "outside the result window"),
        ("fox", {"size": 10, "start": 9_991}, "at most 10,000"),
        ("fox", {"mode": "bm26"}, "unknown ranking 'bm26'"),
        ("fox", {"mode": "bm25", "weights": [1.0]}, "weights are for the legs of a hybrid; here bm25 is asked alone"),
        ("fox", {"weights": [1.0]}, "1 weights for 3 queries"),
        ("fox", {"filter": {"bool": {"should": [TAG] * 400}}}, "the filter leaves no room for the question"),
    ],
)
def test_bad_questions_are_refused_before_sending(text, options, message):
    """The error comes from here, not from the server."""
    client = Recorder()
    with pytest.raises(QueryError, match=message):
        searcher(client).search(text, **options)
    assert client.sent == []


def test_later_pages_of_a_hybrid_need_2_19():
    """Before pagination_depth a hybrid has no second page."""
    older = Capabilities((2, 18, 0), ALL.plugins)
    searcher(capabilities=older).body("fox")
    with pytest.raises(CapabilityError, match=r"pagination_depth of a hybrid query needs OpenSearch 2\.19"):
        searcher(capabilities=older).body("fox", start=10)


def test_changes_to_the_question_are_told():
    """Scaled weights, and a question without a known word, are notices of the result."""
    assert "query weights multiplied by 0.64" in searcher().search("dog", mode="neural-sparse").notices[0]
    unknown = searcher().search("🙂", mode="neural-sparse")
    assert unknown.body["query"] == {"match_none": {}}
    assert "no feature that the encoder knows" in unknown.notices[0]


def test_the_clauses_of_all_legs_share_the_limit():
    """Text, features, kNN and the filter of each leg together keep the server's clause limit, and cuts are told."""
    table = {f"w{i}": 1.0 + i for i in range(40)}
    small = dataclasses.replace(ALL, max_clause_count=30)
    asker = Searcher(Recorder(), "books", capabilities=small, sparse=Words(table), dense=Compass([1.0, 0.0]))
    result = asker.search(" ".join(table), filter=TAG)
    text, tokens, _ = result.body["query"]["hybrid"]["queries"]
    assert len(text["match"]["text"]["query"].split()) == 12  # half of 30 - 3 filters - 3 legs
    assert list(tokens["neural_sparse"]["sparse"]["query_tokens"]) == [f"w{i}" for i in range(39, 27, -1)]
    assert [notice[:4] for notice in result.notices] == ["bm25", "28 w"]
    short = asker.body("w1 w2", mode="bm25+neural-sparse")["query"]["hybrid"]["queries"]
    assert short[0]["match"]["text"]["query"] == "w1 w2"


def test_the_encoder_is_asked_once():
    """Two sparse legs and an explanation share one encoding."""
    words = Words({"fox": 2.0})
    asker = Searcher(Recorder(), "books", capabilities=ALL, sparse=words)
    asker.search("fox", mode="weighted-terms+neural-sparse", explain=True)
    assert words.asked == ["fox"]
    asker.search("fox", mode="bm25")
    assert words.asked == ["fox"]


def test_incomplete_and_foreign_answers_are_told():
    """Failed shards, time-outs and hits that another bundle encoded do not pass unnoticed."""
    hits = [
        {"_id": "1", "_score": 2.0, "_source": {"text": "x", "encoded": ["s1", "d1"]}},
        {"_id": "2", "_score": 1.0, "_source": {"text": "y", "encoded": ["s0", "d1"]}},
    ]
    client = Recorder(hits=hits, failed=1, timed_out=True)
    ran_out, shards, foreign = searcher(client).search("fox", mode="neural-sparse").notices
    assert ran_out == "the server ran out of time: hits may be missing"
    assert shards == "1 of 2 shards did not answer: hits may be missing"
    assert foreign.startswith("1 of 2 hits (e.g. '2') were not encoded by the bundle that asks")
    assert len(searcher(client).search("fox", mode="knn").notices) == 2


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (exceptions.AuthenticationException(401, "", ""), "refused the credentials"),
        (
            exceptions.AuthorizationException(403, "x", {"error": {"reason": "no read"}}),
            "forbids .* 'books' .*: no read",
        ),
        (exceptions.TransportError(429, "x", {"error": {"root_cause": [{"reason": "busy"}]}}), r"HTTP 429\): busy"),
        (exceptions.TransportError(502, "x", "Bad Gateway"), r"HTTP 502\): Bad Gateway"),
        (exceptions.ConnectionTimeout("TIMEOUT", "timed out", None), "did not answer .*timed out"),
    ],
)
def test_refusals_become_cluster_errors(refusal, message):
    """Each kind of refusal tells the reason and, where there is one, the next step."""
    with pytest.raises(ClusterError, match=message):
        searcher(Recorder(refusal=refusal)).search("fox")


def test_no_cluster_is_an_error_with_the_next_step():
    """Nobody listening: which index was asked and what to check."""
    with pytest.raises(ClusterError, match=r"did not answer while index 'books' was asked.*check the address"):
        Searcher(OpenSearch("http://127.0.0.1:1", max_retries=0), "books", capabilities=ALL)


# On the real node

DOCUMENTS = {
    "1": {"title": "The fox", "text": "A fox runs.", "sparse": {"fox": 2.0, "run": 1.0}, "dense": [0.6, 0.8]},
    "2": {"text": "The dog sleeps.", "sparse": {"dog": 1.5, "fox": 0.25}, "dense": [1.0, 0.0]},
    "3": {"text": "A bear eats.", "sparse": {"bear": 3.0}, "dense": [-0.6, 0.8]},
}


@pytest.fixture
def asker(client, index_name):
    """A searcher over three documents that hold text, sparse and dense vectors."""
    capabilities = probe(client)
    body = index_body(sparse=META.sparse, dense=META.dense, shards=2, capabilities=capabilities)
    client.indices.create(index=index_name, body=body)
    lines = []
    for key, source in DOCUMENTS.items():
        lang = {"id": key, "metadata": {"lang": "de" if key == "3" else "en"}, "encoded": ["s1", "d1"]}
        lines += [{"index": {"_id": key}}, {**source, **lang}]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    words = Words({"fox": 1.0, "dog": 3.0, "run": 100.0})
    return Searcher(client, index_name, capabilities=capabilities, sparse=words, dense=Compass([0.6, 0.8]))


@pytest.mark.server
def test_sparse_hits_and_their_reasons(asker):
    """Hits carry title, text and metadata; the contributions sum to the server's score; vectors stay away."""
    result = asker.search("fox dog", mode="neural-sparse", explain=True)
    assert [(hit.id, hit.score) for hit in result.hits] == [("2", 4.75), ("1", 2.0)]
    best, second = result.hits
    assert (best.title, best.text, best.metadata) == ("", "The dog sleeps.", {"lang": "en"})
    assert second.title == "The fox"
    assert [(each.feature, each.score) for each in best.why] == [("dog", 4.5), ("fox", 0.25)]
    assert asker.search("fox dog", mode="neural-sparse").hits[0].why == ()
    assert result.notices == ()


@pytest.mark.server
@pytest.mark.parametrize("mode", ["neural-sparse", "weighted-terms"])
def test_reasons_sum_to_the_score_where_weights_were_scaled(asker, mode):
    """A weight above 64 is scaled for neural_sparse only; the explanation follows what was sent."""
    result = asker.search("fox run", mode=mode, explain=True)
    assert len(result.notices) == (1 if mode == "neural-sparse" else 0)
    for hit in result.hits:
        assert sum(each.score for each in hit.why) == pytest.approx(hit.score, rel=1e-6)


MODES = ["bm25", "weighted-terms", "neural-sparse", "knn", "hybrid", "hybrid:rrf", "bm25+knn", "weighted-terms+knn:rrf"]


@pytest.mark.server
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_finds_filters_and_explains(asker, mode):
    """In every mode the fox comes first, a filter holds, and the reasons are told where a ranking has any."""
    found = asker.search("fox", mode=mode, filter=TAG, explain=True)
    assert found.hits[0].id == "1"
    assert {hit.id for hit in found.hits} <= {"1", "2"}
    why = found.hits[0].why
    if "sparse" in mode or "terms" in mode or mode.startswith("hybrid"):
        assert [(each.feature, each.score) for each in why] == [("fox", 2.0)]
    elif mode == "bm25":
        assert [each.feature for each in why] == ["fox"]
        assert why[0].score == pytest.approx(found.hits[0].score, rel=1e-6)
    else:
        assert why == ()
    assert found.notices == ()
    if "+" in mode or "hybrid" in mode:
        assert all(0 <= hit.score <= 1 for hit in found.hits)


@pytest.mark.server
@pytest.mark.parametrize("mode", ["neural-sparse", "hybrid"])
def test_pages_do_not_overlap(asker, mode):
    """Page by page gives the same hits as one large page."""
    whole = [hit.id for hit in asker.search("fox dog", mode=mode).hits]
    pages = [asker.search("fox dog", mode=mode, size=1, start=start).hits for start in range(len(whole))]
    assert [hit.id for hit in itertools.chain(*pages)] == whole
    assert asker.search("fox dog", mode=mode, size=5, start=100).hits == ()


@pytest.mark.server
@pytest.mark.parametrize("mode", MODES)
def test_no_question_is_refused_by_the_server(asker, mode):
    """Whatever the text, its length and the filter, the server takes what is sent (law 6)."""
    long = " ".join(f"word{i}" for i in range(3000))
    asker.target.sparse.table.update({word: 0.5 + i for i, word in enumerate(long.split())})
    filters = [None, TAG, {"bool": {"should": [TAG] * 3}}, {"terms": {"encoded": ["s1"] * 2000}}]
    texts = [long, "汉" * 3000, "🙂" * 3000, "a,b;" * 1500, "x" * 400_000]
    for text, filter in itertools.product(texts, filters):
        asker.search(text, mode=mode, filter=filter)

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.text(min_size=1).filter(str.strip))
    def law(text):
        asker.search(text, mode=mode)

    law()


@pytest.mark.server
def test_an_unknown_index(client, index_name):
    """A misspelt index is a target error with a hint, when the searcher is made and when the index goes away."""
    with pytest.raises(TargetError, match=f"there is no index or alias '{index_name}'.*GET _cat/indices"):
        Searcher(client, index_name, capabilities=ALL)
    client.indices.create(index=index_name, body=index_body(capabilities=probe(client)))
    gone = Searcher(client, index_name, capabilities=ALL)
    client.indices.delete(index=index_name)
    with pytest.raises(TargetError, match="there is no index or alias"):
        gone.search("fox", mode="bm25")


@pytest.mark.server
def test_a_request_the_server_refuses_tells_the_reason(asker):
    """The innermost reason of the server reaches the user."""
    with pytest.raises(ClusterError, match=r"HTTP 400\): unknown query \[tern\]"):
        asker.search("fox", mode="bm25", filter={"tern": {"a": 1}})
