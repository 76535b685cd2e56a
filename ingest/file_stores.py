"""File stores: the local disk, and whatever fsspec reaches (s3://, gs://, az://, memory:// …), asked alike."""

from __future__ import annotations

import glob
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from opensearch_splade.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class FileStore(Protocol):
    """Where files lie. Paths are those that it gave or was made with."""

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        ...

    def children(self, folder: str) -> list[str]:
        """Files of a folder, not those of its folders."""
        ...

    def matches(self, pattern: str) -> list[str]:
        """Files that a glob pattern stands for; ``**`` stands for folders at any depth."""
        ...

    def size(self, path: str) -> int:
        """A file's bytes, 0 where they cannot be known before it is read.

        Raises:
            SourceError: The file cannot be looked up.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """A file's bytes; can be read from any place.

        Raises:
            OSError: It cannot be read, now or later.
        """
        ...


class LocalDisk:
    """Files of this machine."""

    def is_file(self, path: str) -> bool:
        """Whether there is such a file; named pipes are some too."""
        return Path(path).exists() and not Path(path).is_dir()

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        return Path(path).is_dir()

    def children(self, folder: str) -> list[str]:
        """Files of a folder, not those of its folders."""
        return [str(path) for path in Path(folder).iterdir() if path.is_file()]

    def matches(self, pattern: str) -> list[str]:
        """Files that a glob pattern stands for."""
        return [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]  # noqa: PTH207 - gives the paths as they were written

    def size(self, path: str) -> int:
        """A file's bytes; none of a pipe."""
        try:
            return Path(path).stat().st_size
        except OSError as error:
            raise SourceError(f"{path} cannot be looked up: {error.strerror}.") from error

    def open(self, path: str) -> BinaryIO:
        """A file's bytes."""
        return Path(path).open("rb")


class RemoteStore:
    """Files behind a URL, by fsspec. Its backends raise errors of their own; here each is an ``OSError``.

    Args:
        url: Any URL of the store.

    Raises:
        MissingExtraError: fsspec is not installed.
        SourceError: fsspec does not know the protocol, its driver is not installed, or it cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtraError("fsspec", "remote") from error
        self._protocol = url[: cast("re.Match[str]", _REMOTE.match(url)).end()]
        try:
            self._files, _ = fsspec.core.url_to_fs(url)
        except Exception as error:  # whatever a driver raises when it is made
            raise SourceError(f"{self._protocol}… cannot be opened: {error}") from error

    def is_file(self, path: str) -> bool:
        """Whether there is such a file."""
        return bool(self._asked(self._files.isfile, path))

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        return bool(self._asked(self._files.isdir, path))

    def children(self, folder: str) -> list[str]:
        """Files of a folder, not those of its folders."""
        entries = self._asked(self._files.ls, folder, detail=True)
        return [self._files.unstrip_protocol(entry["name"]) for entry in entries if entry["type"] == "file"]

    def matches(self, pattern: str) -> list[str]:
        """Files that a glob pattern stands for."""
        found = self._asked(self._files.glob, pattern, detail=True)
        return [self._files.unstrip_protocol(path) for path, entry in found.items() if entry["type"] == "file"]

    def size(self, path: str) -> int:
        """A file's bytes, from what the store told when it was listed."""
        return int(self._asked(self._files.size, path) or 0)

    def open(self, path: str) -> BinaryIO:
        """A file's bytes."""
        return io.BufferedReader(_RemoteFile(_translated(self._files.open, path, "rb")))

    def _asked(self, question: Callable[..., Any], path: str, **more: Any) -> Any:
        try:
            return _translated(question, path, **more)
        except FileNotFoundError:
            return {} if question == self._files.glob else []
        except OSError as error:
            raise SourceError(f"{path} cannot be looked up: {error}. Are the store's credentials set?") from error


class _RemoteFile(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        read: bytes = _translated(self._file.read, len(target))
        target[: len(read)] = read
        return len(read)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(_translated(self._file.seek, offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _translated(call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    try:
        return call(*arguments, **more)
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def store_of(path: str) -> FileStore:
    """The store that a path belongs to.

    Raises:
        MissingExtraError: It is a URL and fsspec is not installed.
        SourceError: The URL's store cannot be opened.
    """
    return RemoteStore(path) if _REMOTE.match(path) else LocalDisk()
