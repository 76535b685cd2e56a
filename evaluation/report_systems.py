"""Report: the systems, how sure their differences are, and what quality costs."""

from __future__ import annotations

from collections.abc import Sequence

from opensearch_splade.evaluation.markup import Html, joined, tag
from opensearch_splade.evaluation.plot import Axis, Point, decimals, number, scatter
from opensearch_splade.evaluation.prune_curve import Curve, CurvePoint, recommend
from opensearch_splade.evaluation.results import Comparison, Evaluation, SystemResult
from opensearch_splade.evaluation.summary import (
    baseline_of,
    best_system,
    comparison_of,
    highest,
    is_significant,
    legend,
    mark,
    p_value,
    primary_measure,
    signed,
)

TOLERANCE = 0.002  # of nDCG@10, that the recommended pruning may lose: as `osplade prune-curve` has it
_FOREST, _ROW = 380, 34  # pixels
_BEYOND = 16  # pixels that the line of no difference goes beyond its row, since names on two lines make rows higher
_SHAPES = {"max_ratio": "circle", "top_k": "square", "alpha_mass": "diamond", "abs_value": "triangle"}


def systems_table(evaluation: Evaluation) -> Html:
    """One row a system: measures with marks, latency."""
    top = highest(evaluation)
    timed = any(system.latency for system in evaluation.systems)
    clocks = ("p50 ms", "p95 ms", "server ms") if timed else ()
    marked = dict.fromkeys(top, "marked")
    head = tag("tr", *(tag("th", name, scope="col", class_=marked.get(name)) for name in ("System", *top, *clocks)))
    rows = [_system_row(evaluation, system, top, timed=timed) for system in evaluation.systems]
    caption = "The mean over all questions; the best of each column is bold."
    if evaluation.comparisons:
        caption += f" {legend(evaluation)}."
    if timed:
        caption += " Latency: one search for the first page as the caller sees it, and the server’s own share."
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *rows), class_="figures sortable")
    return tag("div", table, class_="wide")


def _system_row(evaluation: Evaluation, system: SystemResult, top: dict[str, float], *, timed: bool) -> Html:
    base = system is baseline_of(evaluation) and len(evaluation.systems) > 1
    name = [tag("span", system.name, class_="name"), tag("span", "baseline", class_="tagged") if base else None]
    spec = tag("div", system.spec, class_="spec") if system.spec not in {"", system.name} else None
    tuned = tag("div", f"tuned on {system.tuned_on}", class_="spec") if system.tuned_on else None
    cells = [_measure_cell(evaluation, system, measure, best) for measure, best in top.items()]
    if timed:
        cells += _latency_cells(system)
    kind = "best" if system is best_system(evaluation) else None
    return tag("tr", tag("th", *name, spec, tuned, scope="row"), *cells, class_=kind)


def _measure_cell(evaluation: Evaluation, system: SystemResult, measure: str, best: float) -> Html:
    value = system.measures.get(measure)
    if value is None:
        return tag("td", "–", class_="none")
    sign = mark(comparison_of(evaluation, system.name, measure))
    words = {"▲": "significantly better", "▼": "significantly worse"}.get(sign)
    shown = tag("b", f"{value:.4f}") if value == best else f"{value:.4f}"
    kind = {"▲": "mark better", "▼": "mark worse"}.get(sign, "mark")
    marked = tag("span", sign, class_=kind, title=words, role="img" if words else None, aria_label=words)
    return tag("td", shown, marked, data_value=value)


def _latency_cells(system: SystemResult) -> list[Html]:
    if system.latency is None:
        return [tag("td", "–", class_="none")] * 3
    times = (system.latency.client_p50, system.latency.client_p95, system.latency.server_p50)
    return [tag("td", f"{ms:.1f}", data_value=ms) for ms in times]


def forest(evaluation: Evaluation, measure: str) -> Html | None:
    """The differences of one measure with their intervals, one row a system; ``None`` if none was compared."""
    compared = [each for each in evaluation.comparisons if each.measure == measure]
    if not compared:
        return None
    ends = [0.0, *(end for each in compared for end in (each.low, each.high, each.difference))]
    axis = Axis.around(ends, 6, _FOREST - 6)
    compared_by = f"{measure}, system minus {compared[0].baseline}"
    head = ("System", compared_by, "Difference", "95 % interval", "p by Holm", "Better", "Worse")
    rows = [
        _forest_row(
            each, axis, above=0 if each is compared[0] else _BEYOND, below=0 if each is compared[-1] else _BEYOND
        )
        for each in compared
    ]
    foot = tag("tr", tag("td"), tag("td", _forest_ticks(axis), class_="strip"), tag("td", colspan=5))
    caption = (
        f"Difference in {measure} and its 95 % confidence interval by bootstrap over questions. An interval to the "
        "right of the line is better than the baseline. Better and worse count questions."
    )
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head))),
        tag("tbody", *rows),
        tag("tfoot", foot, aria_hidden="true"),
        class_="figures forest",
    )
    return tag("div", table, class_="wide")


def _forest_row(each: Comparison, axis: Axis, *, above: int, below: int) -> Html:
    kind = "plain" if not is_significant(each) else "better" if each.difference > 0 else "worse"
    zero, low, high, middle = (axis.place(value) for value in (0.0, each.low, each.high, each.difference))
    y = _ROW / 2
    strip = tag(
        "svg",
        tag("line", x1=zero, x2=zero, y1=-above, y2=_ROW + below, class_="zero"),
        tag("line", x1=low, x2=high, y1=y, y2=y, class_=f"interval {kind}"),
        tag("path", d=f"M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8", class_=f"interval {kind}"),
        tag("rect", x=middle - 4.5, y=y - 4.5, width=9, height=9, class_=f"mark {kind}"),
        viewBox=f"0 0 {_FOREST} {_ROW}",
        width=_FOREST,
        height=_ROW,
        aria_hidden="true",
    )
    interval = f"{signed(each.low)} to {signed(each.high)}"
    cells = [signed(each.difference), interval, p_value(each.p_adjusted).removeprefix("= "), each.wins, each.losses]
    name = tag("th", tag("span", each.system, class_="name"), scope="row")
    return tag("tr", name, tag("td", strip, class_="strip"), *(tag("td", cell) for cell in cells), class_=kind)


def _forest_ticks(axis: Axis) -> Html:
    ticks = axis.ticks(5)
    texts = [
        tag(
            "text",
            signed(value, decimals(ticks)) if value else "0",
            x=axis.place(value),
            y=14,
            class_="tick",
            text_anchor="middle",
        )
        for value in ticks
    ]
    return tag("svg", *texts, viewBox=f"0 0 {_FOREST} 20", width=_FOREST, height=20)


def quality_against_latency(evaluation: Evaluation) -> Html | None:
    """A scatter of the systems that were timed; ``None`` if those are fewer than two."""
    measure, base = primary_measure(evaluation), baseline_of(evaluation)
    points = [
        Point(
            system.latency.client_p50,
            system.measures[measure],
            system.name,
            "base" if system is base else "plain",
            "diamond" if system is base else "circle",
            f"{system.name}: {measure} {system.measures[measure]:.4f}, {system.latency.client_p50:.1f} ms",
        )
        for system in evaluation.systems
        if system.latency and measure in system.measures
    ]
    if len(points) < 2:
        return None
    title = f"{measure} of each system against its median latency"
    words = "Higher is better, further left is faster. On the line: nothing faster is as good."
    drawn = scatter(points, x="median latency of one search, ms", y=measure, title=title, log=True)
    return tag("figure", drawn, tag("figcaption", words, " The figures are those of the table of systems."))


def quality_against_size(curves: Sequence[Curve]) -> Html:
    """For each bundle a scatter of its prunings by size, and their table."""
    return joined(tag("div", tag("h3", name), *_curve(name, points)) for name, points in curves if points)


def _curve(name: str, points: Sequence[CurvePoint]) -> list[Html]:
    best, whole = recommend(points, TOLERANCE), points[0]
    drawn = scatter(
        [_pruning_point(point, best, whole) for point in points],
        x="bytes of a document’s features in the index",
        y="nDCG@10",
        title=f"nDCG@10 against size for each pruning of {name}",
    )
    saved = f"{best.pruning}, {1 - best.bytes / max(1e-9, whole.bytes):.0%} smaller"
    words = (
        f"Each mark is one pruning; within {TOLERANCE:g} of unpruned the smallest is "
        f"{saved if best.pruning else 'the unpruned one'}. Circles max_ratio, squares top_k, diamonds alpha_mass, "
        "triangles abs_value, crosses budgets of the corpus. On the line: nothing smaller is as good."
    )
    head = tag("tr", *(tag("th", each, scope="col") for each in ("Pruning", "Features", "Bytes", "nDCG@10", "Change")))
    rows = [
        tag(
            "tr",
            tag("th", str(point.pruning or "none"), scope="row"),
            tag("td", f"{point.features:.0f}", data_value=point.features),
            tag("td", number(round(point.bytes)), data_value=point.bytes),
            tag("td", f"{point.ndcg:.4f}", data_value=point.ndcg),
            tag("td", signed(point.ndcg - whole.ndcg), data_value=point.ndcg - whole.ndcg),
            class_="best" if point is best else None,
        )
        for point in sorted(points, key=lambda point: -point.bytes)
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="figures sortable")
    details = tag("details", tag("summary", f"All {len(points)} prunings of {name}"), tag("div", table, class_="wide"))
    return [tag("figure", drawn, tag("figcaption", words)), details]


def _pruning_point(point: CurvePoint, best: CurvePoint, whole: CurvePoint) -> Point:
    rule = str(point.pruning or "no pruning")
    shape = "circle" if point is whole else _SHAPES.get(rule.partition(":")[0], "cross")
    kind = "base" if point is whole else "best" if point is best else "plain"
    label = rule if point is whole or point is best else ""
    tip = f"{rule}: nDCG@10 {point.ndcg:.4f}, {point.features:.0f} features, {point.bytes:.0f} bytes"
    return Point(point.bytes, point.ndcg, label, kind, shape, tip)
