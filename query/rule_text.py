"""Rules as text: ``KIND:VALUE``, several with a comma between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Collection


def values_by_kind(text: str, kinds: Collection[str], refused: str) -> dict[str, str]:
    """The value of each kind that is there.

    Args:
        text: What stands there.
        kinds: Those that there are.
        refused: What to say of a text that is none.

    Raises:
        QueryError: A kind is unknown or stands there twice.
    """
    found: dict[str, str] = {}
    for rule in text.split(","):
        kind, _, value = rule.strip().partition(":")
        if kind not in kinds or kind in found:
            raise QueryError(refused)
        found[kind] = value
    return found
