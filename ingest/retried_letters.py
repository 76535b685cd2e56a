"""Retried letters: a dead-letter file as a source, which keeps what fails again and loses what does not."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from opensearch_splade.errors import DocumentError, SourceError
from opensearch_splade.ingest.dead_letters import CAME_BEFORE, DeadLetter
from opensearch_splade.ingest.documents import PLAIN, to_document, without_duplicates
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.json_values import is_writable
from opensearch_splade.types import Document

_DOCUMENT = {"_id", "title", "text", "metadata"}
"""Fields of a letter about a document that was read and then refused."""


class RetriedLetters:
    """A dead-letter file while it is retried; as a context it holds the file, and other runs wait to append to it.

    The file is replaced in one step, by ``keep_the_rest``; until then it is as it was, whatever happens.

    Args:
        path: The file. Its records may have been mended by hand.
        fields: Which field is what in records that never became documents: they are as the source had them.
    """

    def __init__(self, path: Path, fields: FieldMap = PLAIN) -> None:
        self.path = path
        self._fields = fields
        self.draft = path.with_name(f"{path.name}.retry")
        """Where the run puts its own dead letters."""
        self._stream: BinaryIO

    def __enter__(self) -> Self:
        try:
            self._stream = self.path.open("rb")
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.draft.unlink(missing_ok=True)  # of a run that was killed
        except BlockingIOError as error:
            self._stream.close()
            raise SourceError(f"Another run writes to {self.path}: retry its letters when that run is done.") from error
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read as a file of dead letters: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draft.unlink(missing_ok=True)
        self._stream.close()

    def keep_the_rest(self) -> None:
        """Call it after a run that came to its end: what it could not write replaces what was read."""
        if self.draft.exists():
            self.draft.replace(self.path)
        else:
            self.path.unlink()

    def __len__(self) -> int:
        """Letters to retry: of several about one document the last one."""
        return len(self._last)

    def records(self) -> Iterator[Document | DeadLetter]:
        """The documents, each id once; what still is none comes as a dead letter again."""
        last = set(self._last.values())
        again = ((letter.place, _again(letter, self._fields)) for number, letter in self._letters() if number in last)
        return without_duplicates(again)

    @cached_property
    def _last(self) -> dict[str, int]:
        return {_key(letter): number for number, letter in self._letters()}

    def _letters(self) -> Iterator[tuple[int, DeadLetter]]:
        self._stream.seek(0)
        for number, line in enumerate(self._stream, start=1):
            if not line.strip():
                continue
            try:
                fields = orjson.loads(line)
                orjson.dumps(fields)  # reads deeper than it writes
                letter = DeadLetter(fields["place"], fields["reason"], fields["record"], fields["id"])
            except (ValueError, KeyError, TypeError):
                raw = line.decode(errors="backslashreplace").rstrip("\r\n")
                letter = DeadLetter(f"{self.path.name}:{number}", "The line is no dead letter.", raw)
            yield number, letter


def _key(letter: DeadLetter) -> str:
    """What tells documents apart: the id, or the content where there is none or it is another document's too."""
    if letter.id is not None and not letter.reason.startswith(CAME_BEFORE):
        return letter.id
    content = orjson.dumps([letter.id, letter.record], default=str)
    return f"\0{hashlib.blake2b(content, digest_size=16).hexdigest()}"


def _again(letter: DeadLetter, fields: FieldMap) -> Document | DeadLetter:
    record: Any = letter.record
    if isinstance(record, str):
        try:
            record = orjson.loads(record)
        except orjson.JSONDecodeError:
            return letter
        if not is_writable(record):
            return letter
    was_document = isinstance(record, dict) and record.keys() == _DOCUMENT
    try:
        document = to_document(record, PLAIN if was_document else fields)
    except DocumentError as error:
        return DeadLetter(letter.place, str(error), record, letter.id)
    if letter.reason.startswith(CAME_BEFORE) and document.id == letter.id:
        return letter  # another id is needed first
    return document
