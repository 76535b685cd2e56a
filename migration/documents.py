"""Documents of the source as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.target import OUR_FIELDS
from opensearch_splade.migration.vectors import WithVector, vector_at
from opensearch_splade.types import Document, Json


def documents(
    hits: Iterable[Json],
    kept: KeptMeta | None,
    *,
    in_place: bool = False,
    vectors: str = "",
    drop: Sequence[str] = (),
) -> Iterator[Document]:
    """One document for each hit.

    Args:
        hits: With ``_source``, and in place with sequence number and primary term.
        kept: How text is read; ``None`` for documents that this package wrote itself.
        in_place: Whether they are written back to where they come from, if nobody else writes them meanwhile.
        vectors: The field of sparse vectors that they bring along, if they do.
        drop: Fields (``a.b`` for the member ``b`` of ``a``) that they come without.
    """
    for hit in hits:
        version = (hit["_seq_no"], hit["_primary_term"]) if in_place else None
        source, routing = hit["_source"], str(hit.get("_routing", ""))
        if kept is None:
            text, title, metadata = source.get("text", ""), source.get("title", ""), source.get("metadata", {})
        else:
            title, text = kept.read(source)
            metadata = theirs(source, kept)
        for path in drop:
            metadata = without(metadata, path)
        if vectors:
            yield WithVector(hit["_id"], text, title, metadata, routing, version, vector_at(source, vectors))
        else:
            yield Document(hit["_id"], text, title, metadata, routing, version)


def theirs(source: Json, kept: KeptMeta) -> Json:
    """A document without our fields."""
    ours = {IndexMeta(kept=kept).name(field) for field in OUR_FIELDS}
    return {name: value for name, value in source.items() if name not in ours}


def without(value: Any, path: str) -> Any:
    """The same without the member at ``a.b``; of lists, in each of their objects."""
    if isinstance(value, list):
        return [without(one, path) for one in value]
    if not isinstance(value, dict):
        return value
    head, _, rest = path.partition(".")
    rest_of = {name: inner for name, inner in value.items() if name != path and (rest or name != head)}
    if rest and head in rest_of:
        rest_of[head] = without(rest_of[head], rest)
    return rest_of
