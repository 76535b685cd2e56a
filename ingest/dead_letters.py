"""Dead letters: documents that could not be written, kept with the reason."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from opensearch_splade.errors import SourceError
from opensearch_splade.types import Document

CAME_BEFORE = "This id came before in the same source."
"""What begins the reason that is no fault of the document: written, it would replace another."""


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


def to_record(document: Document) -> dict[str, Any]:
    """A document as a dead letter keeps it: a source takes it back as it is."""
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": dict(document.metadata),
    }


class DeadLetterFile:
    """Appends dead letters to a JSON-lines file, made with the first of them and flushed with each.

    Several threads and runs may append to one file. As a context it refuses at once a place that cannot be written: the
    first dead letter may come after hours.

    Args:
        path: The file. An existing one is continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._stream: BinaryIO | None = None
        self._lock = threading.Lock()

    def add(self, letter: DeadLetter) -> None:
        """Keeps one.

        Raises:
            SourceError: The file cannot be written.
        """
        # Not orjson: a dead letter may hold just what orjson refuses, such as half a surrogate pair.
        fields = {"id": letter.id, "place": letter.place, "reason": letter.reason, "record": letter.record}
        line = json.dumps(fields, default=str).encode() + b"\n"
        with self._lock:
            try:
                self._stream = self._stream or self._open()
                self._stream.write(line)
                self._stream.flush()
            except OSError as error:
                raise SourceError(f"The dead letters cannot be written to {self.path}: {error.strerror}.") from error
            self.count += 1

    def _open(self) -> BinaryIO:
        while True:
            stream = self.path.open("ab")
            fcntl.flock(stream, fcntl.LOCK_SH)  # waits for a run that retries this very file
            with suppress(FileNotFoundError):  # which it rewrote or removed meanwhile
                if os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    return stream
            stream.close()

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
