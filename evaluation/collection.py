"""Collections: documents, questions and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import orjson

from opensearch_splade.errors import MissingExtraError, SourceError

SHIPPED = {"python-docs": "pydoc:"}
"""Collections that come with the package, and the source of their documents."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A test collection.

    Attributes:
        name: For people.
        source: What ``ingest.sources.read_source`` takes.
        queries: Query id to text; the judged ones only.
        qrels: Query id to document id to grade; grades above 0 are relevant.
    """

    name: str
    source: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def load_collection(name: str, split: str = "test") -> Collection:
    """A BEIR folder, a shipped collection by name, or an ir_datasets id such as ``beir/scifact/test``.

    Args:
        name: What to load.
        split: Which judgements of a BEIR folder: ``qrels/{split}.tsv``.

    Raises:
        SourceError: It cannot be found or read; says which file and line.
        MissingExtraError: An ir_datasets id, and ir_datasets is not installed.
    """
    if Path(name).is_dir():
        return _beir(Path(name), Path(name).resolve().name, name, split)
    if name in SHIPPED:
        folder = Path(str(files("opensearch_splade.evaluation"))) / "collections" / name
        return _beir(folder, name, SHIPPED[name], split)
    return _ir_datasets(name)


def _beir(folder: Path, name: str, source: str, split: str) -> Collection:
    qrels = _qrels(folder / "qrels" / f"{split}.tsv")
    queries = {query: text for query, text in _queries(folder / "queries.jsonl").items() if query in qrels}
    if not queries:
        raise SourceError(f"{folder}: no question of queries.jsonl is judged in qrels/{split}.tsv.")
    return Collection(name, source, queries, {query: qrels[query] for query in queries})


def _queries(path: Path) -> dict[str, str]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. A BEIR folder holds queries.jsonl.") from error
    queries: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
            queries[str(record["_id"])] = str(record["text"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path.name}:{number}: not a question with _id and text ({error}).") from error
    return queries


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    except OSError as error:
        others = ", ".join(sorted(other.stem for other in path.parent.glob("*.tsv"))) or "none"
        raise SourceError(f"{path} cannot be read: {error.strerror}. Splits there: {others}.") from error
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        row = line.split("\t")
        if not line.strip() or (number == 1 and row[0] == "query-id"):
            continue  # BEIR's header, where there is one
        try:
            query, document, grade = row
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError as error:
            raise SourceError(f"{path.name}:{number}: expected query, document and a whole grade.") from error
    return qrels


def _ir_datasets(name: str) -> Collection:
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtraError("ir_datasets", "eval") from error
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        raise SourceError(
            f"There is no collection {name}: neither a folder, nor {', '.join(SHIPPED)}, nor an ir_datasets id."
        ) from error
    if not (dataset.has_docs() and dataset.has_queries() and dataset.has_qrels()):
        raise SourceError(f"{name} lacks documents, questions or judgements; choose one with a split, such as …/test.")
    qrels: dict[str, dict[str, int]] = {}
    for judgement in dataset.qrels_iter():
        qrels.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
    queries = {query.query_id: query.default_text() for query in dataset.queries_iter() if query.query_id in qrels}
    return Collection(name, f"ir_datasets:{name}", queries, {query: qrels[query] for query in queries})
