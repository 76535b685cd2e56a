"""Highlights: whole words, exact places, and nothing that a text says becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.cli.explaining import Marked
from opensearch_splade.cli.explanation_page import explanation_page
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.query import SearchResult, highlights
from opensearch_splade.types import Contribution, Hit, LegScore

ENCODER = SparseEncoder.load("splade-tiny-idf")


def marked(text: str, *features: str) -> tuple[list[str], list[str]]:
    """Marked words, and the features without one."""
    why = [Contribution(feature, 1.0, 1.0) for feature in features]
    words, rest = highlights(text, ENCODER.places(text), why)
    return [text[word.start : word.end] for word in words], [one.feature for one in rest]


def test_a_word_is_marked_by_any_of_its_pieces() -> None:
    """Word pieces mark their word whole, each time it stands there; expansion has no place."""
    pieces = [feature for feature, _, _ in ENCODER.places("electroencephalography")]
    assert len(pieces) > 1
    text = "An Electroencephalography, then fox-electroencephalography."
    assert marked(text, pieces[-1]) == (["Electroencephalography", "electroencephalography"], [])
    assert marked(text, "fox", "animal") == (["fox"], ["animal"])


def test_shares_are_of_the_whole_score() -> None:
    """A word has what its features gave of all, with those that have no word."""
    [word], _ = highlights("a fox", ENCODER.places("a fox"), [Contribution("fox", 3, 1), Contribution("animal", 1, 1)])
    assert (word.start, word.end, word.share) == (2, 5, 0.75)


@given(st.text(max_size=60))
def test_pieces_are_the_text(text: str) -> None:
    """Whatever the text, its pieces are all of it, in order."""
    why = [Contribution(feature, 1.0, 1.0) for feature, _, _ in ENCODER.places(text)]
    found = Marked(text, *highlights(text, ENCODER.places(text), list({one.feature: one for one in why}.values())))
    assert "".join(piece for piece, _ in found.pieces) == text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Noted, with the names of its attributes."""
        self.found |= {tag, *(f"@{name}" for name, _ in attrs)}


@given(st.sampled_from(["<script>alert(1)</script>", "</style><img src=x onerror=y>", '"><b onclick=z>', "]]><!--"]))
def test_texts_cannot_become_markup(evil: str) -> None:
    """Questions, ids, titles, texts, features and notices of users add no element and no attribute to the page."""

    def page(word: str) -> set[str]:
        why = [Contribution(word, 1.0, 1.0)]
        hit = Hit(word, 1.0, word, word, legs=[LegScore("neural-sparse", 1.0, 1.0, 1.0, why)])
        text = Marked(word, *highlights(word, [(word, 0, len(word))], why))
        result = SearchResult((hit,), 1, {}, (word,))
        tags = _Tags()
        tags.feed(explanation_page(word, word, result, [text]))
        return tags.found

    assert page(evil) == page("fox")
