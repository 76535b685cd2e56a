"""Published figures, run again: each verdict is the one that its file states, and each figure is met at least once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from reproduce import HUB, Bench, Figure, Run, UnreachableError, load

from opensearch_splade.plugin.launcher import RunningNode

FIGURES = load()
IN_SUITE = {"cacm-bm25", "scifact-bm25-recall"}
"""Those that take seconds; `make reproduce` runs all."""
NOISE = 0.0005
"""Ties that fall otherwise in other segments move a mean by less."""


@pytest.fixture(scope="module")
def bench(
    node: RunningNode, collections_dir: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """One for all, so that runs which ingest alike share an index; what it made is deleted."""
    work = tmp_path_factory.mktemp("reproduce")
    made = Bench({"data": collections_dir.resolve(), "models": models_dir.resolve(), "work": work}, node.url)
    yield made
    made.clean()


def _quick_runs() -> Iterator[object]:
    for figure in FIGURES:
        if figure.name not in IN_SUITE:
            continue
        for number, run in enumerate(figure.runs, start=1):
            marks = [pytest.mark.collections, pytest.mark.server]
            yield pytest.param(figure, run, marks=marks, id=f"{figure.name}-{number}")


@pytest.mark.parametrize(("figure", "run"), list(_quick_runs()))
def test_a_published_figure_is_found_again(figure: Figure, run: Run, bench: Bench) -> None:
    """What was found is found again, and where it was never run it is what was published."""
    try:
        found = bench.measure(run, figure.measure)
    except UnreachableError as missing:
        pytest.skip(f"{figure.what}: {missing}")
    if run.found is None:
        assert figure.verdict(found) == "OK", found
    else:
        assert found == pytest.approx(run.found, abs=NOISE)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_figure_is_met_or_explained(figure: Figure) -> None:
    """A run that is not OK says why, and another one then is OK; every figure names the page where it is published."""
    assert figure.source.startswith("https://")
    known = [run for run in figure.runs if run.found is not None]
    assert [run.how for run in known if figure.verdict(run.found) != "OK" and not run.because] == []
    assert any(figure.verdict(run.found) == "OK" for run in known) or any(HUB in run.needs for run in figure.runs)


def test_verdicts() -> None:
    """OK up to the tolerance, close up to twice as much, on four decimals."""
    figure = Figure("", "", "", "AP", 0.3, 0.01, ())
    assert [figure.verdict(0.3 + off) for off in (0, 0.01, -0.01, 0.0101, -0.02, 0.0201)] == [
        "OK", "OK", "OK", "close", "close", "FAIL"
    ]  # fmt: skip


@pytest.mark.parametrize("said", [{"expectd": 1}, {}])
def test_a_misspelt_figure_is_refused(tmp_path: Path, said: dict[str, int]) -> None:
    """A key that nobody reads would be a claim that nobody checks."""
    (tmp_path / "x.yaml").write_text(json.dumps({"runs": [], **said}))
    with pytest.raises(TypeError):
        load(tmp_path)
