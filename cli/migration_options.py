"""Options of the steps of a migration: the spec, by a file or by flags, and the folder of its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from opensearch_splade.cli import options
from opensearch_splade.errors import MigrationError
from opensearch_splade.index_meta import SparseField
from opensearch_splade.migration.job import Job, default_folder
from opensearch_splade.migration.spec import LastRound, MigrationSpec, Way
from opensearch_splade.migration.state import State
from opensearch_splade.plugin.client import connect

_Decorated = Callable[..., Any]

state = click.option(
    "--state",
    "folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where is kept what was done. [default: osplade-migration-TARGET]",
)
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done and change nothing.")


def spec(function: _Decorated) -> _Decorated:
    """The spec: ``--config`` and a flag for each of its values, handed on as keyword arguments of ``open_job``."""
    given = (
        click.option(
            "--config",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="TOML or YAML with the values below, by their names; flags count more.",
        ),
        click.option("--source", metavar="INDEX", help="The old index or alias; http(s)://host:9200/INDEX elsewhere."),
        click.option("--target", metavar="INDEX", help="The new index; in place the source itself."),
        click.option(
            "--text-field", "texts", metavar="FIELD", multiple=True, help="Encoded; repeatable. [default: all]"
        ),
        click.option(
            "--title-field", "title", metavar="FIELD", help="Encoded first. [default: title, if there is one]"
        ),
        click.option("--bundle", type=options.BUNDLE, help="Encodes documents. [default: splade-tiny-idf]"),
        click.option("--dense-bundle", type=options.BUNDLE, help="Also makes a kNN field."),
        click.option("--way", type=click.Choice(get_args(Way)), help="[default: copy]"),
        click.option("--vectors", metavar="FIELD", help="Of --way vectors: the sparse vectors that are copied."),
        click.option("--foreign", metavar="MODEL", help="Of --way vectors: who made them, if no bundle did."),
        click.option("--sparse-field", type=click.Choice(get_args(SparseField)), help="[default: rank_features]"),
        click.option("--drop", metavar="FIELD", multiple=True, help="The new index does without it; repeatable."),
        click.option("--prune", metavar="RULE", help="Drop weak features, e.g. max_ratio:0.1."),
        click.option("--query-weights", type=click.Choice(["idf", "bm25"]), help="Count them over the documents."),
        click.option("--last-round", type=click.Choice(get_args(LastRound)), help="[default: write-block]"),
        click.option("--max-docs-per-second", type=float, metavar="N", help="Read no faster."),
        click.option(
            "--max-slowdown",
            type=float,
            metavar="TIMES",
            help="Slow down while users' searches take so many times as long as before. [default: 1.5]",
        ),
        click.option("--shards", type=int, help="Of the new index. [default: as many]"),
        click.option("--replicas", type=int, help="Of the new index. [default: as many]"),
        state,
    )
    for option in reversed(given):
        function = option(function)
    return function


def open_job(
    url: str | None, *, insecure: bool, config: Path | None = None, folder: Path | None = None, **given: Any
) -> Job:
    """The job of a spec; where neither source nor target is said, of a state folder, with what is said otherwise now.

    Raises:
        MigrationError: Neither says what is to be done.
    """
    client = connect(url, insecure=insecure)
    if config is None and not (given.get("source") or given.get("target")):
        there = opened(folder)
        return Job.open(there.record.spec.but(**given), client, there.folder)
    return Job.open(MigrationSpec.read(config, **given), client, folder)


def opened(folder: Path | None) -> State:
    """The state in a folder; without one, the only one here.

    Raises:
        MigrationError: There is none, or there are several.
    """
    if folder is not None:
        return State.open(folder)
    states = (State.open(path.parent) for path in sorted(Path().glob(f"{default_folder('*')}/migration.json")))
    found = [one for one in states if one.step]  # the others came to nothing, as by a wrong option
    if len(found) != 1:
        folders = ", ".join(str(one.folder) for one in found)
        told = f"there are {len(found)} here ({folders})" if found else "there is none here"
        raise MigrationError(f"Which migration? {told}: name its folder with --state, or say --source and --target.")
    return found[0]
