"""Documents of a collection that ir_datasets knows, downloaded by it when needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opensearch_splade.errors import MissingExtraError, SourceError
from opensearch_splade.ingest.documents import PLAIN, Placed, placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.rows import row_placed


def read_ir_datasets(name: str, fields: FieldMap) -> Iterator[Placed]:
    """The document or dead letter of every record.

    Raises:
        MissingExtraError: ir_datasets is not installed.
        SourceError: It knows no such documents, or cannot read them to their end.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtraError("ir_datasets", "eval") from error
    try:
        records = iter(ir_datasets.load(name).docs_iter())
    except (KeyError, AttributeError) as error:  # the second: a collection of questions only
        raise SourceError(f"ir_datasets knows no documents of {name!r}; its catalogue lists the ids.") from error
    while True:
        try:
            record = next(records, None)
        except Exception as error:  # it downloads and unpacks while it reads, and raises whatever fails
            raise SourceError(f"ir_datasets cannot read {name} to its end: {error}.") from error
        if record is None:
            return
        place = f"{name} {record.doc_id}"
        if fields == PLAIN:
            yield placed(place, _text_fields(record), fields)
        else:
            yield row_placed(place, {**record._asdict(), "_id": record.doc_id}, fields)


def _text_fields(record: Any) -> dict[str, Any]:
    if hasattr(record, "text"):
        return {"_id": record.doc_id, "title": getattr(record, "title", ""), "text": record.text}
    return {"_id": record.doc_id, "text": record.default_text()}  # which holds the title, if there is one
