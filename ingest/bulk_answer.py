"""Bulk answer: what the cluster says of each document of a request, and why it refuses one.

The server answers in the order of the request. That is not relied on: an answer is matched by id, so that no document
is taken for another, and one that is short, long or of other documents is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensearchpy.exceptions import TransportError


def outcomes(answer: Any, ids: Sequence[str]) -> list[dict[str, Any]] | None:
    """What an answer says of each document, in their order; ``None`` if it does not speak of these and only these."""
    items = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(items, list) or len(items) != len(ids):
        return None
    given = [
        item.get("index") or item.get("create") or item.get("delete") if isinstance(item, dict) else None
        for item in items
    ]
    by_id = {one.get("_id"): one for one in given if isinstance(one, dict) and isinstance(one.get("status"), int)}
    return [by_id[id_] for id_ in ids] if by_id.keys() >= set(ids) else None


def reason_of(status: int, error: Any) -> str:
    """The server's own words, the innermost cause last."""
    if not isinstance(error, dict):
        return f"{status} {error or ''}".strip()
    reasons = [f"{status} {error.get('type', '')}: {error.get('reason', '')}"]
    while isinstance(error := error.get("caused_by"), dict):
        reasons.append(str(error.get("reason", "")))
    return "; ".join(reasons)


def told(error: TransportError) -> str:
    """The same of a request that was refused as a whole."""
    status, info = int(error.status_code), error.info
    return reason_of(status, info.get("error") if isinstance(info, dict) else error.error)
