"""The cluster's side: plain `_bulk` and `query_text` through `osplade serve`, beside the encoder alone behind HTTP.

    osplade node start --ml-commons
    python benchmarks/cluster_side.py
    python benchmarks/cluster_side.py --setting 8,200,2 --setting 32,200,2 --setting 32,500,4
    python benchmarks/cluster_side.py --pin --json

The whole of a collection goes by plain `_bulk` into the index of examples/sparse.yaml, and is asked by `query_text`
alone; the same documents go by `osplade ingest` into another index, asked by `query_tokens`. Then some of the texts go
directly to the encoder, by as many clients as a pipeline makes calls at once, and through `_bulk`, in rounds by turns:
the ratio is what the cluster leaves of the encoder's throughput. Its HTTP requests are counted by its own metrics.
Several settings are compared without the whole collection. ``--pin`` gives the encoder one core and the node and the
client the other, as if the encoder had a machine of its own.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from opensearch_splade.cli.main import main as osplade
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.plan import processor
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.node_state import running_node
from opensearch_splade.query import neural_sparse, search_body
from opensearch_splade.types import Document, Json

PORT, BUNDLE, INDEX = 9229, "splade-tiny", "handbook"
ENCODER = f"http://127.0.0.1:{PORT}"
EXAMPLE = Path(__file__).parents[1] / "examples" / "sparse.yaml"
SHARED = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", Path(__file__).parents[2] / "shared"))
PIPELINE = "handbook-documents"


@click.command()
@click.option("--collection", default=str(SHARED / "data" / "scifact"), show_default=True)
@click.option("--url", help="A cluster with ML Commons. [default: $OPENSEARCH_URL, else the running local node]")
@click.option("--texts", default=1000, show_default=True, help="Of each timed run.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--setting", "settings", multiple=True, default=("32,128,2",), help="BATCH_SIZE,BULK,PARALLEL BULKS.")
@click.option("--pin", is_flag=True, help="The encoder on the last core, all else on the others.")
@click.option("--json", "as_json", is_flag=True)
def main(
    collection: str,
    url: str | None,
    texts: int,
    rounds: int,
    settings: tuple[str, ...],
    *,
    pin: bool,
    as_json: bool,
) -> None:
    """What the cluster's side costs and gives."""
    there = ["--url", url] if url else []
    documents = [one for one in read_source(collection) if isinstance(one, Document)]
    sample = documents[:: max(1, len(documents) // texts)][:texts]
    found: Json = {"processor": processor(), "pinned": pin, "texts": len(sample)}
    with serving(pin=pin), connect(url, timeout=300, connections=32) as client:
        call(["cluster", "apply", str(EXAMPLE), "--yes", "--allow-settings", *there])
        try:
            tried = [tuple(map(int, one.split(","))) for one in settings]
            found["timed"] = [timed(client, sample, rounds, *one) for one in tried]
            if len(tried) == 1:
                found["quality"] = quality(client, there, collection, documents, *tried[0][1:])
        finally:
            call(["cluster", "remove", str(EXAMPLE), "--yes", "--delete-indices", *there])
    print(json.dumps(found)) if as_json else show(found)


@contextmanager
def serving(*, pin: bool) -> Iterator[None]:
    """`osplade serve` on its usual port; pinned, it has a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()", "serve", BUNDLE]
    if pin:
        command = ["taskset", "-c", str(cores[-1]), *command]
        keep_to(cores[:-1])
    if answers():
        raise click.ClickException(f"something answers at {ENCODER} already: stop it")
    process = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers():
            time.sleep(0.1)
            if process.poll() is not None:
                raise click.ClickException("the encoder ended")
        yield
    finally:
        process.terminate()
        process.wait()
        if pin:
            keep_to(cores)


def answers() -> bool:
    """Whether the encoder is ready."""
    try:
        with urllib.request.urlopen(f"{ENCODER}/ready", timeout=2):  # noqa: S310
            return True
    except OSError:
        return False


def keep_to(cores: Sequence[int]) -> None:
    """This process and the local node."""
    os.sched_setaffinity(0, cores)
    if node := running_node():
        command = ["taskset", "-a", "-c", "-p", ",".join(map(str, cores)), str(node.pid)]
        subprocess.run(command, check=True, capture_output=True)


def call(arguments: list[str]) -> None:
    """A command of ours, quietly."""
    from click.testing import CliRunner

    done = CliRunner().invoke(osplade, arguments)
    if done.exit_code:
        raise click.ClickException(done.output)


def timed(client: Any, sample: Sequence[Document], rounds: int, batch: int, bulk_size: int, parallel: int) -> Json:
    """Documents per second of both, by turns, and the encoder's HTTP requests of one run through the cluster."""
    pipeline = client.ingest.get_pipeline(id=PIPELINE)[PIPELINE]
    for one in pipeline["processors"]:
        if "sparse_encoding" in one:
            one["sparse_encoding"]["batch_size"] = batch
    client.ingest.put_pipeline(id=PIPELINE, body=pipeline)
    direct(sample[:100], batch, parallel)
    through_bulk(client, sample[:100], bulk_size, parallel)
    alone, cluster, requests = [], [], 0
    for _ in range(rounds):
        alone.append(len(sample) / direct(sample, batch, max(parallel, 4)))
        before = served_requests()
        cluster.append(len(sample) / through_bulk(client, sample, bulk_size, parallel))
        requests = served_requests() - before
    ratios = [one / other for one, other in zip(cluster, alone, strict=True)]
    return {
        "batch": batch,
        "bulk": bulk_size,
        "parallel": parallel,
        "alone": round(statistics.median(alone), 1),
        "cluster": round(statistics.median(cluster), 1),
        "ratio": round(statistics.median(ratios), 3),
        "over": [round(min(ratios), 3), round(max(ratios), 3)],
        "requests": requests,
    }


def direct(sample: Sequence[Document], batch: int, clients: int) -> float:
    """Seconds for all, posted by so many clients as a connector posts them."""
    texts = [one.passage for one in sample]
    batches = [texts[start : start + batch] for start in range(0, len(texts), batch)]

    def post(one: list[str]) -> None:
        body = json.dumps({"input": one}).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{ENCODER}/{BUNDLE}/documents", data=body, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            answer.read()

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(post, batches))
    return time.perf_counter() - start


def through_bulk(client: Any, sample: Sequence[Document], bulk_size: int, parallel: int) -> float:
    """Seconds for all, until the last bulk is answered; what fails is an error."""
    bulks = [sample[start : start + bulk_size] for start in range(0, len(sample), bulk_size)]

    def send(one: Sequence[Document]) -> None:
        lines: list[Json] = []
        for document in one:
            lines += [{"index": {"_id": document.id}}, {"title": document.title, "text": document.text}]
        answer = client.bulk(index=INDEX, body=lines)
        failed = [item["index"]["error"] for item in answer["items"] if "error" in item["index"]]
        if failed:
            raise click.ClickException(f"{len(failed)} documents failed: {failed[0]}")

    start = time.perf_counter()
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(send, bulks))
    return time.perf_counter() - start


def served_requests() -> int:
    """Answers of the lane of documents so far."""
    with urllib.request.urlopen(f"{ENCODER}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    pattern = r'^osplade_serve_requests_total\{lane="documents".*status="200"\} ([\d.e+]+)$'
    return int(sum(map(float, re.findall(pattern, text, re.MULTILINE))))


def quality(
    client: Any, there: list[str], name: str, documents: Sequence[Document], bulk_size: int, parallel: int
) -> Json:
    """nDCG@10 of both, over the whole collection."""
    collection = load_collection(name)
    seconds = through_bulk(client, documents, bulk_size, parallel)
    client.indices.refresh(index=INDEX)
    other = f"{INDEX}-client"
    arguments = ["ingest", name, "--index", other, "--bundle", BUNDLE, "--no-ledger", *there]
    call([*arguments, "--dead-letters", os.devnull])
    encoder, capabilities = SparseEncoder.load(BUNDLE), probe(client)
    runs: dict[str, dict[str, dict[str, float]]] = {"cluster": {}, "client": {}}
    for query, text in collection.queries.items():
        asked = {"neural_sparse": {"sparse": {"query_text": text}}}
        tokens = neural_sparse(encoder.encode_query(text), capabilities=capabilities)
        for side, index, clause in (("cluster", INDEX, asked), ("client", other, tokens)):
            hits = client.search(index=index, body=search_body(clause, size=10))["hits"]["hits"]
            runs[side][query] = {hit["_id"]: hit["_score"] for hit in hits}
    client.indices.delete(index=other)
    found = {side: measure(run, collection.qrels, ["nDCG@10"])["nDCG@10"] for side, run in runs.items()}
    unmarked = {"bool": {"must_not": {"exists": {"field": "encoded"}}}}
    missing = client.count(index=INDEX, body={"query": unmarked})["count"]
    return {
        **found,
        "documents": len(documents),
        "seconds": round(seconds, 1),
        "without a vector": missing,
        "questions": len(collection.queries),
    }


def show(found: Json) -> None:
    """For people."""
    console = Console()
    table = Table("batch_size", "bulk", "parallel", "alone, docs/s", "through the cluster", "ratio", "over", "requests")
    for one in found["timed"]:
        over = f"{one['over'][0]:.2f} to {one['over'][1]:.2f}"
        row = (one["batch"], one["bulk"], one["parallel"], one["alone"], one["cluster"], f"{one['ratio']:.2f}", over)
        table.add_row(*map(str, row), str(one["requests"]))
    console.print(table)
    if quality_found := found.get("quality"):
        console.print(quality_found)


if __name__ == "__main__":
    main()
