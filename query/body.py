"""The search body: what ``_search`` is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.types import Json

MAX_RESULT_WINDOW = 10_000
"""Default of ``index.max_result_window``: hits further down need a point in time and ``search_after``."""


Returned = Literal["text", "text and weights"]

_SOURCE: dict[Returned, Json] = {
    "text": {"_source": {"excludes": ["sparse", "dense", "passages.sparse"]}},
    "text and weights": {"_source": {"excludes": ["dense"]}},
}


def search_body(
    query: Json,
    *,
    size: int = 10,
    start: int = 0,
    search_pipeline: Json | str | None = None,
    returned: Returned = "text",
) -> Json:
    """Wrap a query for ``_search``.

    Vectors are as large as the text's postings, so hits come without them. Totals are not counted, which lets Lucene
    skip documents that cannot reach the top.

    Args:
        query: A query object.
        size: Hits to return.
        start: Hits to skip before them.
        search_pipeline: A pipeline that travels in the body, or the name of a stored one; it overrides the index's
            default one.
        returned: What comes with each hit: its text, or also its stored weights, for explanations.

    Raises:
        QueryError: The page lies outside the result window.
    """
    if size < 1 or start < 0 or start + size > MAX_RESULT_WINDOW:
        raise QueryError(
            f"size {size} from {start} on is outside the result window: size is at least 1 and both together at "
            f"most {MAX_RESULT_WINDOW:,} (index.max_result_window)"
        )
    body: Json = {
        "size": size,
        "query": query,
        **_SOURCE[returned],
        "track_total_hits": False,
    }
    if start:
        body["from"] = start
    if search_pipeline is not None:
        body["search_pipeline"] = search_pipeline
    return body


def ranking_only(body: Json) -> Json:
    """The same search without anything of the documents but id and fingerprints, both from the doc values.

    On one shard a hybrid opens the stored documents of all its candidates before it fuses them, ``pagination_depth`` of
    them, vectors and all; this spares that (38 against 3 ms for 200 candidates, OpenSearch 3.6.0). Pages are cut by the
    caller: hits up to the page's end come, because a hybrid fails where a page begins beyond its last hit.
    """
    kept = {key: value for key, value in body.items() if key not in {"_source", "from"}}
    size = body["size"] + body.get("from", 0)
    return {**kept, "size": size, "stored_fields": "_none_", "docvalue_fields": ["id", "encoded", "number"]}


def documents_body(places: Sequence[tuple[str, str]], returned: Returned) -> Json:
    """The ``_mget`` of some documents, each named by index and id: behind an alias an id may stand twice."""
    docs = [{"_index": index, "_id": identity, **_SOURCE[returned]} for index, identity in places]
    return {"docs": docs}
