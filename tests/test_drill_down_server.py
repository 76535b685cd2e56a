"""Drill-downs on the real node: what gave the scores is what the server says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from opensearchpy import OpenSearch

from opensearch_splade.evaluation.drill_down import asking, drill_down
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.index_meta import IndexMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import Searcher
from opensearch_splade.types import Features

QUESTION = "fox dog"
DOCUMENTS: dict[str, tuple[str, Features]] = {
    "fox": ("A fox runs after a fox and a dog.", {"fox": 0.5, "run": 1.0}),
    "dog": ("The dog sleeps.", {"dog": 1.5, "fox": 0.25}),
    "bear": ("A bear eats.", {"bear": 3.0}),
}


@dataclass(frozen=True)
class Words:
    """A query encoder by table."""

    fingerprint: str = "s1"

    def encode_query(self, text: str) -> Features:
        """Weights of the known words."""
        return {word: weight for word, weight in {"fox": 1.0, "dog": 3.0}.items() if word in text.split()}


@pytest.fixture
def searcher(client: OpenSearch, index_name: str) -> Searcher:
    """Over three documents with text and sparse vectors."""
    capabilities, meta = probe(client), SparseMeta("s1", "tiny", "inference-free")
    client.indices.create(index=index_name, body=index_body(sparse=meta, shards=1, capabilities=capabilities))
    assert IndexMeta.read(client, index_name).sparse == meta
    lines: list[object] = []
    for key, (text, sparse) in DOCUMENTS.items():
        lines += [{"index": {"_id": key}}, {"id": key, "text": text, "sparse": sparse, "encoded": ["s1"]}]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    return Searcher(client, index_name, capabilities=capabilities, sparse=Words())


@pytest.mark.server
def test_terms_sum_to_the_difference_of_the_two_scores(searcher: Searcher) -> None:
    """Of BM25 and of a sparse ranking: a pair asked for alone has the scores that it has among all documents."""
    modes = ("bm25", "neural-sparse")
    runs = {mode: {hit.id: hit.score for hit in searcher.search(QUESTION, mode=mode).hits} for mode in modes}
    assert [max(runs[mode], key=runs[mode].__getitem__) for mode in modes] == ["fox", "dog"]
    systems = [
        SystemResult(mode, mode, {"1": runs[mode]}, {"nDCG@10": {"1": value}})
        for mode, value in zip(modes, (1.0, 0.63), strict=True)
    ]
    qrels = {"1": {"fox": 2, "dog": 0}}
    evaluation = Evaluation("zoo", "test", "people", "zoo", "", {"1": QUESTION}, qrels, systems)
    [found] = drill_down(evaluation, {mode: asking(searcher, mode) for mode in modes})
    assert found.pair is not None
    assert (found.pair.relevant, found.pair.rival) == ("fox", "dog")
    assert (found.pair.baseline_ranks, found.pair.system_ranks) == ((1, 2), (2, 1))
    for terms, mode in ((found.pair.baseline_terms, "bm25"), (found.pair.system_terms, "neural-sparse")):
        expected = runs[mode]["fox"] - runs[mode]["dog"]
        assert {term.feature for term in terms} == {"fox", "dog"}
        assert sum(term.score for term in terms) == pytest.approx(expected, rel=1e-5)
    assert [(hit.id, hit.grade) for hit in found.hits] == [("dog", 0), ("fox", 2)]
    assert all(sum(part.score for part in hit.why) == pytest.approx(hit.score, rel=1e-5) for hit in found.hits)
