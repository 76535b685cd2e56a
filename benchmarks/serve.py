"""``osplade serve`` under load: questions beside a bulk load, memory over time, and throughput through HTTP.

    python benchmarks/serve.py
    python benchmarks/serve.py --bundle splade-tiny-idf --minutes 10 --json

The server is a process of its own on loopback; the clients (64: bulk ones, and as many that ask single questions) are
this process and share the machine's cores with it. Phases of each round: the encoder alone over the same texts (no
server asked meanwhile), bulk clients alone, questions alone (idle), and both. "by CPU" is the throughput ratio in
processor time, which other work on the machine disturbs less. Questions come at a rate, each client
resting between two, so that idle really is idle; the bulk clients never rest. A round's ratios are taken within it.
--minutes adds a last phase of both, which watches the server's memory. Answers other than vectors and 429 are errors.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import psutil
from corpora import texts_of
from http_load import Address, Seen, client, request
from rich.console import Console
from rich.table import Table

from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.plan import processor

_COMMAND = "from opensearch_splade.cli.main import main; main()"


@dataclass(frozen=True)
class Load:
    """What the clients send.

    Attributes:
        at: The server.
        bulk: Requests with documents.
        texts: Documents of each.
        questions: Requests with one question.
        clients: Of either kind.
        pause: Mean rest of a client that asks questions.
    """

    at: Address
    bulk: Sequence[bytes]
    texts: int
    questions: Sequence[bytes]
    clients: int
    pause: float

    async def run(self, seconds: float, *, bulk: bool, questions: bool) -> tuple[Seen, Seen]:
        """What the bulk clients and the others saw."""
        until = time.monotonic() + seconds
        documents, queries = Seen(), Seen()
        jobs = []
        for _ in range(self.clients):
            if bulk:
                jobs.append(client(self.at, self.bulk, self.texts, documents, until))
            if questions:
                jobs.append(client(self.at, self.questions, 1, queries, until, pause=self.pause))
        await asyncio.gather(*jobs)
        return documents, queries


@click.command()
@click.option("--bundle", default="splade-tiny", show_default=True)
@click.option("--clients", default=64, show_default=True, help="Half of them send documents, half ask questions.")
@click.option("--texts", default=32, show_default=True, help="Documents of a bulk request.")
@click.option("--rate", default=100.0, show_default=True, help="Questions a second, of all clients.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each phase.")
@click.option("--minutes", default=0.0, show_default=True, help="Of the last phase, which watches memory.")
@click.option("--option", "options", multiple=True, help="Passed on to osplade serve, e.g. --option=--max-queue=64.")
@click.option("--json", "as_json", is_flag=True)
def main(bundle: str, rounds: int, minutes: float, options: tuple[str, ...], *, as_json: bool, **size: Any) -> None:
    """Runs the phases and prints each round, and the memory."""
    passages = texts_of("scifact", 2000)
    encode = _encoder(bundle)
    encode(passages[:64])
    with _server(bundle, options) as (at, process):
        load = _load(at, Bundle.open(bundle).folder.resolve().name, passages, size)
        asyncio.run(load.run(2, bulk=True, questions=True))
        found = {
            "machine": f"{processor()}, {os.cpu_count()} cores",
            "bundle": bundle,
            "rounds": [_told(_round(load, encode, passages, process, size["seconds"])) for _ in range(rounds)],
            "memory": _memory(load, process, minutes) if minutes else None,
        }
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def _load(at: Address, name: str, passages: Sequence[str], size: dict[str, Any]) -> Load:
    texts, half = size["texts"], size["clients"] // 2
    parts = [passages[start : start + texts] for start in range(0, len(passages) - texts, texts)]
    return Load(
        at,
        [request(f"/{name}/documents", part) for part in parts],
        texts,
        [request(f"/{name}/queries", [text]) for text in _questions()],
        half,
        half / size["rate"],
    )


def _round(load: Load, encode: Any, passages: Sequence[str], process: psutil.Process, seconds: float) -> dict[str, Any]:
    alone, alone_ms = _alone(encode, passages, seconds)
    start, before = time.monotonic(), _cpu(process)
    bulk, _ = asyncio.run(load.run(seconds, bulk=True, questions=False))
    through, through_ms = bulk.texts / (time.monotonic() - start), 1000 * (_cpu(process) - before) / bulk.texts
    _, idle = asyncio.run(load.run(seconds, bulk=False, questions=True))
    start = time.monotonic()
    beside, loaded = asyncio.run(load.run(seconds, bulk=True, questions=True))
    return {
        "load": round(os.getloadavg()[0], 1),
        "encoder": round(alone, 1),
        "http": round(through, 1),
        "http_ratio": round(through / alone, 2),
        "encoder_cpu_ms": round(alone_ms, 2),
        "http_cpu_ms": round(through_ms, 2),
        "cpu_ratio": round(alone_ms / through_ms, 2),
        "mixed": round(beside.texts / (time.monotonic() - start), 1),
        "idle": _latency(idle),
        "loaded": _latency(loaded),
        "p99_ratio": round(loaded.percentile(0.99) / idle.percentile(0.99), 2),
        "errors": bulk.errors + idle.errors + beside.errors + loaded.errors,
        "refused": sum(one.statuses[429] for one in (bulk, idle, beside, loaded)),
    }


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Says at once what else is said at the end."""
    click.echo(json.dumps(found), err=True)
    return found


def _cpu(process: psutil.Process) -> float:
    """Seconds of all cores that it has used: what other work on the machine cannot take from it."""
    times = [one.cpu_times() for one in _all(process)]
    return float(sum(one.user + one.system for one in times))


def _all(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _memory(load: Load, process: psutil.Process, minutes: float) -> dict[str, Any]:
    """Both kinds of clients for long, the server's resident memory twice a minute."""
    sizes: list[float] = []

    async def watch() -> None:
        while True:
            sizes.append(round(sum(one.memory_info().rss for one in _all(process)) / 2**20, 1))
            await asyncio.sleep(30)

    async def both() -> tuple[Seen, Seen]:
        watching = asyncio.ensure_future(watch())
        seen = await load.run(minutes * 60, bulk=True, questions=True)
        watching.cancel()
        return seen

    documents, queries = asyncio.run(both())
    return {
        "minutes": minutes,
        "mib": sizes,
        "documents": documents.texts,
        "loaded": _latency(queries),
        "errors": documents.errors + queries.errors,
        "refused": documents.statuses[429] + queries.statuses[429],
    }


def _latency(seen: Seen) -> dict[str, float]:
    found: dict[str, float] = {f"p{share * 100:g}": round(seen.percentile(share), 2) for share in (0.5, 0.95, 0.99)}
    return found | {"count": len(seen.seconds)}


def _alone(encode: Any, passages: Sequence[str], seconds: float) -> tuple[float, float]:
    """Documents a second, and milliseconds of all cores for each."""
    start, used, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - start < seconds:
        part = [passages[(count + place) % len(passages)] for place in range(256)]
        encode(part)
        count += len(part)
    return count / (time.monotonic() - start), 1000 * (time.process_time() - used) / count


def _encoder(bundle: str) -> Any:
    if Bundle.open(bundle).manifest.kind == "dense":
        return DenseEncoder.load(bundle).encode
    return SparseEncoder.load(bundle).encode_documents


def _questions() -> list[str]:
    from corpora import SHARED

    scifact = SHARED / "data" / "scifact"
    return list(load_collection(str(scifact) if scifact.is_dir() else "python-docs").queries.values())


@contextmanager
def _server(bundle: str, options: Sequence[str]) -> Iterator[tuple[Address, psutil.Process]]:
    command = [sys.executable, "-c", _COMMAND, "serve", bundle, "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise click.ClickException("the server did not start")
        host, _, port = json.loads(line)["url"].removeprefix("http://").rpartition(":")
        try:
            yield Address(host, int(port)), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _print(found: dict[str, Any]) -> None:
    console = Console(width=max(120, Console().width))
    console.print(f"{found['machine']}; {found['bundle']}", highlight=False)
    titles = "load", "encoder", "HTTP", "ratio", "by CPU", "beside", "idle p50", "p99", "loaded p50", "p99", "ratio"
    table = Table(*titles, "errors", "429")
    for one in found["rounds"]:
        idle, loaded = one["idle"], one["loaded"]
        cells = [one[name] for name in ("load", "encoder", "http", "http_ratio", "cpu_ratio", "mixed")]
        cells += [idle["p50"], idle["p99"], loaded["p50"], loaded["p99"]]
        table.add_row(*map(str, [*cells, one["p99_ratio"], one["errors"], one["refused"]]))
    console.print(table)
    for name in ("http_ratio", "cpu_ratio", "p99_ratio"):
        every = [one[name] for one in found["rounds"]]
        console.print(f"{name}: median {statistics.median(every)}, {min(every)} to {max(every)}", highlight=False)
    if memory := found["memory"]:
        console.print(f"MiB every 30 s of {memory['minutes']} minutes: {memory['mib']}", highlight=False)
        console.print({key: value for key, value in memory.items() if key != "mib"}, highlight=False)


if __name__ == "__main__":
    main()
