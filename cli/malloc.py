"""malloc: settings of glibc's that keep a long run's memory where it was after the first minute."""

from __future__ import annotations

import ctypes
import os
import sys

_SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 2),  # M_ARENA_MAX
    "MALLOC_MMAP_THRESHOLD_": (-3, 1_000_000),  # M_MMAP_THRESHOLD, bytes
    "MALLOC_TRIM_THRESHOLD_": (-1, 131_072),  # M_TRIM_THRESHOLD: glibc's own, which imports have raised before us
}
"""The variable by which a user sets it himself, its number in <malloc.h>, and ours."""


def settle_malloc() -> None:
    """Sets what the user did not set; nothing with other libraries. Call it before threads are made.

    Arenas: by default there are eight a core, and what one thread frees another cannot use, which an ingest pays for:
    in it documents go from thread to thread. Threshold: larger pieces, such as bulk requests, are pages of their own
    that go back when they are freed. By default it grows with each such piece that is freed, up to 32 MB, and twice as
    much may lie unused at the end of the heap; pieces below it leave holes among small ones.
    """
    if not sys.platform.startswith("linux"):
        return
    for variable, (parameter, value) in _SETTINGS.items():
        if variable in os.environ:
            continue
        try:
            ctypes.CDLL(None).mallopt(parameter, value)
        except (OSError, AttributeError):  # musl has nothing of the kind
            return
