"""Curve files: what ``osplade prune-curve --json`` prints is what a report draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opensearch_splade.errors import OspladeError
from opensearch_splade.evaluation.curve_file import read_curve

WHOLE = {"prune": None, "features": 250.0, "bytes": 3000.0, "nDCG@10": 0.64, "R@100": 0.9}


def test_points_are_read_with_their_rules(tmp_path: Path) -> None:
    """Rules of a document and budgets of the corpus; every measure."""
    rules = ["top_k:64", "budget:96:0.05", "alpha_mass:0.8"]
    path = tmp_path / "curve.json"
    path.write_text(json.dumps({"points": [WHOLE, *({**WHOLE, "prune": rule} for rule in rules)]}), encoding="utf-8")
    points = read_curve(path)
    assert [point.pruning and str(point.pruning) for point in points] == [None, *rules]
    assert points[0].measures == {"nDCG@10": 0.64, "R@100": 0.9}


@pytest.mark.parametrize(
    "content",
    [{}, [], {"points": []}, {"points": [{**WHOLE, "prune": "top_k:64"}]}, {"points": [{"prune": None}]}, None],
)
def test_other_files_are_refused_with_the_remedy(tmp_path: Path, content: Any) -> None:
    """The file is named, and what makes one."""
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(OspladeError, match=r"curve\.json .*(osplade prune-curve|make it again)"):
        read_curve(path)
