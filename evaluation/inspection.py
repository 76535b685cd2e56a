"""Inspection: figures about an index, each with what it means and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from opensearch_splade.types import SparseVectors

Cell = str | float | int | None


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        name: For people; for machines its words are joined by underscores.
        value: As it is; None where there is none.
        form: How it is printed, as ``format`` takes it.
        meaning: What it says and what to do about it, in one line.
    """

    name: str
    value: float | int | None
    form: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie in bins of equal width, or of equal ratio.

    Attributes:
        name: Of what.
        counts: One a bin.
        low: Where the first bin begins.
        high: Where the last one ends.
        form: How both are printed.
        logarithmic: Whether the bins are of equal ratio.
    """

    name: str
    counts: Sequence[int]
    low: float
    high: float
    form: str = ".3g"
    logarithmic: bool = False

    @classmethod
    def of(cls, name: str, values: npt.ArrayLike, *, form: str = ".3g", logarithmic: bool = False) -> Histogram:
        """Forty bins; of whole numbers fewer where there are fewer."""
        found = np.asarray(values, np.float64)
        if not len(found):
            return cls(name, (), 0.0, 0.0, form, logarithmic)
        low, high = float(found.min()), float(found.max())
        scaled = np.log(found) if logarithmic else found
        counts, _ = np.histogram(scaled, bins=40)
        return cls(name, counts.tolist(), low, high, form, logarithmic)


@dataclass(frozen=True, slots=True)
class Table:
    """Several numbers side by side.

    Attributes:
        name: Of what.
        columns: Header to how its cells are printed, as ``format`` takes it.
        rows: Cells in the order of the columns.
        meaning: What it says and what to do about it, in one line.
    """

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Cell]]
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Figures that belong together.

    Attributes:
        name: For people; for machines its words are joined by underscores.
        figures: Single numbers.
        histograms: Distributions.
        tables: Several numbers side by side.
        missing: What could not be told and what it needs; empty if nothing is missing.
    """

    name: str
    figures: Sequence[Figure] = ()
    histograms: Sequence[Histogram] = ()
    tables: Sequence[Table] = ()
    missing: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "figures": {_key(one.name): one.value for one in self.figures},
            "histograms": {
                _key(one.name): {
                    "counts": list(one.counts),
                    "low": one.low,
                    "high": one.high,
                    "logarithmic": one.logarithmic,
                }
                for one in self.histograms
            },
            "tables": {
                _key(one.name): [dict(zip(one.columns, row, strict=True)) for row in one.rows] for one in self.tables
            },
            "missing": list(self.missing),
        }


def sections_json(sections: Sequence[Section]) -> dict[str, object]:
    """All of them by name."""
    return {_key(one.name): one.to_json() for one in sections}


@dataclass(frozen=True, eq=False)
class Asked:
    """The questions of a collection, encoded.

    Attributes:
        queries: Ids.
        qrels: Query id to document id to grade.
        sparse: Query side to a row a question, the preferred side first; numbered as the documents are.
        words: A row a question, of its words; None if texts were not read.
        dense: Shape ``(questions, dimension)``, float32; None where nothing can be asked so.
    """

    queries: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    sparse: Mapping[str, SparseVectors]
    words: SparseVectors | None = None
    dense: npt.NDArray[np.float32] | None = None


def _key(name: str) -> str:
    return re.sub(r"[\s,-]+", "_", name)
