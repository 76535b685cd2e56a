"""Rendering: hits, contributions and outcomes as tables for a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from opensearch_splade.cli.explaining import Marked, explained, marked_line
from opensearch_splade.evaluation.measures import MEASURES
from opensearch_splade.evaluation.results import Evaluation
from opensearch_splade.evaluation.summary import comparison_of, legend, mark
from opensearch_splade.query import SearchResult, shares
from opensearch_splade.types import Hit

SHOWN_FEATURES = 6
WIDE = 100  # columns that all figures need
NO_PARTS = {"knn": "near in meaning as a whole"}
SHOWN_MEASURES = ("nDCG@10", "R@100")


def printer(*, record: bool = False) -> Console:
    """Standard output; where it is no terminal, as wide as the tables need."""
    console = Console(record=record)
    return console if console.is_terminal else Console(width=110, record=record)


def save_picture(console: Console, path: Path) -> None:
    """What a recording console printed, as an SVG file that loads nothing from elsewhere."""
    svg = re.sub(r"@font-face\s*{.*?}\s*", "", console.export_svg(title="osplade demo"), flags=re.DOTALL)
    path.write_text(svg, encoding="utf-8")


def hits_table(result: SearchResult, texts: Sequence[Marked] = ()) -> Table:
    """One row per hit.

    Args:
        result: What was found.
        texts: Of each hit, with its words marked; given, the hits are explained.
    """
    explain = bool(texts)
    count = len(result.hits)
    counted = "no hits" if not count else "1 hit" if count == 1 else f"{count} hits"
    table = Table(show_lines=explain, title=f"{counted}, {result.took_ms} ms", title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold", max_width=32)
    table.add_column("title and text" if not explain else "title, text, and what matched", ratio=1)
    for hit, text in zip_longest(result.hits, texts):
        cell = Text(hit.title, style="bold")
        cell.append("\n" if hit.title else "")
        if text:
            cell = marked_line(text)
            cell.append_text(explained(hit, SHOWN_FEATURES))
        else:
            cell.append(snippet(hit.passage or hit.text), style="not bold")
        table.add_row(f"{hit.score:.3f}", Text(hit.id), cell)
    return table


def why(hit: Hit, most: int = SHOWN_FEATURES) -> str:
    """The strongest parts of the score with their shares."""
    if not hit.why:
        return "no single words: found by meaning or by another ranking"
    parts = [f"{one.feature} {share:.0%}" for one, share in zip(hit.why[:most], shares(hit.why), strict=False)]
    rest = len(hit.why) - most
    return "  ".join(parts) + (f"  +{rest}" if rest > 0 else "")


def snippet(text: str, length: int = 160) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rsplit(' ', 1)[0]} …"


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """One row per system, the best value of each measure in bold, differences that are hardly chance marked."""
    results = evaluation.systems
    measured = results[0].per_question
    names = [
        name
        for name in measured
        if name in SHOWN_MEASURES or name not in MEASURES or not set(MEASURES) <= measured.keys()
    ]
    caption = Text(legend(evaluation)) if evaluation.comparisons else None
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("system", no_wrap=True)
    clocks = ["p50 ms", "p95 ms", "server p50"][: 3 if printer().width >= WIDE else 1]
    clocks = clocks if any(one.latency for one in results) else []
    for name in (*names, *clocks):
        table.add_column(name, justify="right", no_wrap=True)
    means = [one.measures for one in results]
    best = {name: max(each[name] for each in means) for name in names}
    for one, values in zip(results, means, strict=True):
        cells = [_value(evaluation, one.name, name, values[name], is_best=values[name] == best[name]) for name in names]
        took = one.latency
        times = (took.client_p50, took.client_p95, took.server_p50) if took else ()
        table.add_row(Text(one.name), *cells, *(f"{time:.1f}" for time in times[: len(clocks)]))
    return table


def _value(evaluation: Evaluation, system: str, measure: str, value: float, *, is_best: bool) -> Text:
    sign = mark(comparison_of(evaluation, system, measure))
    return Text(f"{value:.4f}", "bold green" if is_best else "").append(f" {sign}" if sign else "  ")


def side_by_side(question: str, answers: Mapping[str, SearchResult]) -> Table:
    """One row per way of asking: its best hits, and what made the first of them match."""
    table = Table(title=Text(f"“{question}”"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("way", no_wrap=True, style="bold", min_width=14)
    table.add_column("best hits, and why the first one matched", no_wrap=True, overflow="ellipsis", ratio=1)
    for way, result in answers.items():
        cell = Text(" · ").join(Text(_label(hit)) for hit in result.hits) if result.hits else Text("no hits")
        reason = NO_PARTS.get(way) or (why(result.hits[0]) if result.hits else "")
        part = "its sparse part: " if way.startswith("hybrid") else ""
        table.add_row(way, cell.append(f"\n  {part}{reason}", style="cyan"))
    return table


def _label(hit: Hit) -> str:
    """The id where it is a name, else the beginning of the title or text."""
    return snippet(hit.title or hit.text, 36) if hit.id.isdigit() else hit.id
