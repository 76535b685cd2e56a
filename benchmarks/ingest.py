"""Documents per second into a real node: the encoder alone, the cluster alone, both together, and a peer, in one run.

    python benchmarks/ingest.py                                   # SciFact and Debian's package descriptions
    python benchmarks/ingest.py --corpus debian --documents 20000 --rounds 3 --json

The node is the one that runs, or one that is started for this run and removed after it. Each part runs in a process of
its own, the parts take turns within a round, and printed are medians over the rounds. What "both together" can reach:

* min(encoder, cluster), where the two have cores of their own;
* where node and encoder share this machine's cores, no more than cores / (processor seconds of the encoder's process
  and of the node per document). Both are measured here: the encoder's in the encoder's part, the node's from
  /proc/PID/stat during the cluster's part. This is the honest limit on a laptop, and it is printed beside the other.

The peer is sentence-transformers' SparseEncoder with the same weights and ``opensearchpy.helpers.bulk``, on a sample of
the documents. Peak memory is that of the whole run's process for a sixth of the documents and for all of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click
from corpora import SHARED
from rich.console import Console
from rich.table import Table
from systems import MAX_LENGTH

from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.plan import processor, usable_cores
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.launcher import ensure_node
from opensearch_splade.types import Document

SOURCES = {"scifact": SHARED / "data" / "scifact", "debian": SHARED / "data" / "debian" / "corpus.jsonl.gz"}
CHECKPOINT = SHARED / "models" / "splade-tiny"
PARTS = ("encoder", "cluster", "ingest")
MEMORY = (10_000, 60_000)
"""Documents of the runs whose peak memory is compared."""
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a benchmark works.

    Attributes:
        folder: For files.
        url: Of the node.
        pid: Of the node, if it is on this machine.
    """

    folder: Path
    url: str
    pid: int | None


@click.command()
@click.option("--corpus", "corpora", multiple=True, type=click.Choice(list(SOURCES)), default=list(SOURCES))
@click.option("--precision", "precisions", multiple=True, type=click.Choice(["int8", "fp32"]), default=["int8", "fp32"])
@click.option("--documents", type=click.IntRange(12), help="At most so many of each corpus.  [default: all]")
@click.option("--peer-documents", default=500, show_default=True, help="The peer's sample; 0 leaves it out.")
@click.option("--memory/--no-memory", default=True, help="Compare peak memory over Debian's descriptions.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    corpora: Sequence[str],
    precisions: Sequence[str],
    documents: int | None,
    peer_documents: int,
    rounds: int,
    *,
    memory: bool,
    as_json: bool,
) -> None:
    """Runs all parts in turn and prints documents per second, ratios and memory."""
    for source in (CHECKPOINT, *(SOURCES[corpus] for corpus in corpora)):
        if not source.exists():
            raise click.ClickException(f"{source} is missing: OPENSEARCH_SPLADE_SHARED names the folder that holds it.")
    with _place() as place:
        # In a process of its own: what exporting takes must not be missing when the parts run.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as exporting:
            exporting.submit(_export, place.folder).result()
        found: dict[str, Any] = {
            "machine": f"{processor()}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}",
            "date": time.strftime("%Y-%m-%d"),
            "versions": {name: version(name) for name in ("onnxruntime", "opensearch-py", "sentence-transformers")},
            "rounds": rounds,
            "rows": [],
        }
        for corpus in corpora:
            found["rows"] += _compare(place, corpus, precisions, documents, peer_documents, rounds)
        if memory:
            found["memory"] = _memory(place, documents)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


@contextmanager
def _place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="osplade-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # a node that root starts runs as another user
        home = folder / "node"
        running = ensure_node(home=home)
        node = local.running_node(None) or local.running_node(home)
        try:
            yield Place(folder, running.url, node.pid if node and node.url == running.url else None)
        finally:
            if running.how == "local":
                local.stop(home, purge=True)


def _export(folder: Path) -> None:
    for precision in ("int8", "fp32"):
        options = ExportOptions(precision=precision, max_length=MAX_LENGTH, activation="log1p")
        export_bundle(str(CHECKPOINT), folder / precision, options)


def _source(place: Place, corpus: str, count: int | None) -> Path:
    """The first documents of a corpus as JSON lines."""
    path = place.folder / f"{corpus}-{count}.jsonl"
    if not path.exists():
        records = (one for one in read_source(str(SOURCES[corpus])) if isinstance(one, Document))
        lines = (json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in islice(records, count))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _compare(
    place: Place, corpus: str, precisions: Sequence[str], documents: int | None, peer_documents: int, rounds: int
) -> list[Run]:
    source = _source(place, corpus, documents)
    for precision in precisions:
        _run(place, "prepare", precision, source)
        _run(place, "cluster", precision, source)  # the node's Java compiles what it runs often
    runs: dict[tuple[str, str], list[Run]] = {}
    for _ in range(rounds):
        for precision in precisions:
            for part in PARTS:
                runs.setdefault((part, precision), []).append(_run(place, part, precision, source))
        if peer_documents:
            sample = _source(place, corpus, min(peer_documents, documents or peer_documents))
            runs.setdefault(("peer", "fp32"), []).append(_run(place, "peer", "fp32", sample))
    return [_row(corpus, precision, runs) for precision in precisions]


def _row(corpus: str, precision: str, runs: dict[tuple[str, str], list[Run]]) -> Run:
    per_second = {part: [one["documents"] / one["seconds"] for one in runs[part, precision]] for part in PARTS}
    row: Run = {"corpus": corpus, "precision": precision, "documents": runs["ingest", precision][0]["documents"]}
    row |= {part: round(statistics.median(values), 1) for part, values in per_second.items()}
    together = per_second["ingest"]
    rounds = zip(together, per_second["encoder"], per_second["cluster"], strict=True)
    row["ratio_min"] = _ratio([both / min(encoder, cluster) for both, encoder, cluster in rounds])
    if all("node_processor" in one for one in runs["cluster", precision]):
        limits = [
            usable_cores() / (_each(encoder, "processor") + _each(cluster, "node_processor"))
            for encoder, cluster in zip(runs["encoder", precision], runs["cluster", precision], strict=True)
        ]
        row["encoder_ms"] = _milliseconds(runs["encoder", precision], "processor")
        row["node_ms"] = _milliseconds(runs["cluster", precision], "node_processor")
        row["sender_ms"] = _milliseconds(runs["cluster", precision], "processor")
        row["shared_cores_limit"] = round(statistics.median(limits), 1)
        row["ratio_limit"] = _ratio([both / limit for both, limit in zip(together, limits, strict=True)])
    if ("peer", "fp32") in runs:
        peers = [one["documents"] / one["seconds"] for one in runs["peer", "fp32"]]
        row["peer"] = round(statistics.median(peers), 1)
        row["peer_documents"] = runs["peer", "fp32"][0]["documents"]
        row["ratio_peer"] = _ratio([both / theirs for both, theirs in zip(together, peers, strict=True)])
    row["reports"] = [one["report"] for one in runs["ingest", precision]]
    return row


def _each(run: Run, what: str) -> float:
    return float(run[what] / run["documents"])


def _milliseconds(runs: Sequence[Run], what: str) -> float:
    return round(statistics.median(_each(one, what) for one in runs) * 1000, 3)


def _ratio(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [round(function(values), 3) for function in (statistics.median, min, max)]


def _memory(place: Place, documents: int | None) -> Run:
    few, many = (min(count, documents or count) for count in MEMORY)
    if few == many:
        few = max(1, many // 6)
    peaks = {}
    for count in (few, many):
        peaks[count] = _run(place, "ingest", "int8", _source(place, "debian", count))["peak"]
    return {
        "peak_mib": {count: round(peak / 2**20) for count, peak in peaks.items()},
        "ratio": peaks[many] / peaks[few],
    }


def _run(place: Place, part: str, precision: str, source: Path) -> Run:
    """One part in a fresh process, with an index of its own that is deleted again."""
    settings = {
        "folder": str(place.folder),
        "url": place.url,
        "index": f"osplade-benchmark-{uuid.uuid4().hex[:8]}",
        "source": str(source),
        "bundle": str(place.folder / precision),
        "checkpoint": str(CHECKPOINT),
        "actions": str(place.folder / f"{source.stem}-{precision}.actions"),
    }
    path = place.folder / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("ingest_parts.py")), part, str(path)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "PYTHONWARNINGS": "ignore"}
    before = _processor(place.pid)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    after = _processor(place.pid)
    if done.returncode:
        raise click.ClickException(f"{part} failed:\n{done.stderr}")
    with connect(place.url) as client:
        client.indices.delete(index=settings["index"], ignore_unavailable=True)
    found: Run = json.loads(done.stdout.splitlines()[-1])
    if before is not None and after is not None:
        found["node_processor"] = after - before
    return found


def _processor(pid: int | None) -> float | None:
    """Processor seconds of a process so far, all its threads together."""
    path = Path(f"/proc/{pid}/stat")
    if pid is None or not path.exists():
        return None
    fields = path.read_text().rpartition(")")[2].split()  # the command's name before it may hold spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(found: Run) -> None:
    console = Console(width=150)
    console.print(f"{found['machine']}; {found['versions']}; {found['rounds']} rounds", highlight=False)
    names = ("encoder", "cluster", "together", "of min", "shared cores", "of that", "peer", "to peer", "slowest")
    table = Table("corpus", "bundle", "documents", *names, title="documents a second")
    for row in found["rows"]:
        table.add_row(
            row["corpus"],
            row["precision"],
            f"{row['documents']:,}",
            *(f"{row[part]:,.1f}" for part in PARTS),
            f"{row['ratio_min'][0]:.2f}",
            f"{row['shared_cores_limit']:,.1f}" if "shared_cores_limit" in row else "?",
            f"{row['ratio_limit'][0]:.2f}" if "ratio_limit" in row else "?",
            f"{row['peer']:,.1f}" if "peer" in row else "",
            "{:.2f} ({:.2f} to {:.2f})".format(*row["ratio_peer"]) if "ratio_peer" in row else "",
            statistics.mode(one["slowest"] for one in row["reports"]),
        )
    console.print(table)
    for row in found["rows"]:
        if "node_ms" in row:
            console.print(
                f"{row['corpus']} {row['precision']}: processor milliseconds a document: encoder {row['encoder_ms']}, "
                f"node {row['node_ms']}, sender {row['sender_ms']}",
                highlight=False,
            )
        if "peer" in row:
            console.print(f"the peer's figure is of the first {row['peer_documents']:,} documents", highlight=False)
    if memory := found.get("memory"):
        sizes = ", ".join(f"{count:,} documents {peak} MiB" for count, peak in memory["peak_mib"].items())
        console.print(f"peak memory of the whole run's process: {sizes}; ratio {memory['ratio']:.3f}", highlight=False)


if __name__ == "__main__":
    main()
