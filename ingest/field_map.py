"""Field map: which fields of a record are its id, title and text, and which others are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from opensearch_splade.errors import OspladeError


@dataclass(frozen=True, slots=True)
class FieldMap:
    """How a record becomes a document.

    Attributes:
        id: The field that names the document; by default ``_id``, else ``id``. Without a value the content's hash does.
        title: The field of the title.
        texts: The fields of the text, joined by a blank line.
        keep: The fields that pass through as metadata; ``None`` for all that have no other part. A field ``metadata``
            that holds an object stands for its members.
        spoken: The fields (``a.b`` for the member ``b`` of ``a``) that a passage is made of.
        read: The only fields that need to be read; ``None`` for all.

    Raises:
        OspladeError: No text field is named, or a field has two parts.
    """

    id: str | None = None
    title: str = "title"
    texts: tuple[str, ...] = ("text",)
    keep: tuple[str, ...] | None = None
    spoken: tuple[str, ...] = field(init=False, compare=False, repr=False)
    read: tuple[str, ...] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        parts = [*self.texts, self.title, *([self.id] if self.id else [])]
        if not self.texts:
            raise OspladeError("No text field is named: give --text-field.")
        if twice := next((part for part in parts if parts.count(part) > 1), None):
            raise OspladeError(
                f"The field {twice!r} is named twice: --id-field, --title-field and --text-field take a field each."
            )
        object.__setattr__(self, "spoken", (*self.texts, self.title))
        object.__setattr__(self, "read", self._read())

    def _read(self) -> tuple[str, ...] | None:
        if self.keep is None:
            return None
        ids = (self.id,) if self.id else ("_id", "id")
        return tuple(dict.fromkeys((*ids, *self.spoken, *self.keep, "metadata")))

    def matters(self, field: str) -> bool:
        """Whether a document is made with this field."""
        return self.read is None or any(read == field or read.startswith(f"{field}.") for read in self.read)
