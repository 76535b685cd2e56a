"""Sections of an inspection for a terminal: figures with their meaning, histograms of blocks, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.rule import Rule
from rich.table import Table as Grid
from rich.text import Text

from opensearch_splade.evaluation.inspection import Cell, Figure, Histogram, Section, Table

_BLOCKS = " ▁▂▃▄▅▆▇█"


def show(console: Console, about: Mapping[str, object], sections: Sequence[Section]) -> None:
    """Prints all of it."""
    documents, inspected = about["documents"], about["inspected"]
    title = f"{about['index']}: {documents:,} documents"
    if inspected != documents:
        title += f", a sample of {inspected:,} (seed {about['seed']})"
    if about["vectors"] != inspected:
        title += f", {about['vectors']:,} vectors"
    if about["collection"]:
        title += f"; {about['questions']} questions of {about['collection']}"
    console.print(Text(title, "bold"))
    for section in sections:
        console.print()
        console.print(Rule(Text(section.name, "bold cyan"), align="left", style="cyan"))
        for histogram in section.histograms:
            console.print(_histogram(histogram))
        if section.figures:
            console.print(_figures(section.figures))
        for table in section.tables:
            console.print(_table(table))
        for missing in section.missing:
            console.print(Text(f" not told: {missing}", "dim"))


def bars(counts: Sequence[int]) -> str:
    """One character a bin; a bin that is not empty is seen."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[-(-8 * count // most) if most else 0] for count in counts)


def _histogram(one: Histogram) -> Text:
    ends = [format(value, one.form) for value in (one.low, one.high)]
    scale = " (logarithmic)" if one.logarithmic else ""
    return Text.assemble(f" {one.name}{scale}: {ends[0]} ", (f"▕{bars(one.counts)}▏", "green"), f" {ends[1]}")


def _figures(figures: Sequence[Figure]) -> Grid:
    grid = Grid(box=None, show_header=False, padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, justify="right", style="bold")
    grid.add_column(style="dim", ratio=1)
    for one in figures:
        grid.add_row(Text(one.name), Text(_cell(one.value, one.form)), Text(one.meaning))
    return grid


def _table(table: Table) -> Grid:
    caption = Text(table.meaning, "dim") if table.meaning else None
    grid = Grid(
        title=Text(table.name),
        title_justify="left",
        title_style="italic",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    for name, form in table.columns.items():
        grid.add_column(name, justify="right" if form else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(_cell(cell, form)) for cell, form in zip(row, table.columns.values(), strict=True)))
    return grid


def _cell(value: Cell, form: str) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else format(value, form)
