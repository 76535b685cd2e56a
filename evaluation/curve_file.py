"""Curve files: what ``osplade prune-curve --json`` printed, read again for a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.prune_curve import CurvePoint
from opensearch_splade.ingest.term_budget import Budget, PruningRule, parse_rule


def read_curve(path: Path) -> list[CurvePoint]:
    """The points of a file, the unpruned one first.

    Raises:
        SourceError: It cannot be read, or is not what ``osplade prune-curve --json`` prints.
        OspladeError: A rule in it is none.
    """
    try:
        points = [_point(record) for record in orjson.loads(path.read_bytes())["points"]]
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is no curve ({error}); make one with `osplade prune-curve COLLECTION --bundle B --json > {path}`."
        ) from error
    if not points or points[0].pruning is not None or "nDCG@10" not in points[0].measures:
        raise SourceError(f"{path} has no unpruned point with nDCG@10 at its beginning; make it again.")
    return points


def _point(record: dict[str, Any]) -> CurvePoint:
    measures = {name: float(value) for name, value in record.items() if name not in {"prune", "features", "bytes"}}
    return CurvePoint(_rule(record["prune"]), float(record["features"]), float(record["bytes"]), measures)


def _rule(text: str | None) -> PruningRule | Budget | None:
    if text is None:
        return None
    return Budget.parse(text) if text.startswith("budget") else parse_rule(text)
