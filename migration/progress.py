"""Progress: how far each shard was brought over, in small files that anyone may read while a worker goes on.

The ledgers know it too, but a worker holds them locked. It also locks a file beside each, so that others see it at
work; that lock ends with its process.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

_PAUSE = 1.0
"""Seconds between two notes of what is only on its way."""


class ShardProgress(BaseModel):
    """What a worker noted of one shard of the source.

    Attributes:
        position: Sequence number up to which all is in the new index.
        reading: Up to which was read.
        slowed: What held reading back then; empty if nothing did.
        at: When this was noted, in UTC.
        pid: The worker's process.
        host: Its machine.
    """

    model_config = ConfigDict(frozen=True)

    position: int
    reading: int
    slowed: str = ""
    at: datetime
    pid: int
    host: str


class ProgressFile:
    """The file of a shard. As a context it is a worker's, who notes.

    Args:
        folder: Of the ledgers.
        shard: Its number.
    """

    def __init__(self, folder: Path, shard: int) -> None:
        self._path, self._lock_path = folder / f"{shard:02}.json", folder / f"{shard:02}.lock"
        self._noted: ShardProgress | None = None

    def __enter__(self) -> Self:
        self._lock = self._lock_path.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # at once: who has the ledger is alone, but for somebody's look
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def note(self, position: int, reading: int, slowed: str = "") -> None:
        """How far it is; little news are noted once a second. A full disk is told by the ledger, not here."""
        now, before = datetime.now(UTC), self._noted
        if before and before.position == position and (now - before.at).total_seconds() < _PAUSE:
            return
        self._noted = ShardProgress(
            position=position, reading=reading, slowed=slowed, at=now, pid=os.getpid(), host=socket.gethostname()
        )
        draft = self._path.with_suffix(".tmp")
        with suppress(OSError):
            draft.write_text(self._noted.model_dump_json())
            draft.replace(self._path)

    def read(self) -> ShardProgress | None:
        """What was noted last, if anything."""
        try:
            return ShardProgress.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def is_worked_on(self) -> bool:
        """Whether a worker has it just now."""
        return is_locked(self._lock_path)


def is_locked(path: Path) -> bool:
    """Whether a process has locked a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
