"""Kept runs: what is read is what was written, names never share a file, and half of a pair is nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.kept_runs import KeptRun, KeptRuns
from opensearch_splade.evaluation.results import Latency

DECIDED = {"spec": "bm25", "index": {"uuid": [3, 2]}, "depth": 100}
RUN = KeptRun({"q1": {"a": 2.5, "b": 1 / 3}, "q2": {"a": 1e-9}}, Latency(1.5, 2.5, 1.0), {"odd hits": 2})
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


def runs_in(folder: Path) -> KeptRuns:
    """A folder that is there."""
    kept = KeptRuns(folder)
    kept.prepare()
    return kept


@settings(deadline=None)  # every file is synced
@given(st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_systems_do_not_share_files_whatever_they_are_called(names: list[str]) -> None:
    """Slashes, dots, blanks: each name has its own pair of files inside the folder, and reads back whole."""
    with TemporaryDirectory() as folder:
        kept = runs_in(Path(folder) / "runs")
        found = {name: KeptRun({"q": {name.encode().hex(): float(i)}}, None, {}) for i, name in enumerate(names)}
        for name, run in found.items():
            kept.keep(name, DECIDED, run)
        assert {name: kept.find(name, DECIDED) for name in names} == {name: (run, "") for name, run in found.items()}
        assert len(list(Path(folder).rglob("*"))) == 1 + 2 * len(names)


def test_a_run_holds_while_nothing_that_decides_it_changes(tmp_path: Path) -> None:
    """Scores come back to the last bit, latency and notices too; each change is named."""
    kept = runs_in(tmp_path / "a" / "b")
    kept.keep("one", DECIDED, RUN)
    assert kept.find("one", DECIDED) == (RUN, "")
    assert kept.find("two", DECIDED) == (None, "")
    assert kept.find("one", {**DECIDED, "depth": 10, "index": {}}) == (None, "index, depth changed")
    assert kept.find("one", {**DECIDED, "more": 1}) == (None, "more changed")
    assert kept.find("one", {"spec": "bm25", "depth": 100}) == (None, "index changed")


def test_a_run_without_any_hit_is_one_too(tmp_path: Path) -> None:
    """It is not asked again for ever."""
    kept = runs_in(tmp_path)
    kept.keep("none", DECIDED, KeptRun({}, None, {}))
    assert kept.find("none", DECIDED) == (KeptRun({}, None, {}), "")


def test_half_of_a_pair_is_nothing(tmp_path: Path) -> None:
    """Whatever a kill, a full disk or an editor leaves is asked again and never measured."""
    kept = runs_in(tmp_path)
    kept.keep("one", DECIDED, RUN)
    run, about = tmp_path / "one.trec", tmp_path / "one.json"
    whole, known = run.read_bytes(), about.read_bytes()
    run.write_bytes(whole[:-9])
    assert kept.find("one", DECIDED) == (None, "one.trec was written by someone else")
    run.unlink()
    assert kept.find("one", DECIDED) == (None, "one.trec cannot be read")
    run.write_bytes(whole)
    about.write_bytes(known[:-9])
    assert kept.find("one", DECIDED) == (None, "one.json cannot be read")
    about.write_bytes(b"[]")
    assert kept.find("one", DECIDED) == (None, "one.json cannot be read")
    about.unlink()
    assert kept.find("one", DECIDED) == (None, "")
    kept.keep("one", DECIDED, RUN)
    assert kept.find("one", DECIDED) == (RUN, "")


def test_a_folder_that_cannot_be_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """A file of that name, for example."""
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(SourceError, match=r"runs cannot be kept there .*name another folder"):
        runs_in(tmp_path / "taken")
