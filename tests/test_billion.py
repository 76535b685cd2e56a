"""The design for a billion documents on paper: its arithmetic is what the page says."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "billion.md"


def test_the_arithmetic_of_the_page_holds() -> None:
    """Each line of its last section gives what stands below it."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried > 10
    assert not failed
