"""The report in a real browser: it opens without a complaint, asks for nothing, and its tables sort."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sample_evaluation as sample
from browser import Page, browser

from opensearch_splade.evaluation.report import render_html

HOSTILE = '"><script>window.owned = 1</script><img src=x onerror="window.owned = 1">'
ROWS = "[...document.querySelectorAll('{} tbody tr')]"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the module."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a file."""
    evaluation = sample.evaluation()
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = render_html(evaluation, sample.drill_downs(evaluation), [("tiny", sample.curve())], date="2026-11-25")
    path.write_text(html, encoding="utf-8")
    return path


def column(page: Page, table: str, number: int) -> list[str]:
    """The texts of a column, from the top."""
    found = page.value(f"{ROWS.format(table)}.map(row => row.cells[{number}].textContent)")
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_offline_and_asks_for_nothing_but_itself(page: Page, report: Path, dark: bool) -> None:
    """No error or warning in the console, one request, every section; the paper follows the reader's scheme."""
    page.open(report, dark=dark)
    assert page.complaints == []
    assert page.requests == [report.as_uri()]
    sections = page.value("[...document.querySelectorAll('main > section')].map(one => one.id)")
    assert sections == ["systems", "differences", "latency", "size", "drill-down", "questions"]
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")
    assert page.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_its_tables_are_there_without_javascript(page: Page, report: Path) -> None:
    """What scripts add is comfort: no button or field stands there that would do nothing."""
    page.open(report, scripts=False)
    assert page.complaints == []
    assert page.value("document.querySelectorAll('button, input').length") == 0
    assert column(page, "#systems", 0)[1].startswith("neural-sparse (siamese)")
    assert len(column(page, "#questions", 0)) == 30


@pytest.mark.parametrize("number", [1, 3])
def test_a_click_sorts_by_figures_and_another_one_turns_them_round(page: Page, report: Path, number: int) -> None:
    """By value, not by text, the largest first; the header says so to screen readers; rows stay whole."""
    page.open(report)
    before = dict(zip(column(page, "#questions", 0), column(page, "#questions", number), strict=True))
    button = f"document.querySelectorAll('#questions thead button')[{number}]"
    for direction in ("descending", "ascending"):
        page.value(f"{button}.click()")
        figures = [float(text.replace("−", "-")) for text in column(page, "#questions", number)]
        assert figures == sorted(figures, reverse=direction == "descending")
        assert len(set(figures)) > 1 or number == 1
        assert page.value(f"{button}.parentElement.getAttribute('aria-sort')") == direction
    assert page.value("document.querySelectorAll('#questions [aria-sort]').length") == 1
    assert before == dict(zip(column(page, "#questions", 0), column(page, "#questions", number), strict=True))


def test_systems_without_latency_sort_below_those_with(page: Page, report: Path) -> None:
    """An imported run has none, and is neither the fastest nor between others."""
    page.open(report)
    button = "document.querySelectorAll('#systems thead button')[4]"
    page.value(f"{button}.click()")
    assert column(page, "#systems", 4) == ["9.8", "5.8", "3.4", "2.0", "–"]


def test_questions_are_found_by_their_words(page: Page, report: Path) -> None:
    """All words must be there, in any order and case."""
    page.open(report)
    page.value(
        "(i => { i.value = 'WINGS heat'; i.dispatchEvent(new Event('input')); })(document.querySelector('input'))"
    )
    shown = page.value(f"{ROWS.format('#questions')}.filter(row => !row.hidden).map(row => row.cells[0].textContent)")
    assert len(shown) == 6
    assert all("heat transfer in wings" in text for text in shown)


def test_a_link_to_a_drill_down_opens_it(page: Page, report: Path) -> None:
    """From the table of questions to what made the difference."""
    page.open(report)
    link = "document.querySelector('#questions tbody a[href=\"#drill-2\"]')"
    assert page.value("document.getElementById('drill-2').open") is False
    page.value(f"new Promise(done => {{ addEventListener('hashchange', () => setTimeout(done)); {link}.click(); }})")
    assert page.value("document.getElementById('drill-2').open") is True


def test_everything_is_open_on_paper(page: Page, report: Path) -> None:
    """What is closed cannot be opened there."""
    page.open(report)
    page.value("dispatchEvent(new Event('beforeprint'))")
    assert page.value("document.querySelectorAll('details:not([open])').length") == 0


def test_hostile_texts_do_nothing(page: Page, tmp_path: Path) -> None:
    """Names, questions and features that are scripts stay text, and the policy has nothing to stop."""
    plain = sample.evaluation()
    hostile = sample.evaluation([f"{name} {HOSTILE}" for name in sample.NAMES], collection=HOSTILE)
    hostile = replace(hostile, queries=dict.fromkeys(plain.queries, HOSTILE), notes=[HOSTILE], index=HOSTILE)
    path = tmp_path / "hostile.html"
    path.write_text(render_html(hostile, sample.drill_downs(hostile), [(HOSTILE, sample.curve())]), encoding="utf-8")
    page.open(path)
    assert page.complaints == []
    assert page.value("typeof window.owned") == "undefined"
    assert page.value("document.querySelectorAll('img, script').length") == 1, "our own script alone"
    assert HOSTILE in page.value("document.querySelector('h1').textContent")
