"""``sparse_vector`` fields on the real node: SEISMIC against the exact dot product, and what its server lets happen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionTimeout

from opensearch_splade.cli.main import main
from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.segments import force_merge, segment_sizes
from opensearch_splade.query import Searcher, SearchResult
from opensearch_splade.types import SparseVectors

pytestmark = pytest.mark.server

DOCUMENTS, QUESTIONS = 300, 60
STEPS = 255  # a byte
RECALL = 0.95
"""Of the exact ten. Of 600 documents .99 were found by both query sides (clusters are drawn by chance); with the
postings of 5 features .91 and .85, and with table weights that are cut at the ceiling instead of scaled .80."""


def osplade(*arguments: str) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(main, list(arguments))


@dataclass
class Corpus:
    """The first documents and questions of SciFact, their vectors as stored, and the two indices that hold them."""

    folder: Path
    url: str
    client: OpenSearch
    encoder: SparseEncoder
    ids: list[str]
    questions: list[str]
    vectors: SparseVectors

    large: str = ""
    small: str = ""

    def ingest(self, index: str, *options: str) -> Result:
        """``osplade ingest`` into a ``sparse_vector`` field."""
        where = ["--index", index, "--url", self.url, "--dead-letters", str(self.folder / "dead.jsonl")]
        how = ["--bundle", "splade-tiny", "--sparse-field", "sparse_vector", *options]
        return osplade("ingest", str(self.folder / "corpus.jsonl"), *where, *how)

    def searcher(self, index: str, encoder: SparseEncoder | None = None) -> Searcher:
        """Asks by the model, or by another query side."""
        return Searcher(self.client, index, capabilities=probe(self.client), sparse=encoder or self.encoder)

    def exact(self, encoder: SparseEncoder, depth: int = 10) -> list[dict[str, float]]:
        """The ranking of each question by dot product."""
        return list(ExactIndex(self.ids, self.vectors).rank(encoder.encode_queries(self.questions), depth))

    def meta(self, index: str) -> Any:
        """What an index says of its sparse field."""
        return IndexMeta.read(self.client, index).sparse


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, collections_dir: Path, node: RunningNode, client: OpenSearch
) -> Iterator[Corpus]:
    """``large`` is one segment that SEISMIC searches; ``small`` has the default threshold, so it is scored exactly."""
    folder = tmp_path_factory.mktemp("seismic")
    with (collections_dir / "scifact/corpus.jsonl").open(encoding="utf-8") as stream:
        lines = list(islice(stream, DOCUMENTS))
    with (collections_dir / "scifact/queries.jsonl").open(encoding="utf-8") as stream:
        questions = [json.loads(line)["text"] for line in islice(stream, QUESTIONS)]
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    documents = [json.loads(line) for line in lines]
    encoder = SparseEncoder.load("splade-tiny")
    vectors = encode_weights(encoder.encode_documents(f"{one['title']} {one['text']}".strip() for one in documents))
    made = Corpus(folder, node.url, client, encoder, [one["_id"] for one in documents], questions, vectors)
    prefix = f"test-{uuid4().hex[:12]}"
    made.large, made.small = f"{prefix}-large", f"{prefix}-small"
    assert made.ingest(made.large, "--seismic-threshold", "1", "--force-merge").exit_code == 0
    assert made.ingest(made.small).exit_code == 0
    yield made
    client.indices.delete(index=f"{made.large},{made.small}")


def table(encoder: SparseEncoder) -> SparseEncoder:
    """An inference-free query side whose weights are far above the ceiling of the siamese one."""
    return SparseEncoder.load("splade-tiny-idf", encoder.device)


def recall(found: SearchResult, exact: dict[str, float]) -> float:
    """The share of the exact hits that were found."""
    return len({hit.id for hit in found.hits} & exact.keys()) / len(exact)


# What is stored


def test_large_segments_are_one_and_the_record_comes_back(corpus: Corpus) -> None:
    """One segment of all documents; ceilings of the data, a tenth above the sample's largest; the rest as asked."""
    assert segment_sizes(corpus.client, corpus.large) == [DOCUMENTS]
    seismic = corpus.meta(corpus.large).seismic
    sampled = corpus.vectors.weights[: corpus.vectors.indptr[256]]
    # One text in another batch, or in 9 bits, may have a slightly other weight.
    assert seismic.ceiling_ingest == pytest.approx(sampled.max() * 1.1, rel=2**-7)
    assert seismic.threshold == 1
    assert corpus.meta(corpus.small).seismic.threshold == 1_000_000
    mapping = corpus.client.indices.get_mapping(index=corpus.large)[corpus.large]["mappings"]
    method = mapping["properties"]["sparse"]["method"]
    assert method["parameters"]["quantization_ceiling_ingest"] == pytest.approx(seismic.ceiling_ingest)
    assert method["parameters"]["quantization_ceiling_search"] == pytest.approx(seismic.ceiling_search)


def test_no_document_of_the_sample_is_lost(corpus: Corpus) -> None:
    """Those that were looked at for the ceilings are written like the others, by token id, with the codec's weights."""
    hits = corpus.client.search(index=corpus.large, body={"size": DOCUMENTS})["hits"]["hits"]
    assert len(hits) == DOCUMENTS
    stored = {hit["_id"]: hit["_source"]["sparse"] for hit in hits}
    for key, (token_ids, weights) in zip(corpus.ids, corpus.vectors, strict=True):
        assert stored[key].keys() == set(map(str, token_ids.tolist()))
        # One text in another batch may round to the next step of 9 bits.
        assert list(stored[key].values()) == pytest.approx(weights.tolist(), rel=2**-7)


# What is found


@pytest.mark.parametrize("side", ["siamese", "inference-free"])
def test_seismic_finds_what_the_exact_dot_product_finds(corpus: Corpus, side: str) -> None:
    """Of ten hits of the exact ranking nearly all, whichever query side asks."""
    encoder = corpus.encoder if side == "siamese" else table(corpus.encoder)
    asker = corpus.searcher(corpus.large, encoder)
    found = [
        recall(asker.search(text, mode="neural-sparse"), exact)
        for text, exact in zip(corpus.questions, corpus.exact(encoder), strict=True)
    ]
    assert np.mean(found) >= RECALL


@pytest.mark.parametrize("side", ["siamese", "inference-free"])
def test_scores_of_large_segments_keep_the_bound_of_a_byte(corpus: Corpus, side: str) -> None:
    """Each weight is off by half a step of its ceiling; weights above the search ceiling are not cut but scaled."""
    encoder = corpus.encoder if side == "siamese" else table(corpus.encoder)
    seismic = corpus.meta(corpus.large).seismic
    asker = corpus.searcher(corpus.large, encoder)
    for text in corpus.questions:
        strongest = max(encoder.encode_query(text).values())
        of_documents = seismic.ceiling_ingest / STEPS / 2
        of_questions = max(strongest, seismic.ceiling_search) / STEPS / 2
        for hit in asker.search(text, mode="neural-sparse", explain=True).hits:
            exact = sum(one.score for one in hit.why)
            bound = sum(
                one.query_weight * of_documents + one.stored_weight * of_questions + of_documents * of_questions
                for one in hit.why
            )
            assert abs(hit.score - exact) <= bound * (1 + 1e-3)
            assert all(one.feature in encoder.token_ids for one in hit.why)


@pytest.mark.parametrize("side", ["siamese", "inference-free"])
def test_small_segments_are_exact(corpus: Corpus, side: str) -> None:
    """Below the threshold: the exact ranking, and law 3, for the weights are 9 bits that were rounded before."""
    encoder = corpus.encoder if side == "siamese" else table(corpus.encoder)
    asker = corpus.searcher(corpus.small, encoder)
    for text in corpus.questions:
        hits = asker.search(text, mode="neural-sparse", explain=True).hits
        for hit in hits:
            assert hit.score == pytest.approx(sum(one.score for one in hit.why), rel=1e-6)
    found = [
        recall(asker.search(text, mode="neural-sparse"), exact)
        for text, exact in zip(corpus.questions, corpus.exact(encoder), strict=True)
    ]
    assert np.mean(found) >= 0.99  # one text in another batch may round to the next step of 9 bits


@pytest.mark.parametrize("mode", ["neural-sparse", "bm25+neural-sparse", "bm25+neural-sparse:rrf"])
@pytest.mark.parametrize("size", ["large", "small"])
def test_filters_hold(corpus: Corpus, mode: str, size: str) -> None:
    """Few matching documents are all found, none that does not match, and none by a filter that matches nothing.

    Left to itself the server returns unfiltered hits in the last case, none at all where matching documents are just
    more than ``k``, and documents of score 0 among the others.
    """
    asker = corpus.searcher(getattr(corpus, size))
    for text, exact in zip(corpus.questions[:10], corpus.exact(corpus.encoder, DOCUMENTS)[:10], strict=True):
        weakest = list(exact)[-30:]
        others = [key for key in corpus.ids if key not in exact][:10]
        found = asker.search(text, mode=mode, size=100, filter={"terms": {"id": weakest + others}})
        hits = [hit.id for hit in found.hits]
        assert set(hits) <= set(weakest + others)
        assert len(hits) == len(set(hits))
        if mode == "neural-sparse":
            assert len(set(weakest) & set(hits)) >= 0.9 * len(weakest)  # the weakest may round to 0 in a byte
            assert all(hit.score > 0 for hit in found.hits)
        for nothing in ({"terms": {"id": ["none"]}}, {"term": {"encoded": "none"}}):
            assert asker.search(text, mode=mode, filter=nothing).hits == ()


FILTERS: list[dict[str, Any]] = [
    {"term": {"encoded": "FINGERPRINT"}},
    {"bool": {"filter": [{"term": {"encoded": "FINGERPRINT"}}]}},
    {"terms": {"encoded": ["FINGERPRINT", "other"]}},
    {"prefix": {"text": "cell"}},
    {"match": {"text": {"query": "protien", "fuzziness": 1}}},
    {"term": {"text": {"value": "CELL", "case_insensitive": True}}},
    {"range": {"metadata.year": {"gte": "a"}}},
    {"exists": {"field": "metadata.year"}},
    {"bool": {"must_not": [{"wildcard": {"text": "cel*"}}]}},
]


@pytest.mark.parametrize("given", FILTERS, ids=lambda one: next(iter(one)))
@pytest.mark.parametrize("mode", ["neural-sparse", "bm25+neural-sparse"])
def test_the_server_takes_every_filter(corpus: Corpus, mode: str, given: dict[str, Any]) -> None:
    """Law 6, though SEISMIC fails at filters that are rewritten; the hits are those that match."""
    filter = json.loads(json.dumps(given).replace("FINGERPRINT", corpus.encoder.fingerprint))
    text = corpus.questions[0]
    found = corpus.searcher(corpus.large).search(text, mode=mode, size=50, filter=filter)
    query = {"bool": {"filter": [filter]}}
    matching = corpus.client.search(index=corpus.large, body={"size": DOCUMENTS, "query": query, "_source": False})
    expected = {hit["_id"] for hit in matching["hits"]["hits"]}
    assert {hit.id for hit in found.hits} <= expected
    assert bool(found.hits) == bool(expected)


def test_pages_do_not_overlap(corpus: Corpus) -> None:
    """Page by page the same as one large page."""
    asker = corpus.searcher(corpus.large)
    for text in corpus.questions[:5]:
        whole = [hit.id for hit in asker.search(text, mode="neural-sparse", size=60).hits]
        pages = [asker.search(text, mode="neural-sparse", size=20, start=start).hits for start in (0, 20, 40)]
        assert [hit.id for page in pages for hit in page] == whole
        assert len(whole) == 60


# By command


def test_search_asks_by_id_and_explains_by_name(corpus: Corpus) -> None:
    """The body has token ids and the method's parameters; the explanation has words."""
    asked = ["search", "vitamin d", "--index", corpus.large, "--url", corpus.url, "--mode", "neural-sparse"]
    asked += ["--query-side", "siamese"]
    body = json.loads(osplade(*asked, "--dry-run", "--seismic", "top_n:5,heap_factor:2").stdout)
    clause = body["query"]["neural_sparse"]["sparse"]
    assert str(corpus.encoder.token_ids["vitamin"]) in clause["query_tokens"]
    assert clause["method_parameters"] == {"k": 200, "top_n": 5, "heap_factor": 2.0}
    found = json.loads(osplade(*asked, "--explain", "--json").stdout)
    assert "vitamin" in {part["feature"] for part in found["hits"][0]["why"]}
    assert "vitamin" in osplade(*asked, "--explain").stdout
    refused = osplade(*asked[:-4], "--mode", "weighted-terms")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "rank_feature clauses find nothing; ask neural-sparse" in refused.stderr


def test_eval_measures_every_mode_there_is(corpus: Corpus, tmp_path: Path) -> None:
    """All modes but weighted terms; the nDCG of SEISMIC against the exact ranking's best documents is nearly 1."""
    (tmp_path / "qrels").mkdir()
    exact = corpus.exact(corpus.encoder, 1)
    queries = [json.dumps({"_id": str(i), "text": text}) for i, text in enumerate(corpus.questions)]
    (tmp_path / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    judged = [f"{i}\t{key}\t1" for i, ranking in enumerate(exact) for key in ranking]
    (tmp_path / "qrels/test.tsv").write_text("\n".join(judged), encoding="utf-8")
    asked = [str(tmp_path), "--index", corpus.large, "--url", corpus.url, "--query-side", "siamese", "--json"]
    result = osplade("eval", *asked)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    measured = {one["name"].split()[0]: one["measures"]["nDCG@10"] for one in report["systems"]}
    assert set(measured) == {"bm25", "neural-sparse", "bm25+neural-sparse", "bm25+neural-sparse:rrf"}
    assert measured["neural-sparse"] >= RECALL
    assert report["score_error"].keys() == {"neural-sparse"}


def test_the_index_decides_in_later_runs(corpus: Corpus) -> None:
    """Without the option the field is followed; another kind is refused with the reason, and nothing is written."""
    where = ["--index", corpus.small, "--url", corpus.url, "--dead-letters", str(corpus.folder / "dead.jsonl")]
    again = ["ingest", str(corpus.folder / "corpus.jsonl"), *where, "--bundle", "splade-tiny"]
    report = json.loads(osplade(*again, "--json").stdout)
    assert (report["indexed"], report["unchanged"], report["clipped"]) == (0, DOCUMENTS, 0)
    refused = osplade(*again, "--sparse-field", "rank_features", "--again")
    assert refused.exit_code == 1
    assert "has a sparse_vector field, and a field's kind is fixed" in refused.stderr
    assert corpus.meta(corpus.small).seismic is not None
    report = json.loads(osplade(*again, "--json", "--again").stdout)
    assert report["indexed"] == DOCUMENTS
    hit = corpus.client.get(index=corpus.small, id=corpus.ids[0])
    assert set(hit["_source"]["sparse"]) <= set(map(str, corpus.encoder.token_ids.values()))


def test_a_dry_run_tells_what_would_be(corpus: Corpus, index_name: str) -> None:
    """Ceilings, memory, and that so few documents are not worth it; no index is made."""
    result = corpus.ingest(index_name, "--dry-run")
    found = json.loads(result.stdout)
    assert found["documents"] == DOCUMENTS
    assert found["meta"]["opensearch_splade"]["sparse"]["seismic"]["threshold"] == 1_000_000
    assert found["sparse_vector"]["seismic_is_used"] is False
    assert "300 documents" in found["sparse_vector"]["note"]
    assert found["sparse_vector"]["heap_bytes_of_seismic"] == DOCUMENTS * 1000
    assert not corpus.client.indices.exists(index=index_name)


def test_weights_above_the_ceiling_are_counted_and_told(corpus: Corpus, index_name: str) -> None:
    """A ceiling that is too low: the report counts exactly what is cut, and says what to do."""
    result = corpus.ingest(index_name, "--seismic-ceiling-ingest", "1", "--seismic-ceiling-search", "2", "--no-ledger")
    cut = int((corpus.vectors.weights > 1).sum())
    [told] = re.findall(r"^([\d,]+) weights \(.*above the ceiling", result.stdout, re.MULTILINE)
    assert int(told.replace(",", "")) == pytest.approx(cut, rel=1e-3)
    assert "--seismic-ceiling-ingest" in result.stdout
    words = " ".join(result.stderr.split())
    assert "Ceilings of the sparse_vector field: 1 for documents, 2 for questions." in words
    assert "SEISMIC will not be used: it begins with segments of 1,000,000 documents, and there are 300" in words
    assert "SEISMIC searches 0 of 300 documents" in words


# Force-merge


def _in_parts(client: OpenSearch, index: str) -> None:
    """An index of several segments."""
    client.indices.create(index=index, body={"settings": {"index": {"number_of_replicas": 0}}})
    for number in range(4):
        client.index(index=index, id=str(number), body={"text": "a fox"}, params={"refresh": "true"})
    assert len(segment_sizes(client, index)) > 1


class Lossy:
    """A client that loses the first answers about a task."""

    def __init__(self, client: OpenSearch, losses: int) -> None:
        self.indices, self.tasks, self._client, self.losses = client.indices, self, client, losses

    def get(self, *, task_id: str) -> Any:
        """The node's answer, in the end."""
        if self.losses:
            self.losses -= 1
            raise ConnectionTimeout("TIMEOUT", "read timed out", None)
        return self._client.tasks.get(task_id=task_id)


def test_any_index_is_merged_though_answers_are_lost(client: OpenSearch, index_name: str) -> None:
    """One segment in the end and all documents there; waiting was told."""
    _in_parts(client, index_name)
    waits: list[float] = []
    lossy: Any = Lossy(client, 3)
    force_merge(lossy, index_name, on_wait=waits.append, pause=0.01)
    assert segment_sizes(client, index_name) == [4]
    assert len(waits) >= 3
    assert client.count(index=index_name)["count"] == 4


def test_waiting_for_a_merge_ends_when_nobody_answers(client: OpenSearch, index_name: str) -> None:
    """The error names the task that goes on."""
    _in_parts(client, index_name)
    silent: Any = Lossy(client, 1000)
    with pytest.raises(ClusterError, match=r"no answer for 0 s .*goes on: GET _tasks/\S+:\d+ tells"):
        force_merge(silent, index_name, patience=0.05, pause=0.01)


def test_a_merge_that_is_refused(client: OpenSearch, index_name: str) -> None:
    """A block is named with what lifts it, a missing index too."""
    _in_parts(client, index_name)
    client.indices.put_settings(index=index_name, body={"index.blocks.read_only": True})
    try:
        with pytest.raises(
            ClusterError, match=r"was not merged: .*read-only \(api\).*documents are all there.*lift it"
        ):
            force_merge(client, index_name, pause=0.01)
    finally:
        client.indices.put_settings(index=index_name, body={"index.blocks.read_only": None})
    with pytest.raises(TargetError, match=r"there is no index .* to merge"):
        force_merge(client, f"{index_name}-none")


def test_ingest_merges_rank_features_too(corpus: Corpus, index_name: str) -> None:
    """The option belongs to no kind of field, and takes a number of segments."""
    where = ["--index", index_name, "--url", corpus.url, "--no-ledger"]
    source = ["ingest", str(corpus.folder / "corpus.jsonl"), "--bundle", "splade-tiny"]
    letters = ["--dead-letters", str(corpus.folder / "dead.jsonl")]
    result = osplade(*source, *where, *letters, "--shards", "2", "--force-merge", "1")
    assert result.exit_code == 0, result.output
    assert len(segment_sizes(corpus.client, index_name)) == 2
    assert corpus.meta(index_name).field == "rank_features"
