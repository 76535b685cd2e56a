"""Page: one HTML file that needs nothing else and asks for nothing, whatever stands in it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from opensearch_splade.evaluation.markup import Html, raw, tag


def page(title: str, main: Html, footer: Html, style: Html, script: Html) -> str:
    """The whole file, light or dark as the reader has it.

    Its policy allows its own style sheet and script alone: what a user wrote could not run even as markup.

    Args:
        title: Of the window.
        main: The element.
        footer: The element.
        style: Ours, as ``own_asset`` reads it.
        script: The same.
    """
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    head = [
        raw('<meta charset="utf-8">'),
        _meta(http_equiv="Content-Security-Policy", content=policy),
        _meta(name="viewport", content="width=device-width, initial-scale=1"),
        _meta(name="color-scheme", content="light dark"),
        _meta(name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", style),
    ]
    whole = tag("html", tag("head", *head), tag("body", main, footer, tag("script", script)), lang="en")
    return f"<!doctype html>\n{whole}\n"


def own_asset(name: str, package: str = "opensearch_splade.evaluation") -> Html:
    """A style sheet or script that lies beside the modules."""
    return raw(files(package).joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """As a content security policy names an inline style or script."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _meta(**attributes: str) -> Html:
    return raw(tag("meta", **attributes).removesuffix("</meta>"))
