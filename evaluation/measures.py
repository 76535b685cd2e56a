"""Measures of a ranking, by ir-measures (the same code as trec_eval)."""

from __future__ import annotations

from collections.abc import Mapping

from opensearch_splade.errors import MissingExtraError

MEASURES = ("nDCG@10", "R@100", "AP", "RR@10")
"""What is computed, in the names of ir-measures: nDCG@10 (Järvelin and Kekäläinen, 2002), recall at 100, average
precision and reciprocal rank at 10."""

Run = Mapping[str, Mapping[str, float]]
"""Query id to document id to score."""


def measure(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The mean of each measure over the judged queries; a query without hits counts as zero.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError("ir_measures", "eval") from error
    wanted = [ir_measures.parse_measure(name) for name in MEASURES]
    found = ir_measures.calc_aggregate(wanted, qrels, run)
    return {str(one): round(float(found[one]), 4) for one in wanted}
