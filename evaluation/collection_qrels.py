"""Judgements (qrels): BEIR's and other tables, and TREC's four columns."""

from __future__ import annotations

from pathlib import Path

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection_files import columns, kind_of, rows

_NAMES = {
    "query": ("query-id", "queryid", "qid", "query", "topic", "topic-id"),
    "document": ("corpus-id", "document-id", "doc-id", "docid", "docno", "document", "doc", "did"),
    "grade": ("grade", "score", "relevance", "rel", "label", "judgement", "judgment", "rating"),
}
_LARGEST = 2**31 - 1  # what trec_eval's code holds


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query id to document id to grade; grades above 0 are relevant. Of two judgements of a pair the last one counts.

    A table with a header names its columns (query-id, corpus-id, score; query, document, grade; …) in any order.
    Without one, three columns are query, document and grade, and four are TREC's, whose second one says nothing.

    Raises:
        SourceError: It cannot be read; says which line and what is expected there.
    """
    others = sorted({other.name.partition(".")[0] for other in path.parent.iterdir()}) if path.parent.is_dir() else []
    there = f"Splits there: {', '.join(others) or 'none'}." if path.parent.name == "qrels" else ""
    if kind_of(path) in {".jsonl", ".ndjson"}:
        raise SourceError(f"{path}: judgements are read from .csv, .tsv or TREC files, not from JSON lines.")
    qrels: dict[str, dict[str, int]] = {}
    where: dict[str, int] | None = None
    width = 0
    for line, cells in rows(path, there):
        if where is None:
            width, where = len(cells), columns(cells, _NAMES)
            if len(where) == len(_NAMES):
                continue
            second = 2 if width == 4 and kind_of(path) != ".csv" else 1
            where = {"query": 0, "document": second, "grade": second + 1}
            width = second + 2
        try:
            if len(cells) != width:
                raise ValueError(f"{len(cells)} cells, not {width}")
            query, document = (cells[where[role]].strip() for role in ("query", "document"))
            grade = int(cells[where["grade"]].strip().removesuffix(".0"))
            if not query or not document or abs(grade) > _LARGEST:
                raise ValueError("an empty cell or a grade out of range")
        except ValueError as error:
            raise SourceError(f"{path.name}:{line}: expected query, document and a whole grade ({error}).") from error
        qrels.setdefault(query, {})[document] = grade
    return qrels
