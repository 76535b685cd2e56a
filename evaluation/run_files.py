"""Run files in TREC's format: what any engine ranked, a line for each hit, ``query Q0 document rank score tag``."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.measures import trec_order
from opensearch_splade.evaluation.results import Run

_COLUMNS = 6


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """The run in a file, plain or ``.gz``.

    The order is that of the scores. Ranks are not read, as trec_eval does not read them either: where they contradict
    the scores, the scores count.

    Raises:
        SourceError: The file cannot be read, is empty, or a line is not a hit; says which.
    """
    run: dict[str, dict[str, float]] = {}
    try:
        with _opened(path) as lines:
            for number, line in enumerate(lines, start=1):
                columns = line.split()  # of bytes: at ASCII blanks only, as trec_eval does
                if columns:
                    _add(run, columns, f"{path}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{path} cannot be read ({error}). A run file is text, or gzip where it ends in .gz."
        ) from error
    if not run:
        raise SourceError(f"{path} is empty: a run file has lines of query, Q0, document, rank, score and tag.")
    return run


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _add(run: dict[str, dict[str, float]], columns: list[bytes], where: str) -> None:
    if len(columns) != _COLUMNS:
        raise SourceError(f"{where}: {len(columns)} columns; a hit is query, Q0, document, rank, score and tag.")
    try:
        query, document = columns[0].decode(), columns[2].decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not UTF-8 text ({error.reason}); convert the file.") from error
    try:
        score = float(columns[4])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise SourceError(
            f"{where}: {columns[4].decode(errors='replace')!r} is not a score; the fifth column must be a number."
        )
    hits = run.setdefault(query, {})
    if document in hits:
        raise SourceError(f"{where}: document {document} was ranked for question {query} before; a run names it once.")
    hits[document] = score


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes a run, gzipped where the name ends in ``.gz``; the same run gives the same bytes.

    Questions keep their order, hits stand in trec_eval's, and scores lose no digit.

    Args:
        path: Replaced if it exists.
        run: Questions without hits leave no line.
        tag: Name of the system; blanks become ``_``, for the format has none.

    Raises:
        SourceError: An id has blanks or is empty, a score is not a number, or the file cannot be written.
    """
    written_tag = "_".join(tag.split()) or "run"
    for query, scores in run.items():
        _check(query, scores)
    try:
        with _created(path) as file:
            for query, scores in run.items():
                for rank, document in enumerate(trec_order(scores), start=1):
                    line = f"{query} Q0 {document} {rank} {float(scores[document])!r} {written_tag}\n"
                    file.write(line.encode())
    except OSError as error:
        raise SourceError(f"{path} cannot be written ({error.strerror}); name another file.") from error


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as plain:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:  # neither name nor time
                yield cast("BinaryIO", packed)
        else:
            yield plain


def _check(query: str, scores: Mapping[str, float]) -> None:
    for name in (query, *scores):
        if len(name.encode().split()) != 1 or name != name.strip():
            raise SourceError(f"{name!r} has blanks or is empty, so it cannot stand in a run file; give ids without.")
    for document, score in scores.items():
        if not math.isfinite(score):
            raise SourceError(f"question {query}: the score of {document} is {score}, not a number.")
