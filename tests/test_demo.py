"""The demo end to end on a small collection, and law 3 on real weights."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from opensearch_splade.cli.demo import index_name as demo_index
from opensearch_splade.cli.main import main
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.codec import RELATIVE_ERROR
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import Searcher

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server

TEXTS = {
    "csv": "Reading a comma separated file row by row gives each row as a list of strings.",
    "threads": "The main thread waits until the worker threads have finished their jobs.",
    "cache": "Keep results of expensive calls in memory, so that a second call is quick.",
    "cats": "Cats sleep most of the day and hunt at dusk and dawn.",
}
QUESTIONS = {"1": ("read a csv file", "csv"), "2": ("wait for threads", "threads"), "3": ("memory of results", "cache")}


@pytest.fixture
def collection(tmp_path: Path, client: OpenSearch) -> Iterator[Path]:
    """A BEIR folder; what the demo makes of it is deleted afterwards."""
    folder = tmp_path / f"tiny-{uuid.uuid4().hex[:8]}"
    (folder / "qrels").mkdir(parents=True)
    lines = (json.dumps({"_id": key, "text": text}) for key, text in TEXTS.items())
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = (json.dumps({"_id": key, "text": text}) for key, (text, _) in QUESTIONS.items())
    (folder / "queries.jsonl").write_text("\n".join(lines))
    judged = "\n".join(f"{key}\t{answer}\t1" for key, (_, answer) in QUESTIONS.items())
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}\n")
    yield folder
    index = demo_index(load_collection(str(folder)))
    if client.indices.exists(index=index):
        place = IndexMeta.read(client, index).query_weights
        client.indices.delete(index=index)
        if place:
            client.delete(index=place.index, id=place.id)


def run_demo(node: RunningNode, collection: Path, *options: str) -> str:
    """The demo's output."""
    result = CliRunner().invoke(main, ["demo", "--collection", str(collection), "--url", node.url, *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_demo_ingests_asks_measures_and_says_how_to_go_on(
    node: RunningNode, collection: Path, tmp_path: Path
) -> None:
    """From nothing to a table; a second run finds the index complete; the picture is kept."""
    output = run_demo(node, collection, "--picture", str(tmp_path / "demo.svg"))
    assert "4 passages in osplade-demo-tiny-" in output
    for way in ("bm25", "weighted-terms", "neural-sparse", "knn", "hybrid", "bm25+neural-sparse+knn:rrf"):
        assert way in output
    assert "wait for threads" in output
    assert "nDCG@10" in output
    assert "osplade search" in output
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")
    assert "is complete; nothing to ingest" in run_demo(node, collection)
    assert "4 passages in" in run_demo(node, collection, "--fresh")


def test_server_scores_equal_the_models_dot_products(node: RunningNode, collection: Path, client: OpenSearch) -> None:
    """Law 3 with real weights: the score is the dot product of unrounded vectors within the 9-bit bound."""
    run_demo(node, collection)
    index = demo_index(load_collection(str(collection)))
    encoder = SparseEncoder.load("splade-tiny")
    documents = {key: encoder.features(*encoder.encode_documents([text]).row(0)) for key, text in TEXTS.items()}
    searcher = Searcher(client, index, capabilities=probe(client), sparse=encoder)
    for question, answer in QUESTIONS.values():
        query = encoder.encode_query(question)
        for mode in ("neural-sparse", "weighted-terms"):
            hits = searcher.search(question, mode=mode).hits
            assert hits[0].id == answer
            for hit in hits:
                exact = sum(weight * documents[hit.id].get(feature, 0.0) for feature, weight in query.items())
                assert hit.score == pytest.approx(exact, rel=RELATIVE_ERROR)
