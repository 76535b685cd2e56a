"""Report: what made the largest differences, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from opensearch_splade.evaluation.drill_down import DrillDown, JudgedHit, Margin, Pair
from opensearch_splade.evaluation.markup import Html, joined, tag
from opensearch_splade.evaluation.summary import signed
from opensearch_splade.query import shares
from opensearch_splade.types import Contribution

TERMS = 8  # bars a hit
_BAR, _THICK = 180, 12  # pixels


def anchor(number: int) -> str:
    """Where a drill-down stands. By number: ids of questions are a user's text."""
    return f"drill-{number}"


def drill_downs_section(drill_downs: Sequence[DrillDown]) -> Html:
    """For each system its winners, then its losers."""
    numbered = list(enumerate(drill_downs))
    parts: list[Html] = []
    for system, of_system in groupby(numbered, key=lambda each: each[1].system):
        group = list(of_system)
        parts.append(tag("h3", tag("span", system, class_="name"), f" against {group[0][1].baseline}"))
        parts += [_drill_down(number, each, is_open=number == 0) for number, each in group]
    return joined(parts)


def _drill_down(number: int, each: DrillDown, *, is_open: bool) -> Html:
    kind = "better" if each.difference > 0 else "worse"
    head = tag(
        "summary",
        tag("span", signed(each.difference, 3), class_=f"delta {kind}"),
        tag("span", each.text, class_="question", dir_="auto"),
        tag("span", f"{each.baseline_value:.3f} → {each.value:.3f}", class_="values"),
    )
    rankings = tag(
        "div",
        _ranking(each.baseline, each.baseline_value, each.measure, each.baseline_hits),
        _ranking(each.system, each.value, each.measure, each.hits),
        class_="rankings",
    )
    return tag(
        "details",
        head,
        _pair(each, each.pair) if each.pair else None,
        rankings,
        id_=anchor(number),
        class_="drill",
        open=is_open,
    )


def _ranking(system: str, value: float, measure: str, hits: Sequence[JudgedHit]) -> Html:
    title = tag("h4", tag("span", system, class_="name"), tag("span", f"{measure} {value:.4f}", class_="values"))
    listed = tag("ol", *map(_hit, hits), class_="hits") if hits else tag("p", "No hits.", class_="quiet")
    return tag("section", title, listed, aria_label=system)


def _hit(hit: JudgedHit) -> Html:
    title = tag("span", hit.title or hit.text or hit.id, class_="title", dir_="auto")
    text = tag("p", hit.text, class_="text", dir_="auto") if hit.title and hit.text else None
    line = tag(
        "div", _grade(hit.grade), title, tag("span", f"{hit.score:.3f}", class_="score", title="score"), class_="line"
    )
    about = tag("div", tag("span", hit.id, class_="id"), class_="about") if hit.title or hit.text else None
    return tag("li", line, about, text, _why(hit.why), class_="relevant" if (hit.grade or 0) > 0 else None)


def _grade(grade: int | None) -> Html:
    if grade is None:
        return tag("span", "not judged", class_="grade none")
    if grade <= 0:
        return tag("span", "not relevant", class_="grade")
    return tag("span", "relevant" if grade == 1 else f"relevant, {grade}", class_="grade yes")


def _why(why: Sequence[Contribution]) -> Html | None:
    """The summands of a score as bars, as long as their share of it."""
    if not any(part.score for part in why):
        return None
    parts = list(zip(why, shares(why), strict=True))
    largest = max(share for _, share in parts) or 1.0
    short = ", ".join(f"{part.feature} {share:.0%}" for part, share in parts[:3])
    head = tag(
        "tr", *(tag("th", name, scope="col") for name in ("Term", "Share of the sum", "", "Question × document"))
    )
    rows = [
        tag(
            "tr",
            tag("th", part.feature, scope="row"),
            tag("td", _bar(share / largest), class_="strip"),
            tag("td", f"{share:.1%}"),
            tag("td", f"{part.query_weight:.3f} × {part.stored_weight:.3f} = {part.score:.3f}"),
        )
        for part, share in parts[:TERMS]
    ]
    if rest := parts[TERMS:]:
        words = f"{len(rest)} more"
        rows.append(
            tag(
                "tr",
                tag("th", words, scope="row"),
                tag("td"),
                tag("td", f"{sum(share for _, share in rest):.1%}"),
                tag("td"),
            )
        )
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="terms")
    return tag("details", tag("summary", "why: ", short), tag("div", table, class_="wide"), class_="why")


def _bar(length: float) -> Html:
    bar = tag("rect", x=0, y=0, width=max(1.0, _BAR * length), height=_THICK, class_="bar")
    return tag("svg", bar, viewBox=f"0 0 {_BAR} {_THICK}", width=_BAR, height=_THICK, aria_hidden="true")


def _pair(each: DrillDown, pair: Pair) -> Html:
    """Which two documents changed places, and the terms that told them apart in either system."""
    listed = tag(
        "ul",
        _document("relevant", "grade yes", pair.relevant, pair.titles[0], pair.baseline_ranks[0], pair.system_ranks[0]),
        _document("its rival", "grade", pair.rival, pair.titles[1], pair.baseline_ranks[1], pair.system_ranks[1]),
    )
    tables = [
        _margins(name, terms)
        for name, terms in ((each.baseline, pair.baseline_terms), (each.system, pair.system_terms))
    ]
    return tag(
        "div", tag("h4", "These two changed places"), listed, tag("div", *tables, class_="rankings"), class_="pair"
    )


def _document(role: str, kind: str, document: str, title: str, baseline: int | None, system: int | None) -> Html:
    before, after = (f"rank {rank}" if rank else "not found" for rank in (baseline, system))
    return tag(
        "li",
        tag("span", role, class_=kind),
        tag("span", title, class_="title", dir_="auto") if title else None,
        tag("span", document, class_="id"),
        tag("span", f"{before} → {after}", class_="values"),
    )


def _margins(system: str, terms: Sequence[Margin]) -> Html:
    """Bars to the right for what spoke for the relevant document, to the left for its rival."""
    if not terms:
        return tag("p", tag("span", system, class_="name"), ": its score has no parts that are words.", class_="quiet")
    shown = [term for term in terms[:TERMS] if term.score]
    largest = max((abs(term.score) for term in shown), default=1.0)
    rows = [
        tag(
            "tr",
            tag("th", term.feature, scope="row"),
            tag("td", _diverging(term.score / largest), class_="strip"),
            tag("td", signed(term.score, 3)),
        )
        for term in shown
    ]
    total = sum(term.score for term in terms)
    rows.append(tag("tr", tag("th", "all terms", scope="row"), tag("td"), tag("td", signed(total, 3)), class_="sum"))
    caption = tag(
        "caption",
        tag("span", system, class_="name"),
        ": ◀ for the rival, for the relevant one ▶",
    )
    return tag("div", tag("table", caption, tag("tbody", *rows), class_="terms"), class_="wide")


def _diverging(length: float) -> Html:
    middle = _BAR / 2
    width = max(1.0, middle * abs(length))
    kind = "better" if length > 0 else "worse"
    bar = tag("rect", x=middle if length > 0 else middle - width, y=0, width=width, height=_THICK, class_=f"bar {kind}")
    zero = tag("line", x1=middle, x2=middle, y1=0, y2=_THICK, class_="zero")
    return tag("svg", bar, zero, viewBox=f"0 0 {_BAR} {_THICK}", width=_BAR, height=_THICK, aria_hidden="true")
