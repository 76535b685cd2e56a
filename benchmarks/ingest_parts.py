"""The parts of an ingest that are timed, each in a process of its own, so that memory and processor time are its own.

    python benchmarks/ingest_parts.py PART SETTINGS.json      (called by ingest.py)

Prints one line of JSON: documents, seconds, the process' own processor seconds and its peak memory in bytes. Loading a
model and making an index are not timed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from systems import MAX_LENGTH, peak_memory

from opensearch_splade.cli.malloc import settle_malloc
from opensearch_splade.types import Document

Settings = dict[str, Any]
Timed = tuple[int, float]
_AT_ONCE = 256


class Sink:
    """A cluster that takes everything at once, and writes it into a file if one is named."""

    def __init__(self, path: str | None = None) -> None:
        from opensearch_splade.ingest.gate import Gate

        self.gate = Gate()
        self._lock = threading.Lock()
        self._path = Path(path) if path else None

    def write(self, actions: Sequence[Any]) -> list[Any]:
        """All of it."""
        if self._path:
            with self._lock, self._path.open("ab") as out:
                out.writelines(json.dumps(one.id).encode() + b"\t" + one.source + b"\n" for one in actions)
        return []


def encoder(settings: Settings) -> Callable[[], Timed]:
    """The whole pipeline without a cluster and a ledger: reading, tokenizer, model, codec, JSON."""
    return _into(Sink(), settings)


def prepare(settings: Settings) -> Callable[[], Timed]:
    """The same into a file, for ``cluster`` to send."""
    return _into(Sink(settings["actions"]), settings)


def _into(sink: Sink, settings: Settings) -> Callable[[], Timed]:
    from opensearch_splade.ingest.dead_letters import DeadLetterFile
    from opensearch_splade.ingest.pipeline import run

    job = _job(settings)
    made = job.encoder()
    made.load()

    def work() -> Timed:
        with DeadLetterFile(job.dead_letters) as dead:
            report = run(_documents(settings), made, sink, dead)  # type: ignore[arg-type]
        return report.indexed, report.seconds

    return work


def cluster(settings: Settings) -> Callable[[], Timed]:
    """Prepared actions through the sender: what the cluster takes when nobody encodes."""
    from opensearch_splade.cli.wiring import open_cluster
    from opensearch_splade.ingest.bulk import Action, BulkWriter
    from opensearch_splade.ingest.dead_letters import DeadLetterFile
    from opensearch_splade.ingest.report import IngestReport
    from opensearch_splade.ingest.sender import Sender
    from opensearch_splade.ingest.serialiser import Encoded
    from opensearch_splade.ingest.target import prepare_index
    from opensearch_splade.ingest.waits import Wait

    job, connected = _job(settings), open_cluster(settings["url"])
    lines = [line.split(b"\t", 1) for line in Path(settings["actions"]).read_bytes().splitlines()]
    actions = [Action(json.loads(id_), source) for id_, source in lines]
    encoded = [Encoded(Document(action.id, ""), "", [], {}, {}, []) for action in actions]
    prepare_index(connected.client, job.index, job.meta, job.options, connected.capabilities)

    def work() -> Timed:
        report, start = IngestReport(), time.perf_counter()
        with DeadLetterFile(job.dead_letters) as dead:
            writer = BulkWriter(connected.client, job.index)
            with Sender(writer, "", dead, None, report, lambda: None, Wait()) as sender:
                for at in range(0, len(actions), _AT_ONCE):
                    sender.add(encoded[at : at + _AT_ONCE], [[action] for action in actions[at : at + _AT_ONCE]])
                sender.flush()
        return report.indexed, time.perf_counter() - start

    return work


def ingest(settings: Settings) -> Callable[[], Timed]:
    """The whole run, as ``osplade ingest`` does it, with its ledger."""
    from rich.console import Console

    from opensearch_splade.cli.ingesting import run_job
    from opensearch_splade.cli.wiring import open_cluster

    job, connected = _job(settings), open_cluster(settings["url"])

    def work() -> Timed:
        report = run_job(connected, job, Console(quiet=True))
        settings["report"] = {
            "slowest": report.slowest,
            "steps": report.steps,
            "bulk": [report.sending.size, report.sending.number, report.sending.seconds],
        }
        return report.indexed, report.seconds

    return work


def peer(settings: Settings) -> Callable[[], Timed]:
    """sentence-transformers and the client's own ``helpers.bulk``: what one writes after reading their pages."""
    from opensearchpy import helpers
    from sentence_transformers import SparseEncoder

    from opensearch_splade.cli.wiring import open_cluster
    from opensearch_splade.ingest.target import prepare_index

    job, connected = _job(settings), open_cluster(settings["url"])
    prepare_index(connected.client, job.index, job.meta, job.options, connected.capabilities)
    model = SparseEncoder(settings["checkpoint"], device="cpu")
    model.max_seq_length = MAX_LENGTH
    model.encode_document(["a"])
    documents = list(_documents(settings))

    def actions() -> Iterator[dict[str, Any]]:
        for at in range(0, len(documents), _AT_ONCE):
            some = documents[at : at + _AT_ONCE]
            vectors = model.encode_document([one.passage for one in some], show_progress_bar=False)
            for one, features in zip(some, model.decode(vectors), strict=True):
                sparse = {token.replace(".", "<dot>"): weight for token, weight in features if weight > 0}
                yield {
                    "_index": job.index,
                    "_id": one.id,
                    "_source": {"id": one.id, "title": one.title, "text": one.text, "sparse": sparse},
                }

    def work() -> Timed:
        start = time.perf_counter()
        count, _ = helpers.bulk(connected.client, actions(), chunk_size=500)
        return count, time.perf_counter() - start

    return work


PARTS: dict[str, Callable[[Settings], Callable[[], Timed]]] = {
    part.__name__: part for part in (encoder, prepare, cluster, ingest, peer)
}


def _documents(settings: Settings) -> Iterator[Document]:
    from opensearch_splade.ingest.sources import read_source

    return (one for one in read_source(settings["source"]) if isinstance(one, Document))


def _job(settings: Settings) -> Any:
    from opensearch_splade.cli.ingesting import IngestJob
    from opensearch_splade.onnx_models import SparseEncoder

    folder = Path(settings["folder"])
    return IngestJob(
        source=settings["source"],
        index=settings["index"],
        sparse=SparseEncoder.load(settings["bundle"]),
        dead_letters=folder / "dead.jsonl",
        ledger=folder / f"{settings['index']}.sqlite",
    )


def main() -> None:
    """One part."""
    settle_malloc()  # as `osplade` does
    part, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    work = PARTS[part](settings)
    before = time.process_time()
    documents, seconds = work()
    found = {
        "documents": documents,
        "seconds": seconds,
        "processor": time.process_time() - before,
        "peak": peak_memory(),
        "load": os.getloadavg()[0],
        **({"report": settings["report"]} if "report" in settings else {}),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
