"""Templates: the user's own search body, into which each question is put as a value, never as text of JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import QueryError
from opensearch_splade.query import check_body
from opensearch_splade.types import Json

QUERY, SPARSE, VECTOR = "{{query}}", "{{sparse}}", "{{vector}}"


@dataclass(frozen=True, slots=True)
class Template:
    """A search body with places for the question.

    ``{{query}}`` may stand within any string value. ``"{{sparse}}"`` as a whole value becomes the query object of the
    weighted clauses, ``"{{vector}}"`` the list of the dense vector's numbers.

    Attributes:
        name: The file, for messages.
        body: As it was read.
        digest: Hash of the file.
    """

    name: str
    body: Json
    digest: str

    @classmethod
    def load(cls, path: str) -> Template:
        """Reads a JSON file.

        Raises:
            QueryError: It cannot be read, is no search body or one that no server takes as it is meant
                (``check_body``), or has no place for the question.
        """
        try:
            content = Path(path).read_bytes()
            body = orjson.loads(content)
        except (OSError, ValueError) as error:
            raise QueryError(f"template {path}: {error}") from error
        if not (isinstance(body, dict) and isinstance(body.get("query"), dict)):
            raise QueryError(f'template {path}: it is no search body; write {{"query": {{…}}}}')
        try:
            check_body(body)
        except QueryError as error:
            raise QueryError(f"template {path}: {error}") from error
        template = cls(path, body, hashlib.sha256(content).hexdigest()[:16])
        if not template.places:
            raise QueryError(f"template {path} asks every question alike; put {QUERY}, {SPARSE} or {VECTOR} into it")
        return template

    @property
    def places(self) -> frozenset[str]:
        """Which places it has."""
        found: set[str] = set()

        def note(text: str) -> str:
            found.update({QUERY} if QUERY in text else {text} & {SPARSE, VECTOR})
            return text

        _walk(self.body, note)
        return frozenset(found)

    def fill(self, text: str, values: Mapping[str, Callable[[], object]]) -> Json:
        """The body for one question.

        Args:
            text: The question.
            values: What gives ``{{sparse}}`` and ``{{vector}}``, asked only where they stand.

        Raises:
            QueryError: A place stands there that nothing gives.
        """

        @cache
        def value(place: str) -> object:
            if place not in values:
                raise QueryError(
                    f"template {self.name} has {place}, and the index or the encoders have none to put there; "
                    "ingest with --bundle or --dense-bundle, or take it out"
                )
            return values[place]()

        def put(found: str) -> object:
            return value(found) if found in {SPARSE, VECTOR} else found.replace(QUERY, text)

        filled: Json = _walk(self.body, put)
        return filled


def _walk(node: Any, change: Callable[[str], object]) -> Any:
    """The same JSON with every string value changed; keys stay."""
    if isinstance(node, dict):
        return {key: _walk(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [_walk(value, change) for value in node]
    return change(node) if isinstance(node, str) else node
