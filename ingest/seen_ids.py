"""Seen ids: which ids came before, in the same memory for any number of them.

A hash table in a temporary file without a name, kept half empty: an id costs one read and one write of some bytes that
the operating system has in its cache. An entry is the id's hash of 128 bits: among 10**9 ids the chance that any two
share one is 1.5e-21. Its first bits are the entry's place, so the file is nearly sorted, and growing is one pass over
it from begin to end.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import SourceError

_SLOT = 16  # bytes
_PROBE = 8 * _SLOT  # bytes read at once: an id's place and those after it
_EMPTY = bytes(_SLOT)
_FIRST_BITS = 16
_PASS = 2**20  # bytes of the old file that are in memory while it grows

_Entries = npt.NDArray[np.uint64]  # (n, 2): the halves of each hash, the first one first


class SeenIds:
    """A set of ids on disk; a context.

    Args:
        bits: The table begins with two to the power of so many places.

    Raises:
        SourceError: There is no place for a temporary file.
    """

    def __init__(self, bits: int = _FIRST_BITS) -> None:
        self._bits, self._count = bits, 0
        self._file = _temporary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, id_: str) -> bool:
        """Whether it is there for the first time.

        Raises:
            SourceError: The disk is full.
        """
        key = hashlib.blake2b(id_.encode(errors="surrogatepass"), digest_size=_SLOT).digest()
        place = (int.from_bytes(key[:8], "big") >> (64 - self._bits)) * _SLOT
        file = self._file.fileno()
        try:
            while True:
                found = os.pread(file, _PROBE, place)
                for start in range(0, _PROBE, _SLOT):
                    entry = found[start : start + _SLOT]
                    if entry == key:
                        return False
                    if not entry or entry == _EMPTY:  # behind the file's end there is nothing
                        os.pwrite(file, key, place + start)
                        self._count += 1
                        if self._count * 2 > 1 << self._bits:
                            self._grow()
                        return True
                place += _PROBE
        except OSError as error:
            raise SourceError(_remedy(error)) from error

    def _grow(self) -> None:
        self._bits += 1
        bigger, free = _temporary(), 0
        try:
            for entries in _in_order(self._file):
                homes = (entries[:, 0] >> np.uint64(64 - self._bits)).astype(np.int64)
                numbers = np.arange(len(homes))
                # Each at its home, or behind the one before it.
                places = np.maximum.accumulate(np.maximum(homes - numbers, free)) + numbers
                part = np.zeros((places[-1] - places[0] + 1, 2), ">u8")
                part[places - places[0]] = entries
                _write(bigger.fileno(), part.tobytes(), int(places[0]) * _SLOT)
                free = int(places[-1]) + 1
        except BaseException:
            bigger.close()
            raise
        self._file.close()
        self._file = bigger


def _in_order(file: IO[bytes]) -> Iterator[_Entries]:
    """All entries in parts, sorted. An entry stands at its home or behind it with no gap between: parts end at gaps."""
    offset, rest = 0, np.empty((0, 2), np.uint64)
    while found := os.pread(file.fileno(), _PASS, offset):
        offset += len(found)
        slots = np.concatenate([rest, np.frombuffer(found, ">u8").reshape(-1, 2).astype(np.uint64)])
        gaps = np.flatnonzero(~slots.any(axis=1))
        cut = int(gaps[-1]) if len(gaps) else 0
        yield from _sorted(slots[:cut])
        rest = slots[cut:]
    yield from _sorted(rest)


def _sorted(slots: _Entries) -> Iterator[_Entries]:
    entries = slots[slots.any(axis=1)]
    if len(entries):
        yield entries[np.argsort(entries[:, 0], kind="stable")]


def _write(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:  # a write may be cut short, most of all on a full disk
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="osplade-ids-", buffering=0)
    except OSError as error:
        raise SourceError(_remedy(error)) from error


def _remedy(error: OSError) -> str:
    return (
        f"The ids that came before cannot be kept in a temporary file ({error}; 64 bytes an id at most): make room "
        "where temporary files lie, or name another place with TMPDIR."
    )
