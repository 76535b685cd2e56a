"""Compare page: both answers side by side, for people to judge without knowing which is which; one HTML file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256

from opensearch_splade.evaluation.markup import Html, joined, raw, tag
from opensearch_splade.evaluation.page import own_asset, page
from opensearch_splade.evaluation.results import Latency
from opensearch_splade.evaluation.summary import p_value, signed
from opensearch_splade.migration.compare import MEASURE, Both, Compared, new_side, old_side
from opensearch_splade.migration.overlap import PERSISTENCE
from opensearch_splade.types import Hit

SHOWN = 50
"""Questions to judge: more than most people have patience for."""
_TEXT = 300  # characters of a hit


def render_html(compared: Compared, *, old: str, new: str, shown: int = SHOWN, seed: int = 0, date: str = "") -> str:
    """One self-contained page: no network, everything of users escaped.

    Sides change by chance from question to question. What is judged is drawn by chance among the questions that both
    answer differently, so that the tally speaks for all of these.

    Args:
        compared: At least one question.
        old: The old index' name.
        new: The new one's.
        shown: At most so many questions are there to judge; the table has all.
        seed: Of sides and of what is shown.
        date: When it was asked, as it shall be printed.
    """
    title = f"{old} and {new}"
    main = tag("main", _header(compared, title, date), _cards(compared, shown, seed), _table(compared))
    footer = tag(
        "footer", "Made by ", tag("code", "osplade migrate compare"), ". This file loads nothing from elsewhere."
    )
    package = "opensearch_splade.migration"
    style = raw(own_asset("report.css") + own_asset("compare.css", package))
    script = raw(own_asset("report.js") + own_asset("compare.js", package))
    return page(f"Comparison of {title}", main, footer, style, script)


def _header(compared: Compared, title: str, date: str) -> Html:
    asked = sum(each.question.count for each in compared.answers)
    facts = {
        "Questions": f"{len(compared.answers):,}"
        + (f", asked {asked:,} times" if asked > len(compared.answers) else ""),
        f"Of {compared.depth} hits in both": f"{compared.mean(lambda each: each.overlap):.0%}",
        f"Rank-biased overlap, p = {PERSISTENCE:g}": f"{compared.mean(lambda each: each.rbo):.3f}",
        "Old, p50 and p95": _ms(compared.latency(old_side)),
        "New, p50 and p95": _ms(compared.latency(new_side)),
        "Old asked by": compared.old_way,
        "New asked by": compared.new_way,
        "Asked": date,
    }
    listed = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items() if value]
    notes = [tag("li", note) for note in _notes(compared)]
    return tag(
        "header",
        tag("p", "Comparison", class_="kicker"),
        tag("h1", title),
        tag("p", _verdict(compared), class_="verdict"),
        tag("dl", *listed, class_="facts"),
        tag("aside", tag("h2", "Before you read on"), tag("ul", *notes), class_="notes"),
    )


def _ms(latency: Latency) -> str:
    return f"{latency.client_p50:.1f} and {latency.client_p95:.1f} ms"


def _verdict(compared: Compared) -> str:
    judged = compared.judged
    if judged is None:
        same = sum(each.rbo > 1 - 1e-9 for each in compared.answers)
        return (
            f"{same:,} of {len(compared.answers):,} questions have the same answer in both. How much differs says "
            "nothing of which is better: judge below."
        )
    found = judged.comparison
    honest = "" if found.p < 0.05 else " That may be chance."
    return (
        f"By {judged.questions:,} judged questions {MEASURE} is {judged.old:.4f} in the old index and {judged.new:.4f} "
        f"in the new one: {signed(found.difference)} (95 % interval {signed(found.low)} to {signed(found.high)}, p "
        f"{p_value(found.p)}).{honest}"
    )


def _notes(compared: Compared) -> list[str]:
    notes = [
        "Latency is of one question at a time, both indices in turn, and each question once: it says nothing of load."
    ]
    if compared.judged and any(each.question.count > 1 for each in compared.answers):
        notes.append(f"{MEASURE} counts each judged question once, however often it was asked.")
    if compared.failed:
        id_, side, reason = compared.failed[0]
        notes.append(f"Left out, since an index refused: {len(compared.failed):,}, such as {id_} ({side}: {reason})")
    return notes


def _cards(compared: Compared, shown: int, seed: int) -> Html:
    random_ = random.Random(seed)  # noqa: S311 - no secret
    differing = [each for each in compared.answers if each.old.ids != each.new.ids]
    chosen = random_.sample(differing, min(shown, len(differing)))
    words = (
        f"{len(chosen):,} of the {len(differing):,} questions that are answered differently, drawn by chance. Which "
        "index is left and which is right changes from one to the next. Titles underlined with dots are on that side "
        "only. Your judgements stay in this browser until you save them."
    )
    cards = [_card(number, each, compared.depth, turned=random_.random() < 0.5) for number, each in enumerate(chosen)]
    key = sha256(repr([(each.question, each.old.ids, each.new.ids) for each in chosen]).encode()).hexdigest()[:16]
    listed = tag("ol", *cards, class_="cards", data_key=key) if cards else None
    return tag("section", tag("h2", "Which is better?"), tag("p", words), listed, id_="judge")


def _card(number: int, each: Both, depth: int, *, turned: bool) -> Html:
    sides = [("old", each.old.hits[:depth]), ("new", each.new.hits[:depth])]
    left, right = reversed(sides) if turned else sides
    count = f"asked {each.question.count:,} times, " if each.question.count > 1 else ""
    values = f"{count}{each.overlap:.0%} in both"
    head = tag(
        "h3", tag("span", each.question.text, class_="question", dir_="auto"), tag("span", values, class_="values")
    )
    rankings = tag("div", _side("Left", *left, right[1]), _side("Right", *right, left[1]), class_="rankings")
    return tag(
        "li",
        head,
        rankings,
        class_="card",
        id_=f"card-{number}",  # ids of questions are a user's text
        data_id=each.question.id,
        data_count=each.question.count,
        data_left=left[0],
        data_right=right[0],
    )


def _side(name: str, which: str, hits: Sequence[Hit], others: Sequence[Hit]) -> Html:
    there = {hit.id for hit in others}
    title = tag("h4", tag("span", name), tag("span", f"{which} index", class_="which"))
    listed = [_hit(hit, only=hit.id not in there) for hit in hits]
    body = tag("ol", *listed, class_="hits") if listed else tag("p", "No hits.", class_="quiet")
    return tag("section", title, body, aria_label=name)


def _hit(hit: Hit, *, only: bool) -> Html:
    text = hit.text if len(hit.text) <= _TEXT else f"{hit.text[:_TEXT]} …"
    title = tag("span", hit.title or text or hit.id, class_="title", dir_="auto")
    more = tag("p", text, class_="text", dir_="auto") if hit.title and text else None
    return tag(
        "li", tag("div", title, tag("span", hit.id, class_="id"), class_="line"), more, class_="only" if only else None
    )


def _table(compared: Compared) -> Html:
    names = ("Question", "Asked", "In both", "RBO", "Old ms", "New ms")
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    ordered = sorted(compared.answers, key=lambda each: (each.rbo, each.question.text))
    rows = [
        tag(
            "tr",
            tag("th", tag("span", each.question.text, dir_="auto"), scope="row"),
            tag("td", f"{each.question.count:,}", data_value=each.question.count),
            tag("td", f"{each.overlap:.0%}", data_value=each.overlap),
            tag("td", f"{each.rbo:.3f}"),
            tag("td", f"{each.old.client_ms:.1f}"),
            tag("td", f"{each.new.client_ms:.1f}"),
        )
        for each in ordered
    ]
    caption = tag("caption", "Those whose answers differ most come first.")
    table = tag(
        "table",
        caption,
        tag("thead", head),
        tag("tbody", joined(rows)),
        class_="figures sortable",
        id_="questions-table",
    )
    return tag("section", tag("h2", "Every question"), tag("div", table, class_="wide tall"), id_="questions")
