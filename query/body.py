"""The search body: what ``_search`` is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from opensearch_splade.types import Json

MAX_RESULT_WINDOW = 10_000
"""Default of ``index.max_result_window``: hits further down need a point in time and ``search_after``."""


def search_body(
    query: Json, *, size: int = 10, start: int = 0, search_pipeline: Json | None = None, sparse: bool = False
) -> Json:
    """Wrap a query for ``_search``.

    Vectors are as large as the text's postings, so hits come without them. Totals are not counted, which lets Lucene
    skip documents that cannot reach the top.

    Args:
        query: A query object.
        size: Hits to return.
        start: Hits to skip before them.
        search_pipeline: A pipeline that travels in the body and overrides the index's default one.
        sparse: Return the hits' sparse vectors too, for explanations.

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
        "_source": {"excludes": ["dense"] if sparse else ["sparse", "dense"]},
        "track_total_hits": False,
    }
    if start:
        body["from"] = start
    if search_pipeline is not None:
        body["search_pipeline"] = search_pipeline
    return body
