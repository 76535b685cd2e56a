"""Dead letters: documents that could not be written, kept with the reason."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

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

    Several threads and runs may append to one file. Each letter is one write, so that no two mix; half a letter, which
    a full disk or a kill may leave, is ended before the next. As a context it refuses at once a place that cannot be
    written: the first dead letter may come after hours.

    Args:
        path: The file. An existing one is continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._stream: FileIO | None = None
        self._lock = threading.Lock()
        self._is_torn = False

    def add(self, letter: DeadLetter) -> None:
        """Keeps one.

        Raises:
            SourceError: The file cannot be written.
        """
        line = _line(letter)
        with self._lock:
            try:
                self._stream = self._stream or self._open()
                self._write(self._stream, line)
            except OSError as error:
                raise SourceError(
                    f"The dead letters cannot be written to {self.path}: {error.strerror}. Make room there, or name "
                    "another file with --dead-letters, and run the same command again."
                ) from error
            self.count += 1

    def _write(self, stream: FileIO, line: bytes) -> None:
        rest = memoryview(b"\n" + line if self._is_torn else line)
        while rest:  # only a full disk takes a part, and refuses the next
            rest = rest[stream.write(rest) :]
            self._is_torn = bool(rest)

    def _open(self) -> FileIO:
        while True:
            stream = self.path.open("ab", buffering=0)
            fcntl.flock(stream, fcntl.LOCK_SH)  # waits for a run that retries this very file
            with suppress(FileNotFoundError):  # which it rewrote or removed meanwhile
                if os.path.samestat(os.fstat(stream.fileno()), self.path.stat()):
                    self._is_torn = _is_torn(self.path)
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


def _is_torn(path: Path) -> bool:
    """Whether a file ends within a line. Not asked of a pipe or a device, or where nothing may be read."""
    if not (path.is_file() and path.stat().st_size and os.access(path, os.R_OK)):
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"


def _line(letter: DeadLetter) -> bytes:
    fields = {"id": letter.id, "place": letter.place, "reason": letter.reason, "record": letter.record}
    try:
        # Not orjson at first: a dead letter may hold just what orjson refuses, such as half a surrogate pair.
        return json.dumps(fields, default=str, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        pass
    with suppress(TypeError):
        return orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE)  # NaN becomes null
    record, members = letter.record, dict[str, str]()
    if isinstance(record, Mapping):
        members = {_shown(key): _shown(value) for key, value in record.items()}
    return json.dumps({**fields, "record": members or _shown(record)}).encode() + b"\n"


def _shown(value: Any) -> str:
    """A value that JSON has no words for: for the eye."""
    try:
        return value if isinstance(value, str) else ascii(value)
    except RecursionError:
        return f"({type(value).__name__}, nested too deeply)"
