"""Markup: HTML and SVG from values, so that no text can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What HTML has no place for: controls and halves of surrogate pairs, which UTF-8 cannot write either."""


class Html(str):
    """Text that is HTML already; only this module and ``raw`` make it."""

    __slots__ = ()


def raw(text: str) -> Html:
    """Our own style sheet or script, as it is. Never for anything that a user gave."""
    return Html(text)


def escaped(text: object) -> Html:
    """A text as HTML, fit for elements and quoted attributes."""
    return text if isinstance(text, Html) else Html(html.escape(_UNFIT.sub("\ufffd", str(text))))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        name: Of the element; ours, never a user's.
        children: Elements, or values that are escaped; ``None`` is left out.
        attributes: ``class_`` is written ``class``, other underscores are hyphens; ``None`` and ``False`` are left out,
            ``True`` has no value, floats have six digits.
    """
    written = "".join(map(_attribute, attributes.keys(), attributes.values()))
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """One after the other."""
    return Html("".join(escaped(child) for child in children if child is not None))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    hyphened = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {hyphened}"
    text = f"{value:.6g}" if isinstance(value, float) else value
    return f' {hyphened}="{escaped(text)}"'
