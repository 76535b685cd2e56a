"""One HTML page that tells what gave each hit its score. Nothing that a user or a document says can become markup."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from opensearch_splade.cli.explaining import Marked, boost_sentence, formula, leg_sentence, mean_name
from opensearch_splade.evaluation.markup import Html, joined, raw, tag
from opensearch_splade.query import SearchResult, shares
from opensearch_splade.types import Contribution, Hit, LegScore

_TERMS = 20  # rows a ranking
_BAR = 160  # pixels of the whole score
_STYLE = raw("""
:root { color-scheme: light dark; }
body { max-width: 60em; margin: 2em auto; padding: 0 1em; font: 15px/1.5 system-ui, sans-serif; }
main { overflow-wrap: anywhere; }
article { margin: 2em 0; padding-top: 1em; border-top: 1px solid #8886; }
h2, h3 { margin: .6em 0 .2em; font-size: 1.1em; } h3 { font-size: 1em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 1px 10px 1px 0; text-align: right; font-weight: 400; }
th[scope=row] { text-align: left; font-family: ui-monospace, monospace; } rect { fill: #0072b2; }
.text { white-space: pre-wrap; } .quiet { opacity: .7; }
mark { color: inherit; border-radius: 2px; background: #0072b222; }
mark.some { background: #0072b255; } mark.much { background: #0072b288; }
""")


def explanation_page(question: str, mode: str, result: SearchResult, texts: Sequence[Marked]) -> str:
    """A page that loads nothing and runs nothing.

    Args:
        question: As it was asked.
        mode: The same.
        result: Of a search that was asked to explain.
        texts: Of each hit, with its words marked.
    """
    policy = f"default-src 'none'; style-src {_hash(_STYLE)}; base-uri 'none'; form-action 'none'"
    head = [
        raw('<meta charset="utf-8">'),
        raw(tag("meta", http_equiv="Content-Security-Policy", content=policy).removesuffix("</meta>")),
        tag("title", f"Why these hits: {question}"),
        tag("style", _STYLE),
    ]
    notices = tag("ul", *(tag("li", notice) for notice in result.notices)) if result.notices else None
    found = f"{mode}, {len(result.hits)} hits, {result.took_ms} ms"
    hits = [_hit(*each) for each in enumerate(zip(result.hits, texts, strict=True), start=1)]
    body = tag("main", tag("h1", question, dir_="auto"), tag("p", found, class_="quiet"), notices, *hits)
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', body), lang='en')}\n"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _hit(rank: int, each: tuple[Hit, Marked]) -> Html:
    hit, text = each
    pieces = (_piece(*piece) for piece in text.pieces)
    return tag(
        "article",
        tag("h2", f"{rank}. {hit.title or hit.id}", dir_="auto"),
        tag("p", f"{hit.id}, score {hit.score:.6g}", class_="quiet"),
        *(_leg(leg, hit) for leg in hit.legs),
        _sum(mean_name(hit), formula(hit)),
        *(_sum(f"boost {boost.feature}", boost_sentence(boost, hit)) for boost in hit.boosts),
        tag("p", *pieces, class_="text", dir_="auto"),
        _elsewhere(text),
    )


def _piece(text: str, share: float) -> object:
    if not share:
        return text
    return tag("mark", text, class_="much" if share >= 0.2 else "some" if share >= 0.05 else None, title=f"{share:.1%}")


def _elsewhere(text: Marked) -> Html | None:
    names = ", ".join(one.feature for one in text.elsewhere)
    return tag("p", "Carried by no word of its own: ", names, class_="quiet") if names else None


def _sum(name: str, sentence: str) -> Html | None:
    return joined([tag("h3", name), tag("p", sentence)]) if sentence else None


def _leg(leg: LegScore, hit: Hit) -> Html:
    told = zip(leg.why[:_TERMS], shares(leg.why), strict=False)
    rest = f"and {len(leg.why) - _TERMS} more" if len(leg.why) > _TERMS else None
    return joined(
        [
            tag("h3", leg.leg),
            tag("p", leg_sentence(leg, hit)),
            tag("table", *(_row(*one) for one in told)) if leg.why else None,
            tag("p", rest, class_="quiet") if rest else None,
        ]
    )


def _row(one: Contribution, share: float) -> Html:
    bar = tag("svg", tag("rect", width=_BAR * share, height=10), width=_BAR, height=10, aria_hidden="true")
    cells = [f"{one.query_weight:.4g} × {one.stored_weight:.4g}", f"{one.score:.4g}", f"{share:.1%}", bar]
    name = f"+{one.feature}" if one.added else one.feature
    return tag(
        "tr",
        tag("th", name, scope="row", title="added by feedback" if one.added else None),
        *(tag("td", cell) for cell in cells),
    )
