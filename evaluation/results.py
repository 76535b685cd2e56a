"""Results: what systems did on a collection, question by question, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Run = Mapping[str, Mapping[str, float]]
"""Query id to document id to score."""
PerQuestion = Mapping[str, Mapping[str, float]]
"""Measure to query id to value; a question without hits has 0."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one search for the first page with its text, in milliseconds.

    Attributes:
        client_p50: Median as the caller sees it, query encoding included.
        client_p95: The 95th percentile of it.
        server_p50: Median of the server's own ``took``.
    """

    client_p50: float
    client_p95: float
    server_p50: float


@dataclass(frozen=True, slots=True)
class SystemResult:
    """What one system did.

    Attributes:
        name: Unique within an evaluation, e.g. ``bm25+knn`` or ``neural-sparse (siamese)``.
        spec: How it asked, as a line that can be read again; for an imported run the file's name.
        run: Its ranking.
        per_question: Each measure of each question.
        latency: ``None`` for imported runs.
        tuned_on: What its parameters were chosen on, e.g. ``scifact/train``; empty if nothing was tuned.
    """

    name: str
    spec: str
    run: Run
    per_question: PerQuestion
    latency: Latency | None = None
    tuned_on: str = ""

    @property
    def measures(self) -> dict[str, float]:
        """The mean of each measure over all questions, four decimals."""
        return {
            measure: round(sum(values.values()) / max(1, len(values)), 4)
            for measure, values in self.per_question.items()
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system against the baseline, paired by question.

    Attributes:
        system: Its name.
        baseline: The other's name.
        measure: What is compared.
        difference: Mean of system minus baseline.
        low: Lower end of the 95 % confidence interval of the difference, by bootstrap over questions.
        high: Upper end.
        p: Two-sided p-value of the paired randomisation test (Smucker et al., 2007).
        p_adjusted: The same after Holm's correction for all comparisons of this evaluation with this measure.
        wins: Questions where the system is better.
        losses: Questions where it is worse.
    """

    system: str
    baseline: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    wins: int
    losses: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All systems on one collection.

    Attributes:
        collection: Its name.
        split: Of its judgements.
        judged_by: ``people``, ``clicks``, ``known items`` or ``pseudo-queries``: what the judgements are worth.
        index: What was asked; empty where all runs were imported.
        server: Its version; empty likewise.
        queries: Query id to text.
        qrels: Query id to document id to grade.
        systems: In the order of the table; the first one is the baseline unless another was named.
        comparisons: Of each other system with the baseline.
        notes: What a reader must know, e.g. what was tuned on what.
    """

    collection: str
    split: str
    judged_by: str
    index: str
    server: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    systems: Sequence[SystemResult]
    comparisons: Sequence[Comparison] = ()
    notes: Sequence[str] = field(default_factory=tuple)
