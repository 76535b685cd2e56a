"""Measures of a ranking, by ir-measures (the same code as trec_eval)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from opensearch_splade.errors import MeasureError, MissingExtraError
from opensearch_splade.evaluation.results import PerQuestion, Run

MEASURES = ("nDCG@10", "R@100", "AP", "RR@10", "Judged@10")
"""What is computed, in the names of ir-measures: nDCG@10 (Järvelin and Kekäläinen, 2002), recall at 100, average
precision, reciprocal rank at 10, and the share of the first ten hits that anybody judged."""


def measure(run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str] = MEASURES) -> dict[str, float]:
    """The mean of each measure over the judged questions, four decimals; see ``measure_each``."""
    found = measure_each(run, qrels, measures)
    return {name: round(sum(values.values()) / max(1, len(values)), 4) for name, values in found.items()}


def measure_each(run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str] = MEASURES) -> PerQuestion:
    """Each measure of each judged question.

    Args:
        run: Its ranking; questions that nobody judged are left out.
        qrels: A question without hits counts as 0, one without any judgement does not count.
        measures: Names of ir-measures.

    Returns:
        By the names of ``measure_names``, questions in the order of ``qrels``.

    Raises:
        MeasureError: A measure is not known or cannot be computed.
        MissingExtraError: ir-measures is not installed.
    """
    wanted = {str(one): one for one in map(_parsed, measures)}
    judged = {query: dict(grades) for query, grades in qrels.items() if grades}
    ranks = {query: _ranks(run[query]) for query in judged if run.get(query)}
    found = {name: dict.fromkeys(judged, 0.0) for name in wanted}
    if not ranks:
        return found
    try:
        for one in _ir_measures().iter_calc(list(wanted.values()), judged, ranks):
            found[str(one.measure)][one.query_id] = float(one.value)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise MeasureError(
            f"{', '.join(wanted)} cannot be computed ({error}); leave out what is not in {', '.join(MEASURES)}."
        ) from error
    return found


def measure_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as ir-measures writes them, each once: ``MAP`` is ``AP``.

    Raises:
        MeasureError: One is not known.
        MissingExtraError: ir-measures is not installed.
    """
    return tuple(dict.fromkeys(str(_parsed(name)) for name in names))


def measure_key(name: str, measured: Iterable[str]) -> str:
    """The one of what was measured that is meant by a name.

    Raises:
        MeasureError: There is none.
    """
    known = list(measured)
    if name in known:
        return name
    (written,) = measure_names([name])
    if written in known:
        return written
    raise MeasureError(f"{name} was not measured, only {', '.join(known) or 'nothing'}.")


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Documents, best first, as trec_eval orders them: scores are 32 bits, and of equal ones the larger id is first."""
    with np.errstate(over="ignore"):  # what is too large is infinite, as in C
        values = np.array(list(scores.values()), np.float64).astype(np.float32).tolist()
    return [document for _, document in sorted(zip(values, scores, strict=True), reverse=True)]


def _ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without ties: RR@k and Judged are computed by other code than trec_eval's, which orders ties otherwise."""
    return {document: float(len(scores) - place) for place, document in enumerate(trec_order(scores))}


def _parsed(name: str) -> Any:
    ir_measures = _ir_measures()
    try:
        one = ir_measures.parse_measure(name)
        one.validate_params()
        cutoff = one.params.get("cutoff", 1)
        if isinstance(cutoff, bool) or cutoff not in range(1, 2**31):  # trec_eval ends the process at others
            raise ValueError("a cutoff is a whole number from 1 on")
        supported = ir_measures.DefaultPipeline.supports(one)
    except (AssertionError, LookupError, NameError, TypeError, ValueError) as error:
        # What is missing is an unnamed object in ir-measures' words.
        reason = re.sub("invalid param (\\w+)=<.*", r"\1 is missing", str(error).split(";", maxsplit=1)[0])
        raise MeasureError(
            f"{name!r} is not a measure ({reason}). Names are those of ir-measures, such as {', '.join(MEASURES)}."
        ) from error
    if not supported:
        raise MeasureError(f"{name} needs a package that ir-measures does not bring; measure {', '.join(MEASURES)}.")
    return one


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError("ir_measures", "eval") from error
    return ir_measures
