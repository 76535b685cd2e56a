"""Laws 5 and 7 for any input, to the very end on the real node: nothing stops a run, and every record is somewhere.

``OSPLADE_EXAMPLES`` says how many runs of some fifty records each; ``OSPLADE_SEED`` repeats them.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest
from fault_table import SEED, Row, timed
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from odd_documents import DOCUMENTS, LINES, PYTHON_RECORDS
from opensearchpy import OpenSearch
from rich.console import Console

from opensearch_splade.cli.ingesting import IngestJob, retry, run_job
from opensearch_splade.cli.wiring import Cluster, open_cluster
from opensearch_splade.ingest.audit import audit
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.documents import PLAIN, placed, without_duplicates
from opensearch_splade.ingest.ledger import Ledger
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.rows import row_placed
from opensearch_splade.ingest.serialiser import Serialiser
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.ingest.target import prepare_index
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.sparse_rows import SparseRow
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.scan import scan
from opensearch_splade.types import Document

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # these examples are large
]

EXAMPLES = int(os.environ.get("OSPLADE_EXAMPLES", "20"))
MANY = 50  # records in a run
QUIET = Console(quiet=True)
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    print_blob=True,
    suppress_health_check=list(HealthCheck),  # runs on a server are slow, and large on purpose
)


class Bench:
    """A folder and an index for each of many runs."""

    def __init__(self, url: str, client: OpenSearch, prefix: str, row: Row) -> None:
        self._row, self._dead = row, 0
        self.cluster: Cluster = open_cluster(url)
        self.client, self._prefix, self._numbers = client, prefix, itertools.count()
        self.sparse = SparseEncoder.load("splade-tiny")

    @contextmanager
    def job(self) -> Iterator[IngestJob]:
        """A folder and an index of its own, which are deleted at once: a node bears only so many."""
        index = f"{self._prefix}-{next(self._numbers)}"
        with tempfile.TemporaryDirectory() as name:
            source, dead_letters, ledger = (Path(name, one) for one in ("corpus.jsonl", "dead.jsonl", "ledger.sqlite"))
            try:
                yield IngestJob(str(source), index, self.sparse, dead_letters=dead_letters, ledger=ledger)
            finally:
                self.client.indices.delete(index=index, params={"ignore_unavailable": "true"})

    def stored(self, index: str) -> dict[str, dict[str, Any]]:
        """Id to source."""
        self.client.indices.refresh(index=index)
        hits = self.client.search(index=index, body={"size": 10_000})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def check(
        self, index: str, records: list[Document | DeadLetter], report: IngestReport, dead: Path
    ) -> list[Document]:
        """Every record is in the index, as it is, or in the dead letters with its reason; gives the former."""
        letters = [json.loads(line) for line in dead.read_bytes().splitlines()] if dead.exists() else []
        assert all(letter["reason"].endswith(".") or letter["reason"][:3].isdigit() for letter in letters)
        assert len(letters) == report.dead
        assert report.read == len(records)
        assert report.read == report.indexed + report.unchanged + report.superseded + report.dead
        stored, refused = self.stored(index), Counter((letter["id"], letter["place"]) for letter in letters)
        there = []
        for record in records:
            if isinstance(record, DeadLetter):
                assert refused[record.id, record.place] > 0
                refused[record.id, record.place] -= 1
            elif refused[record.id, f"id {record.id}"]:
                refused[record.id, f"id {record.id}"] -= 1
            else:
                source = stored[record.id]
                assert (source["id"], source["hash"]) == (record.id, content_hash(record))
                assert (source["text"], source.get("title", "")) == (record.text, record.title)
                assert source.get("metadata", {}) == orjson.loads(orjson.dumps(record.metadata))
                there.append(record)
        assert not refused.total()
        assert len(stored) == len(there) == report.indexed + report.unchanged
        clean = audit(
            iter(there), scan(self.client, index, self.cluster.capabilities), frozenset([self.sparse.fingerprint])
        )
        self._row.runs += 1
        self._row.count(dict(clean.counts), len(records))
        self._row.remark = f"{self._count_dead(report):,} of the records became dead letters"
        assert clean.is_clean, clean
        self._check_vectors(stored, there)
        return there

    def _count_dead(self, report: IngestReport) -> int:
        self._dead += report.dead
        return self._dead

    def _check_vectors(self, stored: dict[str, dict[str, Any]], documents: list[Document]) -> None:
        vectors = encode_weights(self.sparse.encode_documents([one.passage for one in documents]))
        for one, row in zip(documents, vectors, strict=True):
            features = self.sparse.features(*row) if one.passage else {}  # without any text there is no vector
            assert stored[one.id]["sparse"].keys() == features.keys()
            assert list(stored[one.id]["sparse"].values()) == pytest.approx(list(features.values()), rel=2**-8)


@pytest.fixture
def bench(request: pytest.FixtureRequest, node: RunningNode, client: OpenSearch, index_name: str) -> Iterator[Bench]:
    with timed(request.node.name) as row:
        yield Bench(node.url, client, index_name, row)


@seed(SEED)
@FUZZ
@given(lines=st.lists(LINES, min_size=MANY, max_size=MANY))
def test_any_lines(bench: Bench, lines: list[bytes]) -> None:
    """Of a file, through the whole command; a second run finds all unchanged, and a retry keeps what fails again."""
    with bench.job() as job:
        Path(job.source).write_bytes(b"\n".join([*lines, b'{"text": "One good document."}']))
        records = list(read_source(job.source))
        there = bench.check(job.index, records, run_job(bench.cluster, job, QUIET), job.dead_letters)
        job.dead_letters.unlink(missing_ok=True)
        again = run_job(bench.cluster, job, QUIET)
        assert (again.indexed, again.unchanged) == (0, len(there))
        bench.check(job.index, records, again, job.dead_letters)
        if job.dead_letters.exists():
            before = len(job.dead_letters.read_bytes().splitlines())
            retried = retry(bench.cluster, job, job.dead_letters, QUIET)
            assert bench.stored(job.index).keys() == {one.id for one in there}  # nothing was mended
            assert retried.read == retried.dead + retried.superseded <= before


def any_way(records: list[Any]) -> Iterator[Document | DeadLetter]:
    """As JSON values, as rows of a table, and as documents, in turn."""
    for number, record in enumerate(records):
        place = f"place {number}"
        if isinstance(record, Document):
            yield record
        elif number % 2:
            yield row_placed(place, record, PLAIN)[1]
        else:
            yield placed(place, record, PLAIN)[1]


@seed(SEED)
@FUZZ
@given(records=st.lists(PYTHON_RECORDS | DOCUMENTS, min_size=MANY, max_size=MANY))
def test_any_records_of_python(bench: Bench, records: list[Any]) -> None:
    """The same for what Python code hands over: types that JSON lacks, half surrogate pairs, ids of any kind."""
    with bench.job() as job:
        prepare_index(bench.client, job.index, job.meta, job.options, bench.cluster.capabilities)
        read = list(without_duplicates((f"place {number}", one) for number, one in enumerate(any_way(records))))
        assert job.ledger
        with DeadLetterFile(job.dead_letters) as dead, Ledger(job.ledger) as ledger:
            report = run(read, job.encoder(), BulkWriter(bench.client, job.index), dead, ledger=ledger)
        bench.check(job.index, read, report, job.dead_letters)


HUGE: dict[str, dict[str, Any]] = {
    "text": {"text": "A fox. " * 300_000},
    "one word": {"text": "x" * 3_000_000},
    "title": {"title": "fox " * 500_000, "text": "A fox."},
    "metadata": {"text": "A fox.", "metadata": {f"key {number}": "fox" * 30 for number in range(30_000)}},
    "list": {"text": "A fox.", "metadata": {"list": list(range(300_000))}},
    "characters": {"text": "🦊" * 500_000},
    "signs": {"text": "." * 500_000},
}


def test_huge_documents(bench: Bench) -> None:
    """Of some megabytes each, between small ones: all are there, or told with the server's reason."""
    with bench.job() as job:
        records = [{"_id": name, **record} for name, record in HUGE.items()]
        small = [{"_id": f"small {number}", "text": f"A fox on hill {number}."} for number in range(20)]
        lines = [json.dumps(one) for pair in zip(records, small, strict=False) for one in pair]
        Path(job.source).write_text("\n".join(lines), encoding="utf-8")
        report = run_job(bench.cluster, job, QUIET)
        there = bench.check(job.index, list(read_source(job.source)), report, job.dead_letters)
        assert {one.id for one in there} >= {"text", "one word", "title", "characters", "signs"}
        assert len(there) >= 2 * len(HUGE) - 2


ODD_WEIGHTS = [0.0, -0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-40, 5e-45, 1e38, 3.4e38, 1e-38]
WEIGHTS = st.lists(st.sampled_from([1.0, 0.5, 3.25, *ODD_WEIGHTS]) | st.floats(width=32), max_size=12)


class BrokenEncoder(DocumentEncoder):
    """Gives any weights. A stand-in: no real model can be made to give such numbers when asked."""

    weights: tuple[list[float], ...] = ()

    def sparse_rows(self, token_ids: Iterable[Tokens | None]) -> Iterator[list[SparseRow]]:
        """Row after row of what was drawn."""
        rows = itertools.cycle(self.weights)
        for tokens in token_ids:
            if tokens is not None:
                weights = np.array(next(rows), np.float32)
                yield [(np.arange(1_000, 1_000 + len(weights), dtype=np.int32), weights)]


@seed(SEED)
@settings(FUZZ, max_examples=max(5, EXAMPLES // 4))
@given(rows=st.lists(WEIGHTS, min_size=20, max_size=20))
def test_any_weights(bench: Bench, rows: list[list[float]]) -> None:
    """What a ``rank_features`` field cannot hold is left out, the rest is stored as it is; no document is lost."""
    with bench.job() as job:
        prepare_index(bench.client, job.index, job.meta, job.options, bench.cluster.capabilities)
        documents = [Document(f"d{number}", f"fox {number}") for number in range(len(rows))]
        encoder = BrokenEncoder(bench.sparse, Serialiser(bench.sparse, [bench.sparse.fingerprint]))
        object.__setattr__(encoder, "weights", tuple(rows))
        with DeadLetterFile(job.dead_letters) as dead:
            report = run(documents, encoder, BulkWriter(bench.client, job.index), dead)
        assert (report.indexed, report.dead) == (len(rows), 0)
        stored = bench.stored(job.index)
        for document, row in zip(documents, rows, strict=True):
            # Normal floats up to the bound of the codec: Lucene takes no others.
            weights = [weight for weight in np.array(row, np.float32) if 2**-126 <= weight <= 1e30]
            assert list(stored[document.id]["sparse"].values()) == pytest.approx(weights, rel=2**-8)


class BrokenDense:
    """A dense encoder whose most vectors are none; a stand-in, as above."""

    def __init__(self, real: DenseEncoder) -> None:
        self.tokenizer, self._real = real.tokenizer, real

    def stream_tokens(self, token_ids: Iterable[Tokens | None]) -> Iterator[Any]:
        """The real vectors, spoilt."""
        for number, vector in enumerate(self._real.stream_tokens(token_ids)):
            bad = [vector, vector * np.nan, vector * np.inf, vector * 0, vector[:-1]][number % 5]
            yield bad


def test_broken_dense_vectors(bench: Bench) -> None:
    """NaN, infinities and a wrong length are refused document by document, with the server's reason."""
    real = DenseEncoder.load("minilm-l6")
    with bench.job() as sparse_job:
        job = replace(sparse_job, dense=real)
        prepare_index(bench.client, job.index, job.meta, job.options, bench.cluster.capabilities)
        documents = [Document(f"d{number}", f"fox {number}") for number in range(20)]
        whole = job.encoder()
        encoder = replace(whole, dense=cast("DenseEncoder", BrokenDense(real)))
        with DeadLetterFile(job.dead_letters) as dead:
            report = run(documents, encoder, BulkWriter(bench.client, job.index), dead)
        assert (report.read, report.indexed, report.dead) == (20, 8, 12)
        assert bench.stored(job.index).keys() == {f"d{number}" for number in range(20) if number % 5 in {0, 3}}
        letters = [json.loads(line) for line in job.dead_letters.read_bytes().splitlines()]
        assert all(letter["reason"].startswith("400 ") for letter in letters)
