"""Reports as text: what stands in them, that nothing of a user's becomes markup, and where plots put things."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from math import log2

import pytest
import sample_evaluation as sample
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.evaluation.drill_down import changed_places, drill_down, extremes
from opensearch_splade.evaluation.markup import escaped, tag
from opensearch_splade.evaluation.plot import HEIGHT, WIDTH, Axis, Point, decimals, frontier, scatter
from opensearch_splade.evaluation.report import render_html
from opensearch_splade.evaluation.report_markdown import escape, render_markdown
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.summary import caveats, p_value, signed, verdict
from opensearch_splade.types import Contribution, Hit

VOID = {"meta", "wbr"}


class Elements(HTMLParser):
    """Names of all elements, attributes, and whether each that was opened is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opened."""
        self.names.append(tag)
        self.attributes += attrs
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        """Closed, in order."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data


def whole(evaluation: Evaluation) -> str:
    """With all that a report can have."""
    return render_html(evaluation, sample.drill_downs(evaluation), [("tiny", sample.curve())], date="today")


def test_the_page_says_what_was_measured() -> None:
    """Collection, judges, date, every system with every measure, marks, notes and what was tuned on what."""
    evaluation = sample.evaluation()
    page = Elements(whole(evaluation))
    assert page.open == []
    for system in evaluation.systems:
        assert all(f"{value:.4f}" in page.text for value in system.measures.values())
    for words in ("sample, test", "60, by people", "today", "All made up.", "bm25+knn was tuned on sample/train."):
        assert words in page.text
    assert "other-engine.run has the highest nDCG@10" in page.text


def test_the_page_loads_nothing() -> None:
    """No element, attribute or rule that fetches: the policy would stop it, and there is nothing to stop."""
    html = whole(sample.evaluation())
    page = Elements(html)
    assert not {"link", "img", "iframe", "object", "embed", "audio", "video", "base", "form"} & set(page.names)
    assert not [(name, value) for name, value in page.attributes if name in {"src", "style"} or name.startswith("on")]
    assert {value[0] for name, value in page.attributes if name == "href" and value} == {"#"}
    assert not re.search(r"url\(|@import|https?:", html)
    [policy] = [value for name, value in page.attributes if name == "content" and value and "default-src" in value]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.parametrize(
    "text", ["</script><b>", "<b>&amp;", '" onload="x', "' x='", "]]>", "<!--", "a\x00b\ud800", "\u202ertl"]
)
def test_no_text_becomes_markup(text: str) -> None:
    """A report whose every text is hostile has the same elements and attributes as a harmless one, and is UTF-8."""
    evaluation = sample.evaluation()
    names = [f"{name}{text}" for name in sample.NAMES]
    hostile = sample.evaluation(names, collection=text)
    hostile = replace(hostile, split=text, index=text, server=text, notes=[text], judged_by=text)
    hostile = replace(hostile, queries=dict.fromkeys(evaluation.queries, text))
    calm = replace(evaluation, judged_by="somebody")
    ours, theirs = Elements(whole(calm)), Elements(whole(hostile))
    assert theirs.names == ours.names
    assert [name for name, _ in theirs.attributes] == [name for name, _ in ours.attributes]
    whole(hostile).encode()


@given(st.text(st.characters(exclude_categories=[])))
def test_escaped_text_is_one_text(text: str) -> None:
    """Whatever the text: the element's content and its attribute are text, and UTF-8 can write them."""
    html = tag("p", text, title=text)
    html.encode()
    page = Elements(html)
    assert page.names == ["p"]
    assert [name for name, _ in page.attributes] == ["title"]
    assert page.open == []
    assert escaped(escaped(text)) == escaped(text), "what is HTML already is not escaped twice"


def test_a_single_system_needs_no_comparison() -> None:
    """No baseline, no forest, no scatter of one point; no empty section."""
    alone = sample.evaluation(names=["bm25"])
    page = Elements(render_html(replace(alone, notes=())))
    assert page.names.count("h2") == 2, "systems and questions"
    assert "baseline" not in render_markdown(alone)
    assert verdict(alone) == f"bm25 has nDCG@10 {alone.systems[0].measures['nDCG@10']:.4f}."


def test_the_verdict_is_honest() -> None:
    """It says where the best is the baseline, where the difference may be chance, and where nothing was tested."""
    evaluation = sample.evaluation()
    unsure = [replace(each, p_adjusted=0.4) for each in evaluation.comparisons]
    assert verdict(replace(evaluation, comparisons=unsure)).endswith("p = 0.4000 by Holm). That may be chance.")
    assert verdict(replace(evaluation, comparisons=())).endswith("Whether that is chance was not tested.")
    best_first = replace(evaluation, systems=[evaluation.systems[-1], *evaluation.systems[:-1]], comparisons=())
    assert verdict(best_first).startswith("No system has a higher nDCG@10 than other-engine.run")


def test_judgements_that_are_no_peoples_are_named_as_such() -> None:
    """A reader must not take pseudo-queries for judgements."""
    made = replace(sample.evaluation(), judged_by="pseudo-queries")
    assert any("pseudo-queries made of the documents" in note for note in caveats(made))
    assert "pseudo-queries made of the documents" in render_markdown(made)


def test_markdown_is_a_table_that_reads_as_text() -> None:
    """Columns stand under one another; the best are bold; marks are explained."""
    text = render_markdown(sample.evaluation())
    table = text.split("\n\n")[2].splitlines()
    assert len({len(line) for line in table}) == 1
    assert "| **other-engine.run**    | **0.7084** ▲ |" in table[-1]
    assert "▲ better, ▼ worse than bm25" in text


def test_names_cannot_break_a_markdown_table() -> None:
    """As many cells as a harmless table has; no HTML, link, code or new line."""
    hostile = sample.evaluation([f"{name}|x\n# <b>`[a](http://x)`**" for name in sample.NAMES])
    calm = render_markdown(sample.evaluation()).splitlines()
    lines = render_markdown(hostile).splitlines()
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert cells == [line.count("|") for line in calm]
    assert not re.search(r"(?<!\\)(<(?! )|[`\[])", "\n".join(lines))


@pytest.mark.parametrize(("text", "expected"), [("# x", r"\# x"), ("p < 0.05", "p < 0.05"), ("a\\|", r"a\\\|")])
def test_escaping_leaves_what_means_nothing(text: str, expected: str) -> None:
    """Prose stays readable in a terminal."""
    assert escape(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.05, "+0.0500"), (-0.05, "−0.0500"), (-0.00001, "0.0000"), (0.0, "0.0000")]
)
def test_signs(value: float, expected: str) -> None:
    """What rounds to nothing is neither better nor worse."""
    assert signed(value) == expected


def test_small_p_values_are_not_zero() -> None:
    """A permutation test never shows p = 0."""
    assert (p_value(0.00001), p_value(0.0312)) == ("< 0.0001", "= 0.0312")


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0, 1)), min_size=1, max_size=14), st.booleans())
def test_every_point_is_within_the_plot(values: list[tuple[float, float]], log: bool) -> None:
    """Marks and ticks stand inside, for equal values and for values orders of magnitude apart; ticks are few."""
    across = Axis.around([x for x, _ in values], 60, 700, log=log)
    assert all(60 <= across.place(x) <= 700 for x, _ in values)
    ticks = across.ticks()
    assert ticks == sorted(ticks)
    assert 1 <= len(ticks) <= 22
    points = [Point(x, y, f"system {number}") for number, (x, y) in enumerate(values)]
    drawn = scatter(points, x="ms", y="nDCG", title="t", log=log)
    for name, limit in (("cx", WIDTH), ("cy", HEIGHT)):
        places = [float(found) for found in re.findall(rf' {name}="([^"]+)"', drawn)]
        assert len(places) == len(points)
        assert all(0 <= place <= limit for place in places)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_the_frontier_is_what_none_beats(values: list[tuple[int, int]]) -> None:
    """By definition: a place is on it if and only if no other is as far left and higher, or further left as high."""
    points = [Point(x, y) for x, y in values]
    beaten = {
        (one.x, one.y)
        for one in points
        for other in points
        if (other.x <= one.x and other.y > one.y) or (other.x < one.x and other.y >= one.y)
    }
    assert {(point.x, point.y) for point in frontier(points)} == {(x, y) for x, y in values} - beaten


def test_labels_hide_neither_points_nor_each_other() -> None:
    """Ten systems close together, as hybrids are."""
    points = [Point(10 + number % 3, 0.7 + number / 500, f"bm25+neural-sparse+knn {number}") for number in range(10)]
    drawn = scatter(points, x="ms", y="nDCG@10", title="t")
    width = len(points[0].label) * 6.5
    shift = {"start": 0.0, "middle": width / 2, "end": width}
    found = re.findall(r'<text x="([^"]+)" y="([^"]+)" text-anchor="(\w+)" class="label plain">', drawn)
    labels = [(float(x) - shift[anchor], float(y)) for x, y, anchor in found]
    assert len(labels) == 10
    for number, (x, y) in enumerate(labels):
        assert 0 <= x <= x + width <= WIDTH
        for other_x, other_y in labels[:number]:
            assert abs(x - other_x) >= width or abs(y - other_y) >= 14


def test_the_documents_that_changed_places_are_those_that_matter_most() -> None:
    """Of all pairs in the right order here and in the wrong one there, the one with the largest change of discounts."""
    grades = {"r": 1, "s": 1}
    right, wrong = ["r", "x", "s", "y"], ["x", "r", "y", "s"]
    # r and x swap the ranks 1 and 2, s and y the ranks 3 and 4.
    assert 1 - 1 / log2(3) > 1 / log2(4) - 1 / log2(5)
    assert changed_places(right, wrong, grades, won=True) == ("r", "x")
    assert changed_places(wrong, right, grades, won=False) == ("r", "x")
    assert changed_places(right, right, grades, won=True) is None
    assert changed_places(["r"], ["x"], grades, won=True) == ("r", "x"), "what is not found is below all"
    assert changed_places(["r"], ["s"], {"r": 2, "s": 1}, won=True) == ("r", "s"), (
        "the higher grade is the relevant one"
    )


def system(name: str, run: dict[str, dict[str, float]], values: dict[str, float]) -> SystemResult:
    """With one measure."""
    return SystemResult(name, name, run, {"nDCG@10": values})


def test_extremes_are_ordered_and_never_ties() -> None:
    """Winners best first, losers worst first; who neither wins nor loses is not shown."""
    base = system("base", {}, dict.fromkeys("abcde", 0.5))
    other = system("other", {}, {"a": 0.6, "b": 0.9, "c": 0.5, "d": 0.1, "e": 0.4})
    assert extremes(other, base, "nDCG@10", 2) == ["b", "a", "d", "e"]
    assert extremes(other, base, "nDCG@10", 1) == ["b", "d"]
    assert extremes(base, base, "nDCG@10", 3) == []


def test_terms_are_those_of_the_two_documents_and_imported_runs_have_none() -> None:
    """The margin of a feature is what it gave the relevant document less what it gave its rival; the largest first."""
    runs = {"base": {"1": {"x": 2.0, "r": 1.0}}, "other": {"1": {"r": 2.0, "x": 1.0}}}
    values = {"base": {"1": 0.63}, "other": {"1": 1.0}}
    systems = [system(name, runs[name], values[name]) for name in runs]
    evaluation = Evaluation("c", "test", "people", "", "", {"1": "a question"}, {"1": {"r": 1}}, systems)
    parts = {
        "r": [Contribution("both", 2.0, 1.0), Contribution("only", 1.0, 1.5)],
        "x": [Contribution("both", 2.0, 0.25)],
    }
    asked: list[tuple[str, int, tuple[str, ...]]] = []

    def ask(text: str, size: int, ids: object) -> list[Hit]:
        assert isinstance(ids, tuple)
        asked.append((text, size, ids))
        return [Hit(document, 1.0, "title", "text", why=why) for document, why in parts.items()]

    [found] = drill_down(evaluation, {"other": ask})
    assert asked == [("a question", 5, ()), ("a question", 2, ("r", "x"))]
    assert found.pair is not None
    assert (found.pair.relevant, found.pair.rival) == ("r", "x")
    assert (found.pair.system_ranks, found.pair.baseline_ranks) == ((1, 2), (2, 1))
    assert [(term.feature, term.score) for term in found.pair.system_terms] == [("both", 1.5), ("only", 1.5)]
    assert found.pair.baseline_terms == []
    assert [(hit.id, hit.rank, hit.grade) for hit in found.baseline_hits] == [("x", 1, None), ("r", 2, 1)]


@given(st.floats(-0.3, 0.3), st.floats(0.001, 0.5))
def test_no_two_ticks_of_a_linear_axis_read_the_same(low: float, width: float) -> None:
    """However narrow: differences of a thousandth have ticks with three decimals."""
    ticks = Axis(low, low + width, 0, 400).ticks(5)
    assert len({signed(value, decimals(ticks)) for value in ticks}) == len(ticks)
