"""Rendering: hits, contributions and outcomes as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from opensearch_splade.evaluation.systems import Outcome
from opensearch_splade.query import SearchResult, shares
from opensearch_splade.types import Hit

SHOWN_FEATURES = 6


def hits_table(result: SearchResult, *, explain: bool) -> Table:
    """One row per hit."""
    table = Table(show_lines=explain, title=f"{len(result.hits)} hits, {result.took_ms} ms", title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold", max_width=32)
    table.add_column("title and text" if not explain else "title, text, and what matched", ratio=1)
    for hit in result.hits:
        cell = Text(hit.title, style="bold")
        cell.append("\n" if hit.title else "").append(snippet(hit.text), style="not bold")
        if explain:
            cell.append("\n").append(why(hit), style="cyan")
        table.add_row(f"{hit.score:.3f}", hit.id, cell)
    return table


def why(hit: Hit, most: int = SHOWN_FEATURES) -> str:
    """The strongest features with their share of the sparse score."""
    if not hit.why:
        return "no shared features"
    parts = [f"{one.feature} {share:.0%}" for one, share in zip(hit.why[:most], shares(hit.why), strict=False)]
    rest = len(hit.why) - most
    return "  ".join(parts) + (f"  +{rest} more" if rest > 0 else "")


def snippet(text: str, length: int = 160) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rsplit(' ', 1)[0]} …"


def outcomes_table(outcomes: Sequence[Outcome], title: str) -> Table:
    """One row per system, the best value of each measure in bold."""
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    measures = list(outcomes[0].measures)
    for name in [*measures, "p50 ms", "p95 ms", "server p50 ms"]:
        table.add_column(name, justify="right")
    best = {name: max(one.measures[name] for one in outcomes) for name in measures}
    for one in outcomes:
        cells = [
            Text(f"{one.measures[name]:.4f}", "bold" if one.measures[name] == best[name] else "") for name in measures
        ]
        table.add_row(
            one.system, *cells, f"{one.client_p50_ms:.1f}", f"{one.client_p95_ms:.1f}", f"{one.server_p50_ms:.1f}"
        )
    return table


def side_by_side(question: str, answers: Mapping[str, SearchResult]) -> Table:
    """One row per way of asking: its best hits, and what made the first of them match."""
    table = Table(title=f"“{question}”", title_justify="left", show_lines=True)
    table.add_column("way", no_wrap=True)
    table.add_column("best hits", ratio=3)
    table.add_column("why the first one matched", ratio=2, style="cyan")
    for way, result in answers.items():
        hits = Text("\n").join(
            Text(f"{rank}. {snippet(hit.title or hit.text, 60)}") for rank, hit in enumerate(result.hits, 1)
        )
        table.add_row(way, hits, why(result.hits[0], 5) if result.hits else "no hits")
    return table
