"""What an index says of documents that it keeps as others wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class KeptMeta:
    """Of an index that keeps documents as others wrote them: what their text is, and what our fields are called there.

    Attributes:
        texts: Their fields of text (``a.b`` for the member ``b`` of ``a``), in the order that a passage has them in.
        title: Their field of the title; empty where they have none.
        names: Our field to what it is called where documents have a field of that name, e.g. ``id`` to ``osplade_id``.
    """

    texts: tuple[str, ...]
    title: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(self.texts))  # JSON gives lists

    @property
    def spoken(self) -> tuple[str, ...]:
        """All fields of text, the title first."""
        return (self.title, *self.texts) if self.title else self.texts

    def read(self, source: Mapping[str, Any]) -> tuple[str, str]:
        """Title and text of a document; of fields that hold several strings all of them."""
        texts = [text for field in self.texts for text in _strings(source, field)]
        return " ".join(_strings(source, self.title)) if self.title else "", "\n\n".join(texts)


def _strings(value: Any, path: str) -> list[str]:
    """What stands at ``a.b``: in one member, in members of members, or in each object of a list."""
    if isinstance(value, list | tuple):
        return [text for one in value for text in _strings(one, path)]
    if not path:
        return [value] if isinstance(value, str) and value.strip() else []
    if not isinstance(value, dict):
        return []
    if path in value:
        return _strings(value[path], "")
    head, _, rest = path.partition(".")
    return _strings(value.get(head), rest) if rest else []
