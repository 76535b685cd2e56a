"""Documents of the source as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opensearch_splade.index_meta import IndexMeta, KeptMeta
from opensearch_splade.migration.target import OUR_FIELDS
from opensearch_splade.types import Document, Json


def documents(hits: Iterable[Json], kept: KeptMeta | None, *, in_place: bool = False) -> Iterator[Document]:
    """One document for each hit.

    Args:
        hits: With ``_source``, and in place with sequence number and primary term.
        kept: How text is read; ``None`` for documents that this package wrote itself.
        in_place: Whether they are written back to where they come from, if nobody else writes them meanwhile.
    """
    for hit in hits:
        version = (hit["_seq_no"], hit["_primary_term"]) if in_place else None
        source, routing = hit["_source"], str(hit.get("_routing", ""))
        if kept is None:
            text, title, metadata = source.get("text", ""), source.get("title", ""), source.get("metadata", {})
            yield Document(hit["_id"], text, title, metadata, routing, version)
        else:
            title, text = kept.read(source)
            yield Document(hit["_id"], text, title, theirs(source, kept), routing, version)


def theirs(source: Json, kept: KeptMeta) -> Json:
    """A document without our fields."""
    ours = {IndexMeta(kept=kept).name(field) for field in OUR_FIELDS}
    return {name: value for name, value in source.items() if name not in ours}
