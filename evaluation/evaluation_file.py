"""Evaluations as JSON: for machines, and as the baseline that a later one is held against."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.results import Evaluation

FORMAT = "osplade-evaluation"
VERSION = 1


def evaluation_to_json(evaluation: Evaluation, *, runs: bool = True) -> bytes:
    """All fields by their names, and of each system the means (``measures``).

    Args:
        evaluation: What is written.
        runs: Whether the rankings are written; without, they are where ``write_run`` put them.
    """
    told = {"format": FORMAT, "version": VERSION, **asdict(evaluation)}
    for system, result in zip(told["systems"], evaluation.systems, strict=True):
        system["measures"] = result.measures
        if not runs:
            del system["run"]
    return orjson.dumps(told)


def write_evaluation(path: Path, evaluation: Evaluation, *, runs: bool = True) -> None:
    """Writes ``evaluation_to_json``.

    Raises:
        SourceError: The file cannot be written.
    """
    try:
        path.write_bytes(evaluation_to_json(evaluation, runs=runs))
    except OSError as error:
        raise SourceError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def read_evaluation(path: Path) -> Evaluation:
    """What ``write_evaluation`` wrote; the run of each system is empty where it was left out. Sequences are lists.

    Raises:
        SourceError: The file cannot be read, is not an evaluation, or is of a newer version; says which field.
    """
    from pydantic import TypeAdapter, ValidationError

    told = _loaded(path)
    for system in told["systems"] if isinstance(told.get("systems"), list) else ():
        if isinstance(system, dict):
            system.setdefault("run", {})
    try:
        return TypeAdapter(Evaluation).validate_python(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SourceError(f"{path}: {where or 'it'} is wrong ({first['msg']}); write the evaluation again.") from error


def _loaded(path: Path) -> dict[str, Any]:
    try:
        told = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({error}); write the evaluation again.") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SourceError(f'{path} is not an evaluation: it lacks "format": "{FORMAT}".')
    if told.get("version") != VERSION:
        raise SourceError(
            f"{path} has version {told.get('version')} of the format, and this osplade reads {VERSION};"
            " evaluate again with one of both."
        )
    return told
