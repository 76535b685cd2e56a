"""The options of ``osplade eval``, gathered into what they are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from opensearch_splade.cli import options
from opensearch_splade.cli.evaluated_systems import Asking
from opensearch_splade.cli.wiring import QUERY_SIDES, QueryBundles
from opensearch_splade.evaluation.curve_file import read_curve
from opensearch_splade.evaluation.evaluation_file import read_evaluation
from opensearch_splade.evaluation.prune_curve import Curve
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems_file import read_systems
from opensearch_splade.evaluation.thresholds import Threshold

_Decorated = Callable[..., Any]
_FILE = click.Path(path_type=Path, dir_okay=False)
_READ = click.Path(path_type=Path, dir_okay=False, exists=True)


@dataclass(frozen=True, slots=True)
class Gates:
    """What a pipeline lets pass.

    Attributes:
        fail_under: What means must reach.
        no_regression: An evaluation file that nothing may be worse than.
    """

    fail_under: Sequence[Threshold]
    no_regression: Path | None


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go beside the terminal.

    Attributes:
        save: Evaluation file.
        report: HTML file.
        curves: For the report's plot of size.
        as_markdown: Whether Markdown is printed.
        as_json: Whether JSON is.
    """

    save: Path | None
    report: Path | None
    curves: Sequence[Curve]
    as_markdown: bool
    as_json: bool

    def __post_init__(self) -> None:
        if self.as_markdown and self.as_json:
            raise click.UsageError("--json and --markdown both go to standard output: give one of them.")


def asked(function: _Decorated) -> _Decorated:
    """What is asked, and where, as ``asking``; rankings of other engines as ``runs``."""

    @wraps(function)
    def gathered(
        *arguments: Any,
        index: str | None,
        named: tuple[str, ...],
        systems_file: Path | None,
        runs: tuple[str, ...],
        modes: tuple[str, ...],
        query_side: str,
        bundle: str | None,
        dense_bundle: str | None,
        query_prune: Any,
        seismic: Any,
        url: str | None,
        insecure: bool,
        **more: Any,
    ) -> Any:
        listed = [*read_systems(systems_file).items()] if systems_file else []
        listed += [(name, SystemSpec.parse(line)) for name, line in map(_pair, named)]
        files = [(name, Path(file)) for name, file in map(_pair, runs)]
        if twice := _twice([name for name, _ in (*listed, *files)]):
            raise click.UsageError(f"two systems are called {twice!r}: names are what tells them apart.")
        if not (index or listed or files):
            raise click.UsageError("nothing to measure: give --index NAME, --systems FILE or --run NAME=FILE.")
        bundles = QueryBundles(bundle, dense_bundle, query_prune, seismic)
        asking = Asking(index, dict(listed), modes, query_side, bundles, url, insecure)
        return function(*arguments, asking=asking, runs=dict(files), **more)

    given = (
        click.option("--index", metavar="NAME", help="The index or alias. Not needed where there are only --run."),
        click.option(
            "--system",
            "named",
            metavar="NAME=SPEC",
            multiple=True,
            help="Ask this way and call it so; repeatable. SPEC is a mode and KEY=VALUE pairs, see above.",
        ),
        click.option("--systems", "systems_file", metavar="FILE.yaml", type=_READ, help="Named systems, see above."),
        click.option(
            "--run",
            "runs",
            metavar="NAME=FILE",
            multiple=True,
            help="The ranking of another engine as a TREC run file (query Q0 document rank score tag); repeatable.",
        ),
        click.option("--mode", "modes", multiple=True, help="This mode with each query side; repeatable."),
        click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True),
        options.query_encoders,
        options.cluster,
    )
    return _decorated(gathered, given)


def gated(function: _Decorated) -> _Decorated:
    """``--fail-under`` and ``--no-regression`` as ``gates``."""

    @wraps(function)
    def gathered(*arguments: Any, fail_under: tuple[str, ...], no_regression: Path | None, **more: Any) -> Any:
        if no_regression:
            read_evaluation(no_regression)  # a file that is none is told before anything is asked
        return function(*arguments, gates=Gates([*map(Threshold.parse, fail_under)], no_regression), **more)

    given = (
        click.option(
            "--fail-under",
            metavar="[SYSTEM:]MEASURE=VALUE",
            multiple=True,
            help="Exit with 1 where a system's mean is lower, e.g. nDCG@10=.70; without a name the best must reach it.",
        ),
        click.option(
            "--no-regression",
            metavar="FILE",
            type=_READ,
            help="Exit with 1 where a system is significantly worse than in this file of --save.",
        ),
    )
    return _decorated(gathered, given)


def written(function: _Decorated) -> _Decorated:
    """``--save``, ``--report``, ``--markdown`` and ``--json`` as ``outputs``."""

    @wraps(function)
    def gathered(
        *arguments: Any,
        save: Path | None,
        report: Path | None,
        curves: tuple[str, ...],
        as_markdown: bool,
        as_json: bool,
        **more: Any,
    ) -> Any:
        drawn = [(name, read_curve(Path(file))) for name, file in map(_pair, curves)]
        return function(*arguments, outputs=Outputs(save, report, drawn, as_markdown, as_json), **more)

    given = (
        click.option("--save", metavar="FILE", type=_FILE, help="Keep the evaluation as JSON, for --no-regression."),
        click.option("--report", metavar="FILE.html", type=_FILE, help="Write a report: one file that works offline."),
        click.option(
            "--curve",
            "curves",
            metavar="NAME=FILE",
            multiple=True,
            help="What `osplade prune-curve --json` printed, for the report's plot of size; repeatable.",
        ),
        click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pipeline's comment."),
        options.as_json,
    )
    return _decorated(gathered, given)


def _decorated(function: _Decorated, given: Sequence[_Decorated]) -> _Decorated:
    for option in reversed(given):
        function = option(function)
    return function


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise click.UsageError(f"{text!r} is no NAME=…: every system and every run has a name before the first '='.")
    return name, value


def _twice(names: Sequence[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)
