"""A folder of made questions: read from an index, written as a collection that says what its judgements are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection import ABOUT
from opensearch_splade.evaluation.made_questions import JUDGED_BY, Kind, MadeQuestion, make_questions
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def documents_of(client: OpenSearch, index: str) -> Iterator[Document]:
    """The documents of an index of ours; of one whose passages are documents, the passages under their document's id.

    Raises:
        TargetError: There is no such index, or it is not ours.
        SourceError: It cannot be read to its end.
    """
    meta = IndexMeta.read(client, index)
    passages = meta.passages is not None and meta.passages.store == "documents"
    for record in read_source(f"index:{index}", client=client):
        if isinstance(record, Document):
            yield replace(record, id=record.id.rpartition("#")[0] or record.id) if passages else record


def make_collection(
    client: OpenSearch, index: str, kind: Kind, count: int, seed: int, folder: Path
) -> list[MadeQuestion]:
    """Makes questions of an index and writes ``queries.jsonl``, ``qrels/test.tsv`` and ``collection.json``.

    Raises:
        SourceError: The folder exists and is not empty or cannot be written, or no document gives a question.
        TargetError: There is no such index.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(f"{folder} exists and is not empty; it is left alone. Give another folder.")
    made, documents = make_questions(lambda: documents_of(client, index), kind, count, seed)
    if not made:
        raise SourceError(
            f"none of the documents of {index!r} gives a question ({documents} read): titles need a title and a text, "
            "terms a text of some words that others have too, pseudo-queries a sentence of 4 to 24 words."
        )
    about = {
        "judged_by": JUDGED_BY[kind],
        "source": f"index:{index}",
        "made": {"kind": kind, "seed": seed, "count": count, "documents": documents},
    }
    try:
        _write(folder, made, orjson.dumps(about, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise SourceError(f"{folder} cannot be written: {error.strerror}.") from error
    return made


def _write(folder: Path, made: Sequence[MadeQuestion], about: bytes) -> None:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    ids = [f"q{number:04}" for number in range(1, len(made) + 1)]
    queries = [orjson.dumps({"_id": query, "text": one.text}) for query, one in zip(ids, made, strict=True)]
    lines = [f"{query}\t{document}\t1" for query, one in zip(ids, made, strict=True) for document in one.documents]
    (folder / ABOUT).write_bytes(about)  # first: without it the rest would pass for people's judgements
    (folder / "queries.jsonl").write_bytes(b"\n".join(queries) + b"\n")
    qrels = "\n".join(["query-id\tcorpus-id\tscore", *lines, ""])
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8", newline="\n")
