"""Body diff: what the new index has that the old one has not, and the other way round."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.types import Json

_OWN = {"uuid", "creation_date", "provided_name", "version"}
"""Settings that every index has of its own."""


@dataclass(frozen=True, slots=True)
class BodyDiff:
    """Mapping and settings, old and new.

    Attributes:
        added: What is new, by its path.
        removed: What is not taken over.
        changed: What is there in both and says something else.
        kept: How much is the same.
        lines: A unified diff of both as JSON.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: int
    lines: tuple[str, ...]


def body_diff(source: SourceIndex, body: Json) -> BodyDiff:
    """Compares the old index with the body of the new one."""
    before, after = _compared(source.settings, source.mappings), _compared(body["settings"]["index"], body["mappings"])
    old, new = dict(_leaves(before)), dict(_leaves(after))
    both = old.keys() & new.keys()
    changed = sorted(path for path in both if old[path] != new[path])
    lines = difflib.unified_diff(_text(before), _text(after), source.name, "new index", n=2, lineterm="")
    return BodyDiff(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(changed),
        len(both) - len(changed),
        tuple(lines),
    )


def _compared(settings: Json, mappings: Json) -> Json:
    return {
        "settings": {"index": {name: value for name, value in settings.items() if name not in _OWN}},
        "mappings": mappings,
    }


def _text(body: Json) -> list[str]:
    """Without what the index says of itself to this package."""
    mappings = dict(body["mappings"])
    meta = {name: value for name, value in mappings.pop("_meta", {}).items() if name != "opensearch_splade"}
    body = {**body, "mappings": {**mappings, **({"_meta": meta} if meta else {})}}
    return json.dumps(_as_text(body), indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _as_text(value: Any) -> Any:
    """The cluster gives every setting as a string."""
    if isinstance(value, Mapping):
        return {name: _as_text(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(one) for one in value]
    return value if isinstance(value, str) else json.dumps(value)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else name)
    else:
        yield path, json.dumps(_as_text(value), sort_keys=True)
