"""The table at the end of a test run: which faults the ingest met, and what was lost, doubled or stale after them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SEED = int(os.environ.get("OSPLADE_SEED", "20261125"))


@dataclass
class Row:
    """What one test did. Counts of differences are those of all its audits together.

    Attributes:
        name: Of the test, in words.
        met: Faults by kind.
        runs: Ingests.
        documents: Documents whose fate was checked.
    """

    name: str
    met: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    documents: int = 0
    lost: int = 0
    duplicate: int = 0
    stale: int = 0
    seconds: float = 0.0
    remark: str = ""

    def count(self, audited: dict[str, int], documents: int) -> None:
        """Adds an audit."""
        self.documents += documents
        self.lost += audited["lost"]
        self.duplicate += audited["duplicate"]
        self.stale += audited["stale_hash"] + audited["stale_marker"]


ROWS: list[Row] = []


@contextmanager
def timed(test: str) -> Iterator[Row]:
    """A line of the table, there from the start: a test that fails shows how far it came."""
    row = Row(test.removeprefix("test_").replace("_", " "))
    ROWS.append(row)
    start = time.monotonic()
    yield row
    row.seconds = time.monotonic() - start


def lines() -> list[str]:
    """The table; empty if no fault test ran."""
    if not ROWS:
        return []
    numbers = ("faults", "runs", "documents", "lost", "duplicate", "stale", "seconds")
    total = Row("all")
    for row in ROWS:
        total.met += row.met
        for name in numbers[1:]:
            setattr(total, name, getattr(total, name) + getattr(row, name))
    table = [["", *numbers]]
    for row in [*ROWS, total]:
        values = [row.met.total(), row.runs, row.documents, row.lost, row.duplicate, row.stale, round(row.seconds)]
        table.append([row.name, *(f"{value:,}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    found = [
        "  ".join([first.ljust(widths[0]), *(one.rjust(width) for one, width in zip(rest, widths[1:], strict=True))])
        for first, *rest in table
    ]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(total.met.items()))
    remarks = [f"{row.name}: {row.remark}" for row in ROWS if row.remark]
    return [*found, *([f"by kind: {kinds}"] if kinds else []), *remarks, f"OSPLADE_SEED={SEED} repeats them"]
