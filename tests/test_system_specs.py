"""System specs, files of them, and templates: what can be said of a way of asking, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError, SourceError
from opensearch_splade.evaluation.system_spec import SIDES, SystemSpec
from opensearch_splade.evaluation.systems_file import read_systems
from opensearch_splade.evaluation.templates import Template
from opensearch_splade.query import DocumentScore, Feedback, Mode, QueryPruning, SeismicSearch

JSON_VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(), lambda each: st.lists(each, max_size=2), max_leaves=3
)
TWO_LEGS = st.sampled_from(["bm25+knn", "bm25+neural-sparse:rrf"]).map(Mode.parse)
WEIGHT = st.floats(0, 1e6, allow_subnormal=False)
SHARED: dict[str, Any] = {
    "index": st.text(max_size=9),
    "bundle": st.text(max_size=9),
    "query_side": st.sampled_from(["", *SIDES]),
    "query_prune": st.none() | st.builds(QueryPruning, top_k=st.integers(1, 99)),
    "seismic": st.none() | st.builds(SeismicSearch, st.integers(1, 99), st.sampled_from([0.5, 1.0, 2.25])),
    "filter": st.none() | st.dictionaries(st.text(min_size=1), JSON_VALUES, min_size=1, max_size=2),
    "tuned_on": st.text(max_size=9),
}
FEEDBACK = st.none() | st.builds(Feedback, st.integers(1, 99), st.integers(1, 99), st.sampled_from([0.5, 0.85]))
SPECS = st.one_of(
    st.builds(SystemSpec, TWO_LEGS, weights=st.just(()) | st.tuples(WEIGHT, WEIGHT), **SHARED),
    st.builds(
        SystemSpec,
        st.just(Mode.parse("neural-sparse")),
        feedback=FEEDBACK,
        two_step=st.builds(QueryPruning, top_k=st.integers(1, 9)),
        window=st.integers(1, 999),
        **SHARED,
    ),
    st.builds(
        SystemSpec,
        st.just(Mode.parse("neural-sparse")),
        passages=st.builds(DocumentScore, st.sampled_from(["sum", "avg"]), st.integers(0, 3), st.just(0.25)),
        **SHARED,
    ),
    st.builds(SystemSpec, st.just(Mode.parse("bm25")), rescore=st.just("weighted-terms"), **SHARED),
    st.builds(SystemSpec, st.none(), st.text(min_size=1)),
)


@given(SPECS)
def test_a_spec_reads_back(spec: SystemSpec) -> None:
    """Its line says everything: reading it gives the same spec."""
    assert SystemSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bm52", "unknown ranking 'bm52'"),
        ("", "a mode such as bm25\\+knn, or template=FILE"),
        ("bm25 template=x.json", "a mode such as"),
        ("bm25 depth=3", "'depth' is unknown; known: mode, template"),
        ("bm25 knn", "'knn' is no KEY=VALUE"),
        ("bm25 window=9 window=8", "names window twice"),
        ("bm25 'filter={", "No closing quotation"),
        ("bm25 filter={", "the filter is not valid JSON"),
        ("bm25 filter=[]", "the filter is one query object"),
        ("bm25 query-side=both", "choose siamese or inference-free"),
        ("bm25+knn weights=1", "1 weights where 2 are needed"),
        ("bm25+knn weights=1,x", "could not convert"),
        ("bm25+knn weights=1,-2", "finite and not negative"),
        ("bm25 weights=1", "weights are for the legs of a hybrid"),
        ("bm25 two-step=top_k:3", "goes with one sparse ranking"),
        ("bm25+neural-sparse two-step=top_k:3", "goes with one sparse ranking"),
        ("neural-sparse two-step=top_k:0", "a whole number > 0"),
        ("neural-sparse two-step=top_k:3 rescore=bm25", "leave rescore out"),
        ("bm25+knn rescore=neural-sparse", "rescore goes with one ranking"),
        ("bm25 rescore=knn", "choose one of bm25, weighted-terms, neural-sparse"),
        ("bm25+knn boost=static.words:log:1", "goes with one ranking of one stage, or with a linear combination"),
        ("bm25 rescore=neural-sparse boost=a=b*1", "goes with one ranking of one stage"),
        ("bm25 boost=words", "write FIELD=VALUE"),
        ("bm25 window=100", "window goes with two-step or rescore"),
        ('template=x.json filter={\\"a\\":1}', "write it into the template"),
    ],
)
def test_what_does_not_go_together_is_refused(line: str, message: str) -> None:
    """With what is wrong and what can be said instead."""
    with pytest.raises(QueryError, match=message):
        SystemSpec.parse(line)


def systems_file(folder: Path, text: str) -> Path:
    """Such a file."""
    path = folder / "systems.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_the_same_as_lines(tmp_path: Path) -> None:
    """Lists, rules and filters in YAML's own forms; templates are found beside the file; the order stays."""
    path = systems_file(
        tmp_path,
        """
systems:
  plain: bm25
  fused: {mode: "bm25+knn:rrf", weights: [1, 2.5], filter: {term: {metadata.lang: en}}}
  fast:
    mode: neural-sparse
    query-side: siamese
    two-step: {top_k: 8}
    window: 300
  rescored: bm25 rescore=weighted-terms window=50
  ours: {template: ours.json}
""",
    )
    assert read_systems(path) == {
        "plain": SystemSpec.parse("bm25"),
        "fused": SystemSpec.parse("""bm25+knn:rrf weights=1,2.5 'filter={"term": {"metadata.lang": "en"}}'"""),
        "fast": SystemSpec.parse("neural-sparse query-side=siamese two-step=top_k:8 window=300"),
        "rescored": SystemSpec.parse("bm25 rescore=weighted-terms window=50"),
        "ours": SystemSpec(template=str(tmp_path / "ours.json")),
    }
    assert list(read_systems(path)) == ["plain", "fused", "fast", "rescored", "ours"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("systems: [", SourceError, r"systems\.yaml: while parsing"),
        ("bm25: bm25", SourceError, "write systems: and under it"),
        ("systems:", SourceError, "write systems: and under it"),
        ("systems:\n  a: bm25\n  b: knn\n  a: knn\n", SourceError, r"systems\.yaml:4: 'a' stands there twice"),
        ("systems:\n  a: bm52\n", QueryError, r"systems\.yaml: a: .*unknown ranking 'bm52'"),
        ("systems:\n  a: {mode: bm25, k: 3}\n", QueryError, r"systems\.yaml: a: 'k' is unknown"),
        ("systems:\n  a: {mode: bm25, index: }\n", QueryError, r"a: index: None is no value"),
        ("systems:\n  a: 3\n", QueryError, "3 is neither a line nor"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    """By file, and by line or system."""
    with pytest.raises(error, match=message):
        read_systems(systems_file(tmp_path, text))


def template(folder: Path, body: object) -> Template:
    """One with this body."""
    path = folder / "body.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return Template.load(str(path))


@settings(deadline=None)
@given(st.text())
def test_a_question_stays_a_value(tmp_path_factory: pytest.TempPathFactory, question: str) -> None:
    """Whatever it holds, quotes, braces or the name of a place: the body has the same shape, and the text whole."""
    body = {"query": {"bool": {"must": [{"match": {"text": "{{query}}"}}, {"match": {"title": "about {{query}}!"}}]}}}
    filled = template(tmp_path_factory.mktemp("t"), body).fill(question, {})
    must = [{"match": {"text": question}}, {"match": {"title": f"about {question}!"}}]
    assert json.loads(json.dumps(filled)) == {"query": {"bool": {"must": must}}}


def test_weights_and_vectors_are_put_whole(tmp_path: Path) -> None:
    """As objects and lists, computed only where they stand; what nobody gives is refused."""
    body = {"query": {"bool": {"should": ["{{sparse}}", {"knn": {"dense": {"vector": "{{vector}}", "k": 5}}}]}}}
    found = template(tmp_path, body)
    assert found.places == {"{{sparse}}", "{{vector}}"}
    filled = found.fill("x", {"{{sparse}}": lambda: {"match_none": {}}, "{{vector}}": lambda: [1.0, 2.0]})
    assert filled == {
        "query": {"bool": {"should": [{"match_none": {}}, {"knn": {"dense": {"vector": [1.0, 2.0], "k": 5}}}]}}
    }
    with pytest.raises(QueryError, match=r"has \{\{vector\}\}, and the index or the encoders have none"):
        found.fill("x", {"{{sparse}}": dict})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", r"body\.json"),
        ([], "it is no search body"),
        ({"match": {"text": "{{query}}"}}, "it is no search body"),
        ({"query": {"match_all": {}}}, "asks every question alike"),
    ],
)
def test_a_template_without_a_question_is_refused(tmp_path: Path, body: object, message: str) -> None:
    """It would give every question the same ranking; a file that is no search body is told too."""
    with pytest.raises(QueryError, match=message):
        template(tmp_path, body)
