"""The report of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opensearch_splade.evaluation.drill_down import DrillDown
from opensearch_splade.evaluation.markup import Html, joined, tag
from opensearch_splade.evaluation.page import own_asset, page
from opensearch_splade.evaluation.prune_curve import Curve
from opensearch_splade.evaluation.report_drill_downs import drill_downs_section
from opensearch_splade.evaluation.report_questions import questions_table
from opensearch_splade.evaluation.report_systems import (
    forest,
    quality_against_latency,
    quality_against_size,
    systems_table,
)
from opensearch_splade.evaluation.results import Evaluation
from opensearch_splade.evaluation.summary import baseline_of, caveats, highest, primary_measure, verdict


def render_html(
    evaluation: Evaluation,
    drill_downs: Sequence[DrillDown] = (),
    curves: Sequence[Curve] = (),
    *,
    date: str = "",
) -> str:
    """One self-contained page: no network, tables that work without JavaScript, light or dark as the reader has it.

    Texts of users cannot become markup: everything is escaped, and the page's policy allows its own script alone.

    Args:
        evaluation: At least one system.
        drill_downs: Of ``drill_down``.
        curves: For each bundle its name and what ``prune_curve`` measured.
        date: When it was measured, as it shall be printed.
    """
    title = f"{evaluation.collection}, {evaluation.split}"
    sections = list(_sections(evaluation, drill_downs, curves))
    main = tag("main", _header(evaluation, title, date), _contents(sections), *(body for _, _, body in sections))
    footer = tag("footer", "Made by ", tag("code", "osplade eval"), ". This file loads nothing from elsewhere.")
    return page(f"Evaluation of {title}", main, footer, own_asset("report.css"), own_asset("report.js"))


def _header(evaluation: Evaluation, title: str, date: str) -> Html:
    judgements = sum(map(len, evaluation.qrels.values()))
    server = f"OpenSearch {evaluation.server}" if evaluation.server else ""
    facts = {
        "Questions": f"{len(evaluation.queries):,}",
        "Judgements": f"{judgements:,}, by {evaluation.judged_by}",
        "Baseline": baseline_of(evaluation).name,
        "Index": evaluation.index,
        "Server": server,
        "Measured": date,
    }
    listed = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items() if value]
    notes = [tag("li", note) for note in caveats(evaluation)]
    return tag(
        "header",
        tag("p", "Evaluation", class_="kicker"),
        tag("h1", title),
        tag("p", verdict(evaluation), class_="verdict"),
        tag("dl", *listed, class_="facts"),
        tag("aside", tag("h2", "Before you read on"), tag("ul", *notes), class_="notes") if notes else None,
    )


_Section = tuple[str, str, Html]  # id, title, all of it


def _sections(evaluation: Evaluation, drill_downs: Sequence[DrillDown], curves: Sequence[Curve]) -> Iterator[_Section]:
    measure = primary_measure(evaluation)
    yield _section("systems", "Systems", systems_table(evaluation))
    if plot := forest(evaluation, measure):
        others = [(name, forest(evaluation, name)) for name in highest(evaluation) if name != measure]
        more = [tag("details", tag("summary", f"The same for {name}"), each) for name, each in others if each]
        yield _section("differences", "Are the differences real?", plot, *more)
    if latency := quality_against_latency(evaluation):
        yield _section("latency", "Quality against latency", latency)
    if curves:
        yield _section("size", "Quality against size", quality_against_size(curves))
    if drill_downs:
        words = (
            "The questions on which a system gains or loses most, the hits of both sides, and what gave their scores: "
            "each term’s weight in the question times its weight in the document. In a hybrid that is its sparse part."
        )
        yield _section("drill-down", "What made the difference", tag("p", words), drill_downs_section(drill_downs))
    yield _section("questions", "Every question", questions_table(evaluation, drill_downs))


def _section(name: str, title: str, *body: Html) -> _Section:
    return (
        name,
        title,
        tag("section", tag("h2", title, id_=f"{name}-title"), *body, id_=name, aria_labelledby=f"{name}-title"),
    )


def _contents(sections: Sequence[_Section]) -> Html:
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in sections]
    return tag("nav", tag("ul", *links), aria_label="Contents") if len(links) > 2 else joined(())
