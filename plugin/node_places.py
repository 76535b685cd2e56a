"""Where the local node's files lie, which user runs it, and the lock that keeps two processes from doing it at once.

OpenSearch refuses to run as root. A root process therefore starts the node as ``nobody``, and keeps everything in
folders which that user can reach (``/var/cache``, ``/var/lib``), never under root's home.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path
from platformdirs.unix import Unix

from opensearch_splade.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "opensearch-splade"


def cache_dir() -> Path:
    """Folder of what can be fetched again: zips, installations, a copied Java runtime.

    ``OPENSEARCH_SPLADE_CACHE`` overrides it.
    """
    given = os.environ.get("OPENSEARCH_SPLADE_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    return Path("/var/cache", APP) if _is_root() else user_cache_path(APP)


def default_home() -> Path:
    """Folder of the node itself: its state, configuration, logs and data, kept between starts.

    ``OPENSEARCH_SPLADE_NODE`` overrides it. The same place on Linux and macOS: macOS's own ``Application Support``
    has a space in its name, which OpenSearch's start script cannot pass on to Java.
    """
    given = os.environ.get("OPENSEARCH_SPLADE_NODE")
    if given:
        return Path(given).expanduser().absolute()
    return Path("/var/lib", APP, "node") if _is_root() else Unix(APP).user_data_path / "node"


def _is_root() -> bool:
    return os.geteuid() == 0


def node_user() -> dict[str, Any]:
    """Arguments for ``subprocess`` that make a child run as the node's user; empty unless this process is root."""
    if not _is_root():
        return {}
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        msg = "OpenSearch refuses to run as root, and this machine has no user `nobody`: run as another user"
        raise NodeError(msg) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def make_folder(folder: Path) -> Path:
    """Make a folder and its missing parents, open to the node's user where that is another one (umask or not)."""
    if folder.is_dir():
        return folder
    make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be made: {error.strerror}"
        raise NodeError(msg) from error
    if _is_root():
        folder.chmod(0o755)
    return folder


def make_owned(folder: Path) -> Path:
    """Make a folder that belongs to the node's user alone."""
    make_folder(folder)
    if user := node_user():
        os.chown(folder, user["user"], user["group"])
    folder.chmod(0o700)
    return folder


def require_reachable(folder: Path, variable: str) -> None:
    """Refuse a folder that the node's user cannot read.

    Raises:
        NodeError: with the environment variable that chooses another folder.
    """
    user = node_user()
    if user and subprocess.run(["test", "-r", folder], check=False, cwd="/", **user).returncode != 0:  # noqa: S603, S607
        msg = (
            f"{folder} cannot be read by `nobody`, the user that runs the node because OpenSearch refuses root. "
            f"Set {variable} to a folder that every user can reach, e.g. below /var/tmp"
        )
        raise NodeError(msg)


def open_to_all(folder: Path) -> None:
    """Let every user read a folder of ours: another user may have to run what lies in it."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            runnable = path.is_dir() or mode & 0o100
            path.chmod(mode | (0o555 if runnable else 0o444))


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file: other processes wait. The kernel frees it when the holder dies, however it dies."""
    make_folder(lock.parent)
    try:
        handle = lock.open("w")
    except OSError as error:
        msg = f"{lock} cannot be written: {error.strerror}"
        raise NodeError(msg) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
