"""The same sparse vectors in several engines: quality, agreement, latency and memory, in one run.

    python benchmarks/engines.py ../shared/data/scifact:eval-scifact ../shared/data/cacm:eval-cacm

Vectors and encoded questions are read from the index once and given to every engine; encoding is not timed. One
question at a time, ten hits, after five that are not counted. Each engine asks in a process of its own; memory is what
that process grew by, and for OpenSearch the index on disk, texts and dense vectors included. `agree` is the share of
hits that are within the exact ten best, ties counted in. BMP weighs by whole numbers: `exact of bmp's` ranks by the
same ones. bm25s is given OpenSearch's own tokens. What is missing of pip install opensearch-splade[engines] is named.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.exchange import FIELDS, Vector, counts, named, vectors_of
from opensearch_splade.evaluation.exchange_bmp import MOST, query_counts, write_bmp
from opensearch_splade.evaluation.exchange_seismic import write_seismic
from opensearch_splade.evaluation.inspection_vectors import numbered
from opensearch_splade.evaluation.latency import percentile
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.plugin.scan import scan_sources

DEPTH, WARM_UP = 10, 5
Ask = Callable[[Any], dict[str, float]]
NEEDS = {"bmp": "bmp", "seismic": "seismic", "seismic fast": "seismic", "bm25s": "bm25s"}
ENGINES = ("opensearch", "exact", "exact of bmp's", "bmp", "seismic", "seismic fast", "opensearch bm25", "bm25s")


def read(path: Path) -> Iterator[Vector]:
    """What ``write_seismic`` wrote."""
    with path.open("rb") as lines:
        for line in lines:
            one = json.loads(line)
            yield one["id"], one["vector"]


def exact(folder: Path, *, whole: bool = False) -> Ask:
    """The dot product with every document."""
    ids, rows = map(list, zip(*read(folder / "documents.jsonl"), strict=True))
    if whole:
        scale = MOST / max(weight for row in rows for weight in row.values())
        rows = [counts(row, scale, MOST) for row in rows]
    numbers: dict[str, int] = {}
    index = ExactIndex(ids, numbered(rows, numbers))

    def ask(features: Any) -> dict[str, float]:
        weights = query_counts(features) if whole else features
        return next(index.rank(numbered([{k: v for k, v in weights.items() if k in numbers}], numbers), DEPTH))

    return ask


def bmp(folder: Path) -> Ask:
    """Block-Max Pruning, exact by its settings."""
    from bmp import Searcher

    searcher = Searcher(str(folder / "index.bmp"))

    def ask(features: Any) -> dict[str, float]:
        weights = {name: float(count) for name, count in query_counts(features).items()}
        return dict(zip(*searcher.search(weights, k=DEPTH, alpha=1.0, beta=1.0), strict=True)) if weights else {}

    return ask


def seismic(folder: Path, cut: int = 64, heap: float = 0.5) -> Ask:
    """Seismic, which is approximate: the more so, the fewer terms it asks (cut) and the higher its heap factor."""
    from seismic import SeismicIndex, get_seismic_string

    index = SeismicIndex.load(str(folder / "seismic.index.seismic"))
    kind = get_seismic_string()

    def ask(features: Any) -> dict[str, float]:
        names, weights = np.array(list(features), dtype=kind), np.array(list(features.values()), np.float32)
        found = index.search("q", names, weights, k=DEPTH, query_cut=cut, heap_factor=heap) if len(names) else []
        return {id_: score for _, score, id_ in found}

    return ask


def bm25s(folder: Path) -> Ask:
    """bm25s by Lucene's formula, over OpenSearch's tokens."""
    import bm25s

    index = bm25s.BM25.load(str(folder / "bm25s"))
    ids = json.loads((folder / "ids.json").read_text())

    def ask(tokens: Any) -> dict[str, float]:
        rows, scores = index.retrieve([tokens], k=DEPTH, show_progress=False)
        return {ids[row]: float(score) for row, score in zip(rows[0], scores[0], strict=True) if score > 0}

    return ask


def opensearch(folder: Path) -> Ask:
    """The index itself, asked by finished bodies."""
    about = json.loads((folder / "about.json").read_text())
    client = open_cluster(None).client

    def ask(body: Any) -> dict[str, float]:
        hits = client.search(index=about["index"], body=body)["hits"]["hits"]
        return {hit["_id"]: hit["_score"] for hit in hits}

    return ask


LOAD: dict[str, Callable[[Path], Ask]] = {
    "opensearch": opensearch,
    "opensearch bm25": opensearch,
    "exact": exact,
    "exact of bmp's": lambda folder: exact(folder, whole=True),
    "bmp": bmp,
    "seismic": seismic,
    "seismic fast": lambda folder: seismic(folder, 10, 0.8),
    "bm25s": bm25s,
}


def build(engine: str, folder: Path) -> None:
    """What an engine makes of the vectors, on disk."""
    if engine == "bmp":
        from bmp import ciff2bmp

        write_bmp(read(folder / "documents.jsonl"), folder / "index.ciff")
        ciff2bmp(ciff_file=str(folder / "index.ciff"), output=str(folder / "index.bmp"), bsize=8, compress_range=False)
    elif engine == "seismic":
        from seismic import SeismicIndex

        SeismicIndex.build(str(folder / "documents.jsonl")).save(str(folder / "seismic"))
    elif engine == "bm25s":
        import bm25s

        index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        index.index(json.loads((folder / "tokens.json").read_text()), show_progress=False)
        index.save(str(folder / "bm25s"))


def timed(engine: str, folder: Path, answers: Any) -> None:
    """Asks every question, in a process of its own."""
    questions = json.loads((folder / f"questions-{kind(engine)}.json").read_text())
    before = psutil.Process().memory_info().rss
    ask = LOAD[engine](folder)
    for question in list(questions.values())[:WARM_UP]:
        ask(question)
    run, taken = {}, []
    for id_, question in questions.items():
        start = time.perf_counter()
        run[id_] = ask(question)
        taken.append((time.perf_counter() - start) * 1000)
    answers.put((run, taken, psutil.Process().memory_info().rss - before))


def kind(engine: str) -> str:
    """In which form an engine takes questions."""
    return {"opensearch": "bodies", "opensearch bm25": "texts", "bm25s": "tokens"}.get(engine, "vectors")


def alone(target: Callable[..., None], *given: Any) -> Any:
    """Calls it in a fresh process and gives what it put; None where it put nothing."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=target, args=(*given, answers) if target is timed else given)
    process.start()
    found = answers.get(timeout=300) if target is timed else None
    process.join()
    return found


def prepare(folder: Path, index: str, collection: Any, *, words: bool) -> dict[str, Any]:
    """Writes what engines read."""
    cluster = open_cluster(None)
    searcher = next(iter(open_searchers(cluster, index, QueryBundles()).values()))
    encoder = searcher.target.sparse
    pages = scan_sources(cluster.client, index, cluster.capabilities, (*FIELDS, "title", "text"))
    hits = [hit for page in pages for hit in page]
    write_seismic((one for hit in hits for one in vectors_of(hit, {})), folder / "documents.jsonl")
    texts = dict(collection.queries)
    vectors = {id_: named(encoder.encode_query(text), {}) for id_, text in texts.items()} if encoder else {}
    page = {"size": DEPTH, "_source": False}
    bodies = {
        id_: {**page, "query": searcher.body(text, mode="weighted-terms")["query"]} for id_, text in texts.items()
    }
    lexical = {id_: {**page, "query": searcher.body(text, mode="bm25")["query"]} for id_, text in texts.items()}
    asked: dict[str, dict[str, Any]] = {"vectors": vectors, "bodies": bodies, "texts": lexical}
    if words:

        def tokens(text: str) -> list[str]:
            found = cluster.client.indices.analyze(index=index, body={"field": "text", "text": text})
            return [one["token"] for one in found["tokens"]]

        sources = (hit["_source"] for hit in hits)
        made = [tokens(f"{one.get('title', '')} {one['text']}") for one in sources]
        (folder / "tokens.json").write_text(json.dumps(made))
        (folder / "ids.json").write_text(json.dumps([hit["_id"] for hit in hits]))
        asked["tokens"] = {id_: tokens(text) for id_, text in texts.items()}
    for name, questions in asked.items():
        (folder / f"questions-{name}.json").write_text(json.dumps(questions))
    (folder / "about.json").write_text(json.dumps({"index": index}))
    rows = cluster.client.cat.indices(index=index, params={"format": "json", "bytes": "b", "h": "store.size"})
    return {"bytes": int(rows[0]["store.size"]), "vectors": vectors}


def agreement(folder: Path, run: dict[str, dict[str, float]], vectors: dict[str, Any]) -> float:
    """The share of hits that belong to the exact ten best, up to ties (and to OpenSearch's rounding of floats)."""
    documents, shares = dict(read(folder / "documents.jsonl")), []
    best = exact(folder)
    for id_, question in vectors.items():
        wanted = best(question)
        least = min(wanted.values(), default=0) * (1 - 1e-4)
        scores = [sum(w * documents[hit].get(name, 0) for name, w in question.items()) for hit in run.get(id_, {})]
        shares.append(sum(score >= least for score in scores) / max(1, len(wanted)))
    return float(sum(shares) / max(1, len(shares)))


def compared(where: str) -> list[dict[str, Any]]:
    """A row an engine."""
    path, _, index = where.rpartition(":")
    collection = load_collection(path)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = prepare(folder, index, collection, words=find_spec("bm25s") is not None)
        for engine in ENGINES:
            row: dict[str, Any] = {"collection": collection.name, "engine": engine}
            found.append(row)
            if engine in NEEDS and find_spec(NEEDS[engine]) is None:
                row["missing"] = NEEDS[engine]
                continue
            alone(build, engine, folder)
            run, taken, memory = alone(timed, engine, folder)
            row |= {"nDCG@10": measure(run, collection.qrels, ["nDCG@10"])["nDCG@10"]}
            lexical = kind(engine) in {"texts", "tokens"}
            row["agree"] = None if lexical else round(agreement(folder, run, about["vectors"]), 4)
            row |= {"p50_ms": round(percentile(taken, 50), 3), "p95_ms": round(percentile(taken, 95), 3)}
            row["MB"] = round((about["bytes"] if engine.startswith("opensearch") else memory) / 1e6, 1)
    return found


@click.command()
@click.argument("collections", nargs=-1, required=True, metavar="FOLDER:INDEX...")
@click.option("--json", "as_json", is_flag=True)
def main(collections: tuple[str, ...], *, as_json: bool) -> None:
    """Compares the engines over judged collections that lie in indices."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    rows = [row for where in collections for row in compared(where)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("collection", "engine", "nDCG@10", "agree", "p50 ms", "p95 ms", "MB")
    for row in rows:
        values = (row.get(name, "") for name in ("nDCG@10", "agree", "p50_ms", "p95_ms", "MB"))
        table.add_row(row["collection"], row["engine"], *(str("" if value is None else value) for value in values))
    Console(width=110).print(table)
    for missing in sorted({row["missing"] for row in rows if "missing" in row}):
        click.echo(f"left out: {missing} is not installed")


if __name__ == "__main__":
    main()
