"""Dead letters: documents that could not be written, kept with the reason."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from opensearch_splade.errors import SourceError


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One document that was left out.

    Attributes:
        place: Where it came from, ``file:line`` where there is one.
        reason: Why, in a sentence.
        record: What was read: a JSON object, or the raw line where it is none.
        id: Its id where known.
    """

    place: str
    reason: str
    record: Any
    id: str | None = None


class DeadLetterFile:
    """Appends dead letters to a JSON-lines file, made with the first of them and flushed with each.

    As a context it refuses at once a place that cannot be written: the first dead letter may come after hours.

    Args:
        path: The file. An existing one is continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._stream: BinaryIO | None = None

    def add(self, letter: DeadLetter) -> None:
        """Keeps one.

        Raises:
            SourceError: The file cannot be written.
        """
        # Not orjson: a dead letter may hold just what orjson refuses, such as half a surrogate pair.
        fields = {"id": letter.id, "place": letter.place, "reason": letter.reason, "record": letter.record}
        line = json.dumps(fields, default=str).encode() + b"\n"
        try:
            if self._stream is None:
                self._stream = self.path.open("ab")
            self._stream.write(line)
            self._stream.flush()
        except OSError as error:
            raise SourceError(f"The dead letters cannot be written to {self.path}: {error.strerror}.") from error
        self.count += 1

    def __enter__(self) -> Self:
        place = self.path if self.path.exists() else self.path.parent
        if not os.access(place, os.W_OK):
            raise SourceError(
                f"Dead letters could not be written to {self.path}, so nothing was begun; name another file with "
                "--dead-letters."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
