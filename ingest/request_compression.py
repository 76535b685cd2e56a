"""Request compression: gzip where it pays.

Over a loopback device it never does: compressing a document takes longer than handing it over. On a network nobody can
say beforehand, so some requests are sent either way in turn, and the way that took less time per byte, compressing
included, is kept and tried again later.
"""

from __future__ import annotations

import gzip
import threading
from statistics import median
from typing import Literal, get_args

CompressionMode = Literal["auto", "always", "never"]
COMPRESSION_MODES: tuple[CompressionMode, ...] = get_args(CompressionMode)
_LEVEL = 1
"""Of gzip. Documents with features shrink to 1/2.7 at 135 MB/s; level 6 gives 1/3.1 at 37, level 9 1/3.2 at 18."""
_TRIALS = 8
"""Requests sent either way before deciding."""
_WORTH = 0.9
"""Compressed requests must take at most so much of the time: they take the encoder's cores as well."""
_AGAIN = 400
"""Requests after which it is tried again."""


class RequestCompression:
    """Decides for each request. Safe to call from several threads.

    Args:
        mode: ``auto`` tries it out.
        loopback: Whether the cluster is on this machine; ``auto`` is ``never`` then.
    """

    def __init__(self, mode: CompressionMode = "never", *, loopback: bool = False) -> None:
        self._tries = mode == "auto" and not loopback
        self._kept = mode == "always"
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._asked = self._settled = 0
        self._times: dict[bool, list[float]] = {False: [], True: []}

    @property
    def kept(self) -> bool:
        """The way of requests while nothing is tried out."""
        return self._kept

    def wanted(self) -> bool:
        """Whether the next request goes compressed."""
        with self._lock:
            self._asked += 1
            trying = self._tries and not self._settled
            return bool(self._asked % 2) if trying else self._kept

    def took(self, size: int, seconds: float, *, compressed: bool) -> None:
        """A request of so many bytes before compression was acknowledged; ``seconds`` include compressing."""
        if not self._tries:
            return
        with self._lock:
            if self._settled:
                self._settled += 1
                if self._settled > _AGAIN:
                    self._begin()
                return
            self._times[compressed].append(seconds / size)
            if min(map(len, self._times.values())) >= _TRIALS:
                self._kept = median(self._times[True]) <= _WORTH * median(self._times[False])
                self._settled = 1


def compress(body: bytes) -> bytes:
    """As ``Content-Encoding: gzip`` wants it."""
    return gzip.compress(body, _LEVEL, mtime=0)
