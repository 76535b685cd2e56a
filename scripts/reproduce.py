"""Runs published figures again and says how near they came.

    python scripts/reproduce.py                       # all of tests/reproduce/*.yaml, one after the other
    python scripts/reproduce.py vaswani cacm          # those whose name begins so
    python scripts/reproduce.py --list                # what there is, with sources, without running anything

A figure is data: who published what where, and one or more runs, each with the commands that measure it and what they
found when they were last run. The last command of a run prints JSON of ``osplade eval``. Commands may name {data} and {models} (folders
of collections and checkpoints), {work} (a folder of the run's own) and {index} (an index of its own; runs that ingest
alike share one, which is deleted at the end).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FIGURES = REPOSITORY / "tests" / "reproduce"
PREFIX = "reproduce-"
HUB = "hub"
"""What a figure needs whose checkpoint is downloaded."""
OFFLINE = "cannot be downloaded"
"""What our own error says where the Hugging Face hub is out of reach."""


class Unreachable(Exception):
    """What a run needs cannot be had here; says what."""


@dataclass(frozen=True)
class Run:
    """One way to measure a figure.

    Attributes:
        how: The analyzer, parameters and models that it takes.
        commands: In order; the last one prints JSON.
        found: What it gave when it was last run; ``None`` where it never was.
        because: What makes the difference where that is not OK.
    """

    how: str
    commands: tuple[str, ...]
    found: float | None = None
    because: str = ""


@dataclass(frozen=True)
class Figure:
    """One published number.

    Attributes:
        name: That of its file.
        what: For people.
        source: Where it is published, and by whom.
        measure: In the names of ir-measures.
        expected: The number.
        tolerance: OK up to this difference, close up to twice as much.
        runs: At least one.
        needs: ``hub``, or the name of a collection that is not at hand.
    """

    name: str
    what: str
    source: str
    measure: str
    expected: float
    tolerance: float
    runs: tuple[Run, ...]
    needs: tuple[str, ...] = ()

    def verdict(self, found: float) -> str:
        """``OK`` within the tolerance, ``close`` within twice as much, else ``FAIL``; on four decimals."""
        off = round(abs(found - self.expected), 4)
        return "OK" if off <= self.tolerance else "close" if off <= 2 * self.tolerance else "FAIL"


def load(folder: Path = FIGURES) -> list[Figure]:
    """All figures, by name. A misspelt or missing key is a ``TypeError``."""
    import yaml

    figures = []
    for path in sorted(folder.glob("*.yaml")):
        said: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        runs = tuple(Run(**{**one, "commands": tuple(one["commands"])}) for one in said.pop("runs"))
        figures.append(Figure(name=path.stem, runs=runs, **{**said, "needs": tuple(said.get("needs", ()))}))
    return figures


class Bench:
    """Runs commands against one cluster, and remembers which indices they made.

    Args:
        places: ``data``, ``models`` and ``work``.
        url: The cluster.
    """

    def __init__(self, places: Mapping[str, Path], url: str) -> None:
        self._places, self._url = dict(places), url
        self._done: dict[str, str] = {}
        self.indices: set[str] = set()

    def measure(self, run: Run, measure: str) -> float:
        """What the run finds.

        Raises:
            Unreachable: The hub cannot be reached.
            subprocess.CalledProcessError: A command failed; what it said is its ``stderr``.
        """
        *before, last = run.commands
        index = PREFIX + hashlib.sha256("\n".join(before).encode()).hexdigest()[:12]
        for command in before:
            self._once(command, index)
        [system] = json.loads(self._call(last, index))["systems"]
        return float(system["measures"][measure])

    def _once(self, command: str, index: str) -> None:
        key = self._filled(command, index)
        if key not in self._done:
            self.indices.add(index)
            self._done[key] = self._call(command, index)

    def _filled(self, command: str, index: str) -> str:
        return command.format(index=index, **self._places)

    def _call(self, command: str, index: str) -> str:
        program, *arguments = shlex.split(self._filled(command, index))
        if program != "osplade":
            raise ValueError(f"{command!r}: only osplade is run")
        done = subprocess.run(
            [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()", *arguments],
            env={**os.environ, "OPENSEARCH_URL": self._url},
            cwd=self._places["work"],
            capture_output=True,
            text=True,
            check=False,
        )
        if OFFLINE in done.stderr:
            raise Unreachable("the Hugging Face hub is out of reach")
        done.check_returncode()
        return done.stdout

    def clean(self) -> None:
        """Deletes the indices that it made."""
        from opensearch_splade.plugin.client import connect

        with connect(self._url) as client:
            for index in sorted(self.indices):
                client.indices.delete(index=index, params={"ignore_unavailable": "true"})


def rows(figures: Iterable[Figure], bench: Bench) -> Iterable[Sequence[str]]:
    """Runs them all: one row of the table a run."""
    for figure in figures:
        for run in figure.runs:
            try:
                found = bench.measure(run, figure.measure)
            except Unreachable as missing:
                yield _row(figure, run, "-", f"not run: {missing}")
                continue
            except subprocess.CalledProcessError as error:
                yield _row(figure, run, "-", f"error: {error.stderr.strip().splitlines()[-1:]}")
                continue
            yield _row(figure, run, f"{found:.4f}", figure.verdict(found))


def _row(figure: Figure, run: Run, found: str, verdict: str) -> Sequence[str]:
    expected = f"{figure.expected:.4f} ± {figure.tolerance:g}"
    return figure.what, figure.measure, expected, run.how, found, verdict


HEAD = ("figure", "measure", "published", "here", "found", "")


def main() -> None:
    """Prints the table; the exit code is 1 where a verdict is another one than that of what was found before."""
    parser = argparse.ArgumentParser(description="Runs published figures again.")
    parser.add_argument("names", nargs="*", help="only figures whose name begins so")
    parser.add_argument("--list", action="store_true", help="what there is, without running anything")
    shared = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder of collections in BEIR layout")
    parser.add_argument("--models", type=Path, default=shared / "models", help="folder of checkpoints")
    said = parser.parse_args()
    figures = [one for one in load() if not said.names or one.name.startswith(tuple(said.names))]
    if said.list:
        for figure in figures:
            print(f"{figure.name}: {figure.what}, {figure.measure} {figure.expected:.4f}\n  {figure.source}")
        return
    sys.exit(_run(figures, said.data.resolve(), said.models.resolve()))


def _run(figures: Sequence[Figure], data: Path, models: Path) -> int:
    from opensearch_splade.plugin.launcher import ensure_node

    known = [run.found and figure.verdict(run.found) for figure in figures for run in figure.runs]
    with tempfile.TemporaryDirectory(prefix="osplade-") as work:
        bench = Bench({"data": data, "models": models, "work": Path(work)}, ensure_node().url)
        verdicts = []
        print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
        try:
            for row in rows(figures, bench):
                print("| " + " | ".join(row) + " |", flush=True)
                verdicts.append(row[-1])
        finally:
            bench.clean()
    different = [one for one, was in zip(verdicts, known, strict=True) if was and one != was]
    if different:
        print(f"\n{len(different)} of {len(verdicts)} are not what tests/reproduce says.", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    main()
