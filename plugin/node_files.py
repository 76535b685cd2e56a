"""OpenSearch and its plugins on disk: fetched by coordinates, checked against pinned digests, installed in one step.

An installation appears under its final name only when it is whole; what an interrupted run left is swept away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from opensearch_splade.errors import MissingExtraError, NodeError
from opensearch_splade.plugin.node_java import JavaRuntime
from opensearch_splade.plugin.node_places import cache_dir, exclusive, make_folder, open_to_all, require_reachable
from opensearch_splade.plugin.node_versions import VERSIONS, NodeVersions, PinnedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

ATTEMPTS = 3
_SCRATCH = ".unfinished-"


def installation(java: JavaRuntime, console: Console, versions: NodeVersions = VERSIONS) -> Path:
    """The folder of the installed server, made on the first call (180 MB are fetched, once).

    Raises:
        NodeError: A zip cannot be fetched, is not the pinned one, or cannot be installed.
        MissingExtraError: jgo, which fetches the zips, is not installed.
    """
    cache = make_folder(cache_dir())
    require_reachable(cache, "OPENSEARCH_SPLADE_CACHE")
    target = cache / versions.folder
    if target.exists():
        return target  # without the lock: a cache shared with other users may be read-only
    with exclusive(cache / "install.lock"):
        if not target.exists():
            for leftover in cache.glob(f"{_SCRATCH}*"):
                shutil.rmtree(leftover)
            downloads = make_folder(cache / "downloads")
            zips = [fetched(pinned, downloads, console) for pinned in (versions.distribution, *versions.plugins)]
            with console.status(f"installing OpenSearch {versions.opensearch} ..."), _scratch(cache) as scratch:
                _extract(zips[0], scratch)
                whole = scratch / f"opensearch-{versions.opensearch}"
                if versions.plugins:
                    _install_plugins(whole, zips[1:], java)
                open_to_all(whole)
                whole.rename(target)
    return target


def thai_rules(console: Console) -> list[str]:
    """Java options that let a cut-down runtime split Thai into words, by the ICU library.

    OpenSearch builds its Thai analyzer for every index, whatever the index holds; without word rules for Thai every
    index creation fails (`Failed to build analyzers: [thai]`).

    Raises:
        NodeError: A jar cannot be fetched or is not the pinned one.
    """
    cache = make_folder(cache_dir())
    with exclusive(cache / "install.lock"):
        downloads = make_folder(cache / "downloads")
        jars = [fetched(pinned, downloads, console) for pinned in VERSIONS.thai_rules]
    # Java's own data first: ICU serves what Java lacks and changes no date or number format.
    return [f"-Xbootclasspath/a:{os.pathsep.join(map(str, jars))}", "-Djava.locale.providers=CLDR,SPI"]


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
        yield Path(scratch)


def fetched(pinned: PinnedFile, folder: Path, console: Console) -> Path:
    """The zip on disk, checked. One that lies there is taken: machines without a network are filled by hand."""
    path = folder / pinned.filename
    if not path.exists():
        with _scratch(folder.parent) as scratch:
            got = _download(pinned, scratch, console)
            _require_digest(got, pinned, "what was downloaded is not what was pinned: try again, or look at the mirror")
            got.chmod(0o644)
            got.rename(path)
    else:
        _require_digest(path, pinned, "delete it and start again")
    return path


def _download(pinned: PinnedFile, scratch: Path, console: Console) -> Path:
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
        from requests import RequestException
    except ImportError as error:
        raise MissingExtraError(error.name or "jgo", "node") from error
    group, artifact, packaging, version = pinned.coordinates.split(":")
    resolver = PythonResolver(progress_callback=_progress(console))
    mirrors: dict[str, str] | None = GlobalSettings.load().repositories or None
    reason = ""
    for attempt in range(ATTEMPTS):
        # A folder for each attempt: jgo takes a half-written file for a finished one.
        context = MavenContext(resolver, repo_cache=scratch / str(attempt), remote_repos=mirrors, timeout=60)
        try:
            path: Path = context.project(group, artifact).at_version(version).artifact(packaging=packaging).resolve()
        except (RequestException, RuntimeError, OSError) as error:
            reason = str(error)
        else:
            return path
    msg = (
        f"{pinned.coordinates} cannot be downloaded: {reason}. Behind a mirror, name it under [repositories] in "
        f"jgo's settings file; without a network, put {pinned.filename} into {scratch.parent / 'downloads'}"
    )
    raise NodeError(msg)


def _progress(console: Console) -> Callable[[str, int], Any]:
    """What jgo reports progress to: a bar on a terminal, one line elsewhere."""

    @contextmanager
    def bar(filename: str, total: int) -> Iterator[Callable[[int], None]]:
        if not console.is_terminal:
            console.print(f"downloading {filename} ({total / 1e6:.0f} MB)")
            yield lambda _: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(filename, total=total)
            yield lambda count: progress.update(task, advance=count)

    return bar


def _require_digest(path: Path, pinned: PinnedFile, remedy: str) -> None:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != pinned.sha256:
        msg = (
            f"{path}: wrong checksum for {pinned.coordinates}: sha256 is {digest} ({path.stat().st_size} bytes), "
            f"expected {pinned.sha256} ({pinned.bytes} bytes); {remedy}"
        )
        raise NodeError(msg)


def require_safe(archive: zipfile.ZipFile) -> None:
    """Refuse an archive with an entry that would be written outside the folder it is extracted to.

    Raises:
        NodeError: An entry is absolute, climbs with ``..``, or is a symbolic link.
    """
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(entry.external_attr >> 16):
            msg = f"{archive.filename}: entry {entry.filename!r} leads outside the target folder; nothing was extracted"
            raise NodeError(msg)


def _extract(zipped: Path, folder: Path) -> None:
    with zipfile.ZipFile(zipped) as archive:
        require_safe(archive)
        archive.extractall(folder)
    # zipfile drops the Unix modes.
    for script in folder.glob("*/bin/opensearch*"):
        script.chmod(0o755)


def _install_plugins(server: Path, zips: list[Path], java: JavaRuntime) -> None:
    """OpenSearch's own installer checks versions, dependencies between plugins, and clashing jars."""
    for zipped in zips:
        with zipfile.ZipFile(zipped) as archive:
            require_safe(archive)
    done = subprocess.run(  # noqa: S603
        [server / "bin" / "opensearch-plugin", "install", "--batch", *(zipped.as_uri() for zipped in zips)],
        # Nothing of the caller's OPENSEARCH_* variables: they would point the installer at another configuration.
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "OPENSEARCH_JAVA_HOME": str(java.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        msg = f"the plugins cannot be installed with Java {java.major} ({java.home}):\n{done.stdout}{done.stderr}"
        raise NodeError(msg.rstrip())
