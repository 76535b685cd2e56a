"""Documents on their way into a real index: exactly once, with exactly the vectors that were computed."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import ClusterError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.bulk import Action, BulkWriter, RetryPolicy
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.types import Document

pytestmark = pytest.mark.server

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "fox", "title": "The fox", "text": "A fox runs over the hill.", "lang": "en", "metadata": {"year": 1999}},
    {"_id": "dog", "text": "The dog sleeps by the fire, e.g. at 5 p.m."},
    {"_id": 3, "text": "Der Fuchs schläft.", "tags": ["a", {"b": None}]},
    {"title": "Only a title", "text": ""},
]
PATIENT = RetryPolicy(patience=30, first_wait=0.001, longest_wait=0.01)


class Ingest:
    """``osplade ingest`` of some documents into an index of one's own."""

    def __init__(self, folder: Path, client: OpenSearch, url: str, index: str) -> None:
        self.folder, self.client, self.url, self.index = folder, client, url, index
        self.dead_letters = folder / "dead.jsonl"

    def __call__(self, documents: list[dict[str, Any]], *more: str, code: int = 0) -> dict[str, Any]:
        """The report of a run."""
        result = CliRunner().invoke(main, [*self.command(documents), *more, "--json"])
        assert result.exit_code == code, result.output
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def command(self, documents: list[dict[str, Any]]) -> list[str]:
        """The command that ingests documents."""
        source = self.folder / "corpus.jsonl"
        source.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        where = ["--index", self.index, "--url", self.url, "--dead-letters", str(self.dead_letters)]
        return ["ingest", str(source), "--bundle", "splade-tiny", *where]

    def stored(self) -> dict[str, dict[str, Any]]:
        """What the index holds, by id."""
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, body={"size": 5000})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.dead_letters.read_bytes().splitlines()]


@pytest.fixture
def ingest(tmp_path: Path, client: OpenSearch, node: RunningNode, index_name: str) -> Iterator[Ingest]:
    """Ingests; the query weights that a test kept with its index are deleted with it."""
    made = Ingest(tmp_path, client, node.url, index_name)
    yield made
    if client.indices.exists(index=index_name):
        meta = client.indices.get_mapping(index=index_name)[index_name]["mappings"].get("_meta", {})
        if place := meta.get("opensearch_splade", {}).get("query_weights"):
            client.delete(index=place["index"], id=place["id"])


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    """The sparse encoder of all runs here."""
    return SparseEncoder.load("splade-tiny")


def passages(documents: list[dict[str, Any]]) -> list[str]:
    """What is encoded of each document."""
    return [f"{document.get('title', '')} {document['text']}".strip() for document in documents]


# What is stored


def test_the_index_holds_what_was_encoded(ingest: Ingest, encoder: SparseEncoder) -> None:
    """Weights are the codec's values, to the bit; vectors, markers, texts and all other fields are there."""
    report = ingest(DOCUMENTS, "--dense-bundle", "minilm-l6")
    assert (report["read"], report["indexed"], report["dead"]) == (4, 4, 0)
    dense = DenseEncoder.load("minilm-l6")
    vectors = encode_weights(encoder.encode_documents(passages(DOCUMENTS)))
    embeddings = dense.encode(passages(DOCUMENTS))
    by_text = {source["text"]: source for source in ingest.stored().values()}
    assert report["features"] == len(vectors.weights)
    for document, row, embedding in zip(DOCUMENTS, vectors, embeddings, strict=True):
        source = by_text[document["text"]]
        assert source["sparse"] == encoder.features(*row)
        assert source["dense"] == pytest.approx(embedding.tolist(), rel=1e-6)
        assert source["encoded"] == [encoder.fingerprint, dense.fingerprint]
        assert source.get("title") == document.get("title")
    stored = ingest.stored()
    assert set(stored) > {"fox", "dog", "3"}
    assert stored["fox"]["metadata"] == {"year": 1999, "lang": "en"}
    assert stored["3"]["metadata"] == {"tags": ["a", {"b": None}]}
    assert "metadata" not in stored["dog"]


def test_the_server_keeps_every_weight_exactly(ingest: Ingest) -> None:
    """Law 3 at its root: the server's own value of each feature is the weight that was sent."""
    ingest(DOCUMENTS[:2])
    for key, source in ingest.stored().items():
        lines: list[dict[str, Any]] = []
        for feature in source["sparse"]:
            one = {"rank_feature": {"field": f"sparse.{feature}", "linear": {}}}
            lines += [{}, {"query": {"bool": {"must": one, "filter": {"ids": {"values": [key]}}}}}]
        answers = ingest.client.msearch(index=ingest.index, body=lines)["responses"]
        scores = [answer["hits"]["hits"][0]["_score"] for answer in answers]
        # The server prints the shortest decimal of its 32-bit value.
        assert np.array(scores, np.float32).tolist() == list(source["sparse"].values())


def test_metadata_can_be_filtered_and_titles_found(ingest: Ingest) -> None:
    """Fields that pass through answer filters, and BM25 over `text` finds the words of titles."""
    ingest(DOCUMENTS)

    def found(query: dict[str, Any]) -> list[str]:
        return [hit["_id"] for hit in ingest.client.search(index=ingest.index, body={"query": query})["hits"]["hits"]]

    assert found({"term": {"metadata.lang": "en"}}) == ["fox"]
    assert found({"term": {"metadata.year": "1999"}}) == ["fox"]
    assert len(found({"match": {"text": "titles"}})) == 1


@pytest.mark.parametrize("rule", ["top_k:5", "max_ratio:0.5", "abs_value:1.2", "alpha_mass:0.6"])
def test_pruning_is_applied(ingest: Ingest, encoder: SparseEncoder, rule: str) -> None:
    """The index holds the pruned vectors and says by which rule."""
    report = ingest(DOCUMENTS, "--prune", rule)
    whole = encoder.encode_documents(passages(DOCUMENTS))
    kept = encode_weights(Pruning.parse(rule).apply(whole))
    assert 0 < report["features"] == len(kept.weights) < len(whole.weights)
    assert ingest.stored()["fox"]["sparse"] == encoder.features(*kept.row(0))
    meta = IndexMeta.read(ingest.client, ingest.index)
    assert meta.sparse is not None
    assert meta.sparse.pruning == rule


# Once, however often


def test_running_again_changes_nothing(ingest: Ingest) -> None:
    """The same source has the same ids and vectors, whatever the order of its documents."""
    ingest(DOCUMENTS)
    first = ingest.stored()
    report = ingest(DOCUMENTS[::-1], "--again")
    assert (report["indexed"], report["unchanged"]) == (len(DOCUMENTS), 0)
    assert ingest.stored() == first


def test_a_changed_document_replaces_the_old_one(ingest: Ingest, encoder: SparseEncoder) -> None:
    """Nothing stale stays: text, vector and metadata are those of the last run."""
    ingest(DOCUMENTS[:1])
    ingest([{"_id": "fox", "text": "Trains leave at noon."}])
    assert ingest.stored()["fox"] == {
        "id": "fox",
        "text": "Trains leave at noon.",
        "sparse": encoder.features(*encode_weights(encoder.encode_documents(["Trains leave at noon."])).row(0)),
        "encoded": [encoder.fingerprint],
        "hash": content_hash(Document("fox", "Trains leave at noon.")),
    }


def process(*arguments: str) -> subprocess.Popen[bytes]:
    """``osplade`` as a process of its own."""
    command = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe)


def wait_for_documents(client: OpenSearch, index: str, running: subprocess.Popen[bytes], least: int = 1) -> None:
    """Returns as soon as there is an index with so many documents."""
    while running.poll() is None:
        if client.indices.exists(index=index):
            client.indices.refresh(index=index)
            if client.count(index=index)["count"] >= least:
                return
        time.sleep(0.02)
    pytest.fail("the run ended before it wrote enough")


def test_killed_and_run_again(ingest: Ingest, encoder: SparseEncoder) -> None:
    """Law 5: killed thrice in the middle and run again, each document is there once, with the right vector."""
    documents = [{"text": f"The {word} fox number {number}."} for number in range(1000) for word in ("red", "grey")]
    command = ingest.command(documents)
    lines = Path(command[1]).read_bytes().splitlines(keepends=True)
    for least in (0, 1, 700):
        with process("ingest", "-", *command[2:], "--query-weights", "idf") as running:
            assert running.stdin is not None
            # Standard input stays open: however fast the run is, it cannot end before it is killed.
            running.stdin.write(b"".join(lines[:1200]))
            running.stdin.flush()
            wait_for_documents(ingest.client, ingest.index, running, least)
            running.send_signal(signal.SIGKILL)
        assert least <= len(ingest.stored()) <= 1200
    assert IndexMeta.read(ingest.client, ingest.index).query_weights is None

    report = ingest(documents, "--query-weights", "idf")
    assert report["indexed"] + report["unchanged"] == len(documents)
    stored = ingest.stored()
    assert sorted(source["text"] for source in stored.values()) == sorted(document["text"] for document in documents)
    assert all(source["encoded"] == [encoder.fingerprint] and source["sparse"] for source in stored.values())
    assert IndexMeta.read(ingest.client, ingest.index).query_weights is not None


def test_an_index_that_is_deleted_during_the_run(ingest: Ingest) -> None:
    """The next bulk request would make it anew with a mapping of the server's own: the run says so and fails."""
    command = ingest.command([])
    line = b'{"text": "fox %d"}\n'
    with process("ingest", "-", *command[2:]) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(b"".join(line % number for number in range(260)))
        running.stdin.flush()
        wait_for_documents(ingest.client, ingest.index, running)
        ingest.client.indices.delete(index=ingest.index)
        running.stdin.write(b"".join(line % number for number in range(260, 270)))
        running.stdin.close()
        said = running.stderr.read().decode()
    assert running.returncode == 1
    assert "Traceback" not in said
    assert f"Error: index '{ingest.index}' was not made by opensearch-splade" in said


# A cluster that is not well

Fault = Callable[[BaseHTTPRequestHandler, bytes], bool]
"""What goes wrong with one bulk request; says whether that was all, or the request goes on to the node."""


def answer(handler: BaseHTTPRequestHandler, status: int, content: bytes = b"{}") -> None:
    """An HTTP answer of JSON."""
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def forward(url: str, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
    """The node's answer to a request."""
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request(handler.command, handler.path, body or None, {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        status, content = response.status, response.read()
    connection.close()
    return status, content


def lines_of(body: bytes) -> list[bytes]:
    """A bulk body as one piece per action."""
    lines = body.splitlines(keepends=True)
    return [action + source for action, source in zip(lines[::2], lines[1::2], strict=True)]


class Faulty:
    """A loopback proxy before the real node that stands for a cluster in trouble.

    Each bulk request meets the next of the planned faults, and then none. A real cluster answers so when its write
    queue is full (429 for single items), when it elects a manager or a gateway has no back end (503, 502), when a node
    or a load balancer goes away (connection reset, before or after the request was applied), and when a gateway or
    ``http.max_content_length`` limits the size of a request (413). None of that can be provoked reliably on one idle
    node.
    """

    def __init__(self, url: str, *faults: str, limit: int = 10_000_000) -> None:
        self.node, self.faults, self.limit = url, deque(faults), limit
        self.bulk_requests = 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if "/_bulk" not in handler.path:
            answer(handler, *forward(self.node, handler, body))
            return
        self.bulk_requests += 1
        fault = self.faults.popleft() if self.faults else ""
        if len(body) > self.limit:
            answer(handler, 413)
        elif fault.isdigit():
            answer(handler, int(fault))
        elif fault == "busy for every other item":
            self._answer_half(handler, lines_of(body))
        elif fault == "reset":
            reset(handler)
        elif fault == "answer lost":
            forward(self.node, handler, body)
            reset(handler)
        else:
            answer(handler, *forward(self.node, handler, body))

    def _answer_half(self, handler: BaseHTTPRequestHandler, actions: list[bytes]) -> None:
        """The node takes every other item; for the rest its write queue is full."""
        status, content = forward(self.node, handler, b"".join(actions[1::2]))
        taken = iter(json.loads(content)["items"])
        busy = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue full"}}
        ids = [json.loads(action.splitlines()[0])["index"]["_id"] for action in actions]
        items = [next(taken) if place % 2 else {"index": {"_id": id_, **busy}} for place, id_ in enumerate(ids)]
        answer(handler, status, json.dumps({"took": 1, "errors": True, "items": items}).encode())


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Ends a connection by RST instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


@contextmanager
def listening(faulty: Faulty) -> Iterator[str]:
    """The URL where a faulty cluster listens."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            faulty.handle(self)

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


ACTIONS = [Action(f"d{number}", b'{"text":"fox %d"}' % number) for number in range(20)]


def written(client: OpenSearch, index: str) -> dict[str, str]:
    """The texts of an index by id."""
    client.indices.refresh(index=index)
    hits = client.search(index=index, body={"size": 100})["hits"]["hits"]
    return {hit["_id"]: hit["_source"]["text"] for hit in hits}


EXPECTED = {action.id: json.loads(action.source)["text"] for action in ACTIONS}


@pytest.mark.parametrize(
    ("faults", "retries"),
    [
        (["busy for every other item"], 10),
        (["busy for every other item", "busy for every other item"], 15),
        (["503"], 20),
        (["502", "429", "504"], 60),
        (["reset"], 20),
        (["answer lost", "busy for every other item"], 30),
    ],
    ids=str,
)
def test_a_busy_cluster_gets_every_document(
    faults: list[str], retries: int, node: RunningNode, client: OpenSearch, index_name: str
) -> None:
    """What was not taken is sent again, only that, and it is counted; nothing is lost or doubled."""
    faulty = Faulty(node.url, *faults)
    with listening(faulty) as url, OpenSearch(url, max_retries=0) as busy:
        writer = BulkWriter(busy, index_name, PATIENT)
        assert writer.write(ACTIONS) == []
    assert faulty.bulk_requests == len(faults) + 1
    assert writer.retries == retries
    assert written(client, index_name) == EXPECTED


def test_a_whole_run_on_a_busy_cluster(ingest: Ingest) -> None:
    """The command itself comes through, and its report tells what had to be sent again."""
    ingest(DOCUMENTS)
    calm = ingest.stored()
    ingest.client.indices.delete(index=ingest.index)
    node = ingest.url
    with listening(Faulty(node, "reset", "busy for every other item")) as ingest.url:
        report = ingest(DOCUMENTS)
    assert (report["indexed"], report["dead"], report["retries"]) == (len(DOCUMENTS), 0, len(DOCUMENTS) + 2)
    assert report["sending"]["retries"] == {
        "connection failed (ConnectionError)": len(DOCUMENTS),
        "HTTP 429 rejected_execution_exception": 2,
    }
    assert ingest.stored() == calm


def test_the_report_tells_where_the_time_went(ingest: Ingest) -> None:
    """Seconds of each step, latencies of bulk requests, the last size and number of them; and that they went packed."""
    report = ingest(DOCUMENTS, "--compress", "always")
    assert list(report["steps"]) == ["source", "tokenizer", "encoder", "codec", "cluster"]
    for step in list(report["steps"].values())[:-1]:
        assert sum(step.values()) <= report["seconds"] + 0.01
    sending = report["sending"]
    assert sending["seconds"].keys() == {"p50", "p90", "p99", "max"}
    assert sending["size"] > 0
    assert sending["number"] > 0
    assert (sending["flying"], sending["compressed"]) == (0, report["bulks"])
    assert len(ingest.stored()) == len(DOCUMENTS)


def test_metrics_by_option(ingest: Ingest) -> None:
    """The address is told before the run begins; on this machine alone unless a host is named."""
    pytest.importorskip("prometheus_client", reason="needs the [metrics] extra")
    result = CliRunner().invoke(main, [*ingest.command(DOCUMENTS), "--metrics", "0"])
    assert result.exit_code == 0, result.output
    assert "metrics at http://127.0.0.1:" in result.stderr


def test_a_cluster_that_stays_away(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """In the end patience ends: the error says why, that nothing is lost, and what to do."""
    client.indices.create(index=index_name)
    with listening(Faulty(node.url, *["503"] * 10_000)) as url, OpenSearch(url, max_retries=0) as away:
        writer = BulkWriter(away, index_name, RetryPolicy(patience=0.1, first_wait=0.001, longest_wait=0.01))
        with pytest.raises(ClusterError, match=r"did not take 20 documents for 0\.1 s: HTTP 503.*run the same command"):
            writer.write(ACTIONS)
    assert written(client, index_name) == {}


def test_a_refusal_is_not_repeated(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """What will not get better is an error at once."""
    client.indices.create(index=index_name)
    faulty = Faulty(node.url, "403")
    refused = pytest.raises(ClusterError, match="refused a bulk request: 403")
    with listening(faulty) as url, OpenSearch(url, max_retries=0) as closed, refused:
        BulkWriter(closed, index_name, PATIENT).write(ACTIONS)
    assert faulty.bulk_requests == 1


def test_requests_that_are_too_large_are_halved(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """Until they pass; a single document that is still too large is refused with its size, the others are written."""
    large = Action("large", json.dumps({"text": "x" * 500}).encode())
    with listening(Faulty(node.url, limit=300)) as url, OpenSearch(url, max_retries=0) as small:
        failures = BulkWriter(small, index_name, PATIENT).write([*ACTIONS[:7], large, *ACTIONS[7:]])
    assert [failure.id for failure in failures] == ["large"]
    assert f"takes no request of {len(large.source)} bytes (HTTP 413)" in failures[0].reason
    assert written(client, index_name) == EXPECTED


def test_halving_and_retrying_together(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """A half for which the cluster is busy is sent again, and only that half."""
    faulty = Faulty(node.url, "", "503", "busy for every other item", limit=500)
    with listening(faulty) as url, OpenSearch(url, max_retries=0) as small:
        writer = BulkWriter(small, index_name, PATIENT)
        assert writer.write(ACTIONS) == []
    assert writer.retries == 10 + 5
    assert written(client, index_name) == EXPECTED


def test_what_the_server_refuses_goes_to_the_dead_letters(ingest: Ingest) -> None:
    """One document that its mapping cannot take does not harm the others; the server's reason is kept."""
    huge = {"_id": "huge", "text": "A fox.", "metadata": {"page": "x" * 40_000}}
    report = ingest([*DOCUMENTS, huge], code=3)
    assert (report["read"], report["indexed"], report["dead"]) == (5, 4, 1)
    assert len(ingest.stored()) == 4
    (letter,) = ingest.letters()
    assert letter["id"] == "huge"
    assert letter["reason"].startswith("400 illegal_argument_exception: Document contains at least one immense term")
    assert letter["record"] == {**huge, "title": ""}


def test_dead_letters_can_be_ingested(ingest: Ingest) -> None:
    """A mended dead letter's record is a document again."""
    ingest([*DOCUMENTS, {"_id": "huge", "text": "A fox.", "page": "x" * 40_000}], code=3)
    (letter,) = ingest.letters()
    letter["record"]["metadata"]["page"] = "short"
    assert ingest([letter["record"]])["indexed"] == 1
    assert ingest.stored()["huge"]["metadata"] == {"page": "short"}


# Query weights


def test_query_weights_are_kept_with_the_index(ingest: Ingest, encoder: SparseEncoder) -> None:
    """Counted over the source, stored, named in the mapping, and what an inference-free question asks with."""
    ingest(DOCUMENTS[:3], "--query-weights", "idf")
    place = IndexMeta.read(ingest.client, ingest.index).query_weights
    assert place is not None
    table = load_query_weights(ingest.client, place)
    assert table.keys() == {feature for feature in encoder.vocabulary.features if feature}
    counts = {"fox": 1, "the": 2, ".": 3, "zebra": 0}
    for token, count in counts.items():
        feature = token.replace(".", "<dot>")
        assert table[feature] == round(log(1 + (3 - count + 0.5) / (count + 0.5)), 4)
    asked = ["search", "the fox", "--index", ingest.index, "--url", ingest.url, "--mode", "neural-sparse", "--dry-run"]
    body = json.loads(CliRunner().invoke(main, asked).stdout)
    sent = body["query"]["neural_sparse"]["sparse"]["query_tokens"]
    assert sent == pytest.approx({"fox": table["fox"], "the": table["the"]})


def test_bm25_weights_count_how_often_a_word_is_asked(ingest: Ingest) -> None:
    """The table is that of idf; the index says how it is meant."""
    ingest(DOCUMENTS[:3], "--query-weights", "bm25")
    place = IndexMeta.read(ingest.client, ingest.index).query_weights
    assert place is not None
    assert place.kind == "bm25"
    fox = load_query_weights(ingest.client, place)["fox"]
    asked = ["search", "fox fox", "--index", ingest.index, "--url", ingest.url, "--mode", "neural-sparse", "--dry-run"]
    body = json.loads(CliRunner().invoke(main, asked).stdout)
    sent = body["query"]["neural_sparse"]["sparse"]["query_tokens"]
    assert sent == pytest.approx({"fox": fox * 2 * 9 / 10})


def test_query_weights_follow_the_last_source(ingest: Ingest) -> None:
    """Another source has another table; a run without the option leaves the one that is there."""
    ingest(DOCUMENTS[:3], "--query-weights", "idf")
    first = IndexMeta.read(ingest.client, ingest.index)
    ingest(DOCUMENTS)
    assert IndexMeta.read(ingest.client, ingest.index) == first
    ingest(DOCUMENTS, "--query-weights", "idf")
    second = IndexMeta.read(ingest.client, ingest.index)
    assert (second.sparse, second.dense) == (first.sparse, first.dense)
    assert first.query_weights is not None
    assert second.query_weights is not None
    assert first.query_weights.id != second.query_weights.id
    assert load_query_weights(ingest.client, second.query_weights)
    ingest.client.delete(index=first.query_weights.index, id=first.query_weights.id)
