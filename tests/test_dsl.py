"""The DSL's classes: what they become, and that a hybrid stays at the top."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from opensearchpy import Search

from opensearch_splade.errors import QueryError
from opensearch_splade.query.dsl import Hybrid, Knn, NeuralSparse, Q

DOCS = (Path(__file__).resolve().parents[1] / "docs" / "clauses.md").read_text(encoding="utf-8")
LEGS = [Q("match", text="a"), Q("neural_sparse", sparse={"query_tokens": {"a": 1.5}})]
QUERIES = [{"match": {"text": "a"}}, {"neural_sparse": {"sparse": {"query_tokens": {"a": 1.5}}}}]
ONE, TWO = {"term": {"x": 1}}, {"term": {"y": 2}}


def test_the_names_are_known_once_the_module_is_loaded():
    """A fresh interpreter knows them after the import, and opensearch-py alone does not (else this module can go)."""
    code = "from opensearchpy import Q\nfor name in ('neural_sparse', 'knn', 'hybrid'):\n    print(Q(name).name)"
    without = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UnknownDslObject" in without.stderr
    code = f"import opensearch_splade.query.dsl\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["neural_sparse", "knn", "hybrid"]


def test_keywords_become_the_body():
    """Names of fields are keywords, and a double underscore in one is a dot, as everywhere in this DSL."""
    assert Q("neural_sparse", sparse={"query_tokens": {"a__b": 1.0, "a.b": 2.0}}).to_dict() == {
        "neural_sparse": {"sparse": {"query_tokens": {"a__b": 1.0, "a.b": 2.0}}}
    }
    assert NeuralSparse(passages__sparse={"query_text": "a"}).to_dict() == {
        "neural_sparse": {"passages.sparse": {"query_text": "a"}}
    }


def test_queries_within_parameters_become_plain():
    """A filter of kNN or of SEISMIC may be an object; what is sent is JSON."""
    nested = {"vector": [1.0], "k": 2, "filter": Q("term", x=1) & Q("term", y=2)}
    assert json.loads(json.dumps(Knn(dense=nested).to_dict())) == {
        "knn": {"dense": {"vector": [1.0], "k": 2, "filter": {"bool": {"must": [ONE, TWO]}}}}
    }
    method = {"query_tokens": {"7": 1.0}, "method_parameters": {"k": 1, "filter": Q("term", x=1)}}
    found = Q("neural_sparse", sparse=method).to_dict()["neural_sparse"]["sparse"]
    assert found["method_parameters"] == {"k": 1, "filter": ONE}


def test_filters_become_the_hybrids_own():
    """Before or after it, one or several: a filter never wraps the hybrid, and none is lost."""
    expected = {"query": {"hybrid": {"queries": QUERIES, "filter": ONE}}}
    assert Search().query(Hybrid(queries=LEGS)).filter("term", x=1).to_dict() == expected
    assert Search().filter("term", x=1).query("hybrid", queries=LEGS).to_dict() == expected
    both = {"bool": {"filter": [ONE, TWO]}}
    expected = {"query": {"hybrid": {"queries": QUERIES, "filter": both}}}
    assert Search().query("hybrid", queries=LEGS, filter=ONE).filter("term", y=2).to_dict() == expected
    assert Search().filter("term", x=1).filter("term", y=2).query("hybrid", queries=LEGS).to_dict() == expected

    without = {"query": {"hybrid": {"queries": QUERIES, "filter": {"bool": {"must_not": [ONE]}}}}}
    assert Search().query("hybrid", queries=LEGS).exclude("term", x=1).to_dict() == without


def test_combining_leaves_the_hybrid_as_it_was():
    """Queries of this DSL are values: a search that adds a filter does not change another one."""
    hybrid = Hybrid(queries=LEGS)
    Search().query(hybrid).filter("term", x=1)
    assert hybrid.to_dict() == {"hybrid": {"queries": QUERIES}}
    assert (Q("match_all") & hybrid).to_dict() == (hybrid & Q("match_all")).to_dict() == hybrid.to_dict()


@pytest.mark.parametrize(
    "combine",
    [
        lambda hybrid: Search().query("match", text="b").query(hybrid),
        lambda hybrid: Search().query(hybrid).query("match", text="b"),
        lambda hybrid: Search().filter("term", x=1).query("match", text="b").query(hybrid),
        lambda hybrid: Q("bool", must=[ONE]) & hybrid,
        lambda hybrid: hybrid & hybrid,
        lambda hybrid: hybrid + Q("match", text="b"),
        lambda hybrid: hybrid | Q("match", text="b"),
        lambda hybrid: Q("match", text="b") | hybrid,
        lambda hybrid: Q("bool", should=[ONE]) | hybrid,
        lambda hybrid: ~hybrid,
    ],
)
def test_a_hybrid_is_not_put_inside_anything(combine):
    """The server refuses it there (or, before 3.6, scored it wrongly), so it is refused where it is written."""
    with pytest.raises(QueryError, match="at the top of a search"):
        combine(Hybrid(queries=LEGS))


def test_the_docs_show_a_hybrid():
    """The JSON of the docs is what the class makes of its parts."""
    shown = json.loads(DOCS.partition("## `hybrid`")[2].partition("```json\n")[2].partition("```")[0])
    inner = shown["hybrid"]
    assert Hybrid(queries=[Q(each) for each in inner["queries"]], filter=Q(inner["filter"])).to_dict() == shown


@pytest.mark.server
def test_the_real_node_answers_a_search_of_the_dsl(client, index_name):
    """All three classes in one search: a hybrid with a filter, a sparse leg and a kNN leg, and its pipeline."""
    method = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
    fields = {
        "text": {"type": "text"},
        "lang": {"type": "keyword"},
        "sparse": {"type": "rank_features"},
        "dense": {"type": "knn_vector", "dimension": 2, "method": method},
    }
    settings = {"index.knn": True, "number_of_shards": 1}
    client.indices.create(index=index_name, body={"settings": settings, "mappings": {"properties": fields}})
    for identity, lang in (("1", "en"), ("2", "de")):
        document = {"text": "a", "lang": lang, "sparse": {"a": 2.0}, "dense": [0.6, 0.8]}
        client.index(index=index_name, id=identity, body=document, refresh=True)
    legs = [*LEGS, Q("knn", dense={"vector": [0.6, 0.8], "k": 5, "filter": Q("term", lang="en")})]
    pipeline = {"phase_results_processors": [{"normalization-processor": {"normalization": {"technique": "min_max"}}}]}
    search = Search(using=client, index=index_name).query("hybrid", queries=legs).filter("term", lang="en")
    found = search.extra(search_pipeline=pipeline).execute()
    assert [(hit.meta.id, hit.meta.score) for hit in found] == [("1", 1.0)]
