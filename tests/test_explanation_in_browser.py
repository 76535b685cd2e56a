"""The explanation page in a real browser: no complaint, no request, and hostile texts stay text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Page, browser

from opensearch_splade.cli.explaining import Marked
from opensearch_splade.cli.explanation_page import explanation_page
from opensearch_splade.query import Highlight, SearchResult
from opensearch_splade.types import Contribution, Hit, LegScore

HOSTILE = '</style></title>"><script>window.owned = 1</script><img src=x onerror="window.owned = 1">'
QUESTION = "vitamin d and bone density"
TEXT = "Vitamin D keeps bones: in 2,686 people, density at the hip rose by 1.2 % in five years."

TOLD = (
    QUESTION,
    "hybrid, 3 hits, 7 ms",
    "a notice about",
    "1. Vitamin D and hips",
    "0.5 × 0.6 = 0.3 (34%); alone 1.7, inner product 0.7000",
    "boost metadata.host=docs.python.org",
    "0.1 × 1 = 0.1 (11%)",
    "geometric mean",
    "exp((0.25 × ln 0.6 + 0.25 × ln 1) / (0.25 + 0.25)) = 0.774597",
    "and 11 more",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the module."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def hits() -> list[Hit]:
    """One by a sum of three rankings with a boost, one by a mean of two, one by a single ranking."""
    words = [Contribution("vitamin", 2.1, 3.4), Contribution("density", 1.2, 2.0)]
    words += [Contribution(f"word{place}", 0.5, 1 / place) for place in range(1, 30)]
    sparse = sum(part.score for part in words)
    legs = [
        LegScore("bm25", 9.5, 0.91, 0.25, [Contribution("vitamin", 2.5, 3.8)]),
        LegScore("neural-sparse", sparse, 1.0, 0.25, words),
        LegScore("knn", 1.7, 0.6, 0.5),
    ]
    boost = Contribution("metadata.host=docs.python.org", 0.1, 1.0)
    first = Hit("4983", 0.8775, "Vitamin D and hips", TEXT, legs=legs, boosts=[boost])
    second = Hit("12", 0.774597, "", "Bones.", legs=[replace(legs[0], normalised=0.6), replace(legs[1], weight=0.25)])
    return [first, replace(second, combination="geometric_mean"), Hit("7", sparse, "One", TEXT, legs=[alone(words)])]


def alone(words: Sequence[Contribution]) -> LegScore:
    """A ranking asked alone."""
    score = sum(part.score for part in words)
    return LegScore("neural-sparse", score, score, 1.0, words)


def written(path: Path, found: Sequence[Hit], texts: Sequence[Marked], question: str = QUESTION) -> Path:
    """The page as a file."""
    result = SearchResult(tuple(found), 7, {}, (f"a notice about {question}",))
    path.write_text(explanation_page(question, "hybrid", result, texts), encoding="utf-8")
    return path


def marked(hit: Hit) -> Marked:
    """Its first word marked."""
    return Marked(hit.text, [Highlight(0, 7, 0.4), Highlight(16, 21, 0.06)], list(hit.legs[0].why))


def test_the_page_tells_the_arithmetic_of_every_hit(tmp_path: Path) -> None:
    """Of sums each summand, of a mean its formula, of a boost its own line; no browser needed for that."""
    path = written(tmp_path / "why.html", hits(), [marked(hit) for hit in hits()])
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(path.read_text(encoding="utf-8"))
    assert not [text for text in TOLD if not any(text in found for found in texts)]


@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_offline_and_shows_what_it_tells(page: Page, tmp_path: Path, dark: bool) -> None:
    """No error or warning in the console, no request but its own, and the arithmetic of every hit in words."""
    path = written(tmp_path / "why.html", hits(), [marked(hit) for hit in hits()])
    page.open(path, dark=dark)
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    shown = page.value("document.body.innerText")
    assert not [text for text in TOLD if text not in shown]
    assert page.value("[...document.querySelectorAll('mark')].map(one => one.textContent)")[:2] == ["Vitamin", "bones"]
    paper = page.value("getComputedStyle(document.documentElement).colorScheme")
    assert paper == "light dark"
    assert page.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_bars_are_as_long_as_shares(page: Page, tmp_path: Path) -> None:
    """The strongest part has the longest bar, and no bar is longer than the whole."""
    page.open(written(tmp_path / "why.html", hits(), [marked(hit) for hit in hits()]))
    width = "getBoundingClientRect().width"
    widths = page.value(f"[...document.querySelectorAll('article:last-child rect')].map(one => one.{width})")
    assert widths == sorted(widths, reverse=True)
    assert 0 < widths[0] <= page.value(f"document.querySelector('article:last-child svg').{width}")


def test_hostile_texts_do_nothing(page: Page, tmp_path: Path) -> None:
    """Questions, ids, titles, texts, features, boosts and notices that are scripts stay text."""
    part = Contribution(HOSTILE, 1.0, 1.0)
    hit = Hit(HOSTILE, 2.0, HOSTILE, HOSTILE, legs=[LegScore(HOSTILE, 1.0, 1.0, 1.0, [part])], boosts=[part])
    text = Marked(HOSTILE, [Highlight(3, 30, 0.5)], [part])
    page.open(written(tmp_path / "hostile.html", [hit], [text], HOSTILE))
    assert page.complaints == []
    assert len(page.requests) == 1
    assert page.value("typeof window.owned") == "undefined"
    assert page.value("document.querySelectorAll('img, script').length") == 0
    assert page.value("document.title").endswith(HOSTILE)
    assert page.value("document.querySelector('.text').textContent") == HOSTILE


def test_a_long_word_does_not_push_the_page_wide(page: Page, tmp_path: Path) -> None:
    """A feature or an id as long as a line is broken, on a screen of any width."""
    long = "x" * 400
    part = Contribution(long, 1.0, 1.0)
    hit = Hit(long, 1.0, long, long, legs=[LegScore("neural-sparse", 1.0, 1.0, 1.0, [part])])
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    try:
        page.open(written(tmp_path / "long.html", [hit], [Marked(long, [], [part])], long))
        assert page.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")
