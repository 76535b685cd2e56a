"""Compression: the bytes of a .gz or .zst file, as they were before."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from opensearch_splade.errors import MissingExtraError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSED = (".gz", ".zst")
"""Endings of compressed files."""
BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
"""What reading a damaged or unreachable file raises."""
_CHUNK = 2**16  # compressed bytes at a time


def unpacked(stream: BinaryIO, ending: str) -> BinaryIO:
    """What a compressed stream holds.

    Args:
        stream: The compressed bytes.
        ending: One of ``COMPRESSED``; any other gives the stream as it is.

    Raises:
        MissingExtraError: It is .zst and zstandard is not installed.
        Exception: One of ``BROKEN``, while it is read.
    """
    if ending == ".gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if ending == ".zst":
        return io.BufferedReader(_Zstandard(stream))
    return stream


class _Zstandard(io.RawIOBase):
    """All frames of a file. The library's own reader takes a file that is cut off for one that ends."""

    def __init__(self, stream: BinaryIO) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError("zstandard", "zstd") from error
        self._error = zstandard.ZstdError
        # Up to what `zstd --long=31` writes; the memory is taken only for a file that asks for it.
        self._decompressor: Any = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._stream = stream
        self._frame: Any = None
        self._rest = b""  # compressed bytes behind the frame
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        while not self._ready:
            chunk = self._rest or self._stream.read(_CHUNK)
            if not chunk:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return 0
            self._ready = memoryview(self._decompressed(chunk))
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decompressed(self, chunk: bytes) -> bytes:
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        try:
            found: bytes = self._frame.decompress(chunk)
        except self._error as error:
            raise OSError(str(error)) from error
        self._rest = b""
        if self._frame.eof:
            self._rest = self._frame.unused_data
            self._frame = None
        return found
