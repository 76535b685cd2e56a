"""malloc: fewer arenas, so that a long run's memory stays where it was after the first minute."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8  # of <malloc.h>
_ARENAS = 2


def limit_arenas() -> None:
    """Lets all threads share two of glibc's arenas, unless the user chose a number; nothing with other libraries.

    By default there are eight a core, and what one thread frees another cannot use, which an ingest pays for: in it
    documents go from thread to thread. Call it before threads are made.
    """
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (OSError, AttributeError):  # musl has neither arenas nor this
        return
