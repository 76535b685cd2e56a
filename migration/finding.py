"""Finding: what a plan says about one thing that may go wrong, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Severity = Literal["stop", "warn", "note"]
"""``stop``: it would fail or do harm. ``warn``: look at it first. ``note``: good to know."""


class Finding(NamedTuple):
    """One finding.

    Attributes:
        severity: See ``Severity``.
        what: Is the case.
        remedy: What to do about it; empty where nothing need be done.
    """

    severity: Severity
    what: str
    remedy: str = ""


def many(number: int, one: str, more: str = "") -> str:
    """``1 document``, ``2,000 documents``."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def few(found: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def stop(what: str, remedy: str = "") -> Finding:
    """It would fail or do harm."""
    return Finding("stop", what, remedy)


def warn(what: str, remedy: str = "") -> Finding:
    """To be looked at first."""
    return Finding("warn", what, remedy)


def note(what: str, remedy: str = "") -> Finding:
    """Good to know."""
    return Finding("note", what, remedy)
