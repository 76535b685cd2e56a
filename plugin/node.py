"""A real OpenSearch node on this machine, without Docker: installed, started, found again, stopped."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from opensearchpy.exceptions import TransportError
from rich.console import Console

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin.client import connect, wait_until_ready
from opensearch_splade.plugin.node_config import NOTHING, Additions, free_port, is_free, write_config
from opensearch_splade.plugin.node_files import installation, thai_rules
from opensearch_splade.plugin.node_java import JavaRuntime, find_java
from opensearch_splade.plugin.node_places import default_home, exclusive, make_folder, require_reachable
from opensearch_splade.plugin.node_process import end, spawn, started_at
from opensearch_splade.plugin.node_state import LocalNode, running_node, save, state_file
from opensearch_splade.plugin.node_versions import VERSIONS, NodeVersions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opensearchpy import OpenSearch

__all__ = ["LocalNode", "health", "running_node", "start", "stop"]

PREFERRED_PORT = 9200
READY_WITHIN = 240.0  # seconds; 15 are usual
QUIET = Console(quiet=True)


def start(
    home: Path | None = None,
    *,
    heap: str = "1g",
    port: int | None = None,
    console: Console = QUIET,
    versions: NodeVersions = VERSIONS,
    java: JavaRuntime | None = None,
    additions: Additions = NOTHING,
    client: Callable[[str], OpenSearch] = connect,
) -> LocalNode:
    """Start the node and wait until it answers; one that runs already is left as it is and returned.

    The first start fetches and installs the server. The data of earlier starts is there again. The node outlives this
    process.

    Args:
        home: The node's folder; the user's own by default. Two folders are two nodes.
        heap: Java heap, e.g. ``512m`` or ``1g``.
        port: HTTP port on 127.0.0.1; by default the first free one from 9200 on.
        console: Where progress is shown.
        versions: What the node is made of.
        java: What runs it; by default what is found on this machine.
        additions: Settings and files of this node alone.
        client: How its URL is asked whether it is ready.

    Raises:
        NodeError: It cannot be installed, or it died (with the end of its log), or it did not answer in time.
    """
    home = make_folder((home or default_home()).absolute())
    _require_usable(home)
    with exclusive(home / "lock"):
        node = running_node(home)
        is_new = node is None
        if node is None:
            node = _launch(home, heap, port, console, versions, java or find_java(), additions)
            save(node)
        with console.status(f"waiting for OpenSearch {node.version} at {node.url} ..."):
            try:
                with client(node.url) as connected:
                    wait_until_ready(connected, READY_WITHIN, lambda: _require_alive(node))
            except NodeError:
                if is_new:
                    end(node.pid, node.started)
                raise
    return node


def stop(home: Path | None = None, *, purge: bool = False) -> LocalNode | None:
    """Stop the node and wait until it is gone. Returns what was stopped, or None where none ran.

    Args:
        home: The node's folder; the user's own by default.
        purge: Delete its data too, whether or not it ran.

    Raises:
        NodeError: The process cannot be ended.
    """
    home = (home or default_home()).absolute()
    if not home.exists():
        return None
    with exclusive(home / "lock"):
        node = running_node(home)
        if node:
            end(node.pid, node.started)
        state_file(home).unlink(missing_ok=True)
        if purge:
            shutil.rmtree(home / "data", ignore_errors=True)
    return node


def health(node: LocalNode) -> str:
    """The cluster's colour (``green``, ``yellow``, ``red``), or that it does not answer (yet)."""
    with connect(node.url, timeout=5) as client:
        try:
            return str(client.cluster.health()["status"])
        except TransportError:
            return "not answering"


def _require_usable(home: Path) -> None:
    if any(character.isspace() for character in str(home)):
        msg = f"{home}: OpenSearch cannot run in a folder with a space in its name; set OPENSEARCH_SPLADE_NODE"
        raise NodeError(msg)
    require_reachable(home, "OPENSEARCH_SPLADE_NODE")


def _launch(
    home: Path,
    heap: str,
    port: int | None,
    console: Console,
    versions: NodeVersions,
    java: JavaRuntime,
    additions: Additions,
) -> LocalNode:
    if port is not None and not is_free(port):
        msg = f"port {port} on 127.0.0.1 is taken: give another --port, or none to have a free one chosen"
        raise NodeError(msg)
    server = installation(java, console, versions)
    port = free_port(PREFERRED_PORT) if port is None else port
    more = [] if java.has_thai else thai_rules(console)
    config = write_config(home, server, java, port=port, heap=heap, more=more, additions=additions)
    # A bare environment: credentials and OPENSEARCH_* settings of the caller are none of the node's business.
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "OPENSEARCH_JAVA_HOME": str(java.home),
        "OPENSEARCH_PATH_CONF": str(config),
        "OPENSEARCH_TMPDIR": str(home / "tmp"),
    }
    pid = spawn([server / "bin" / "opensearch"], env, home / "node.log")
    node = LocalNode(home, pid, started_at(pid) or "", f"http://127.0.0.1:{port}", versions.opensearch)
    _require_alive(node)
    return node


def _require_alive(node: LocalNode) -> None:
    if not node.is_alive:
        msg = f"the OpenSearch node died while it started. The end of {node.log}:\n{_log_end(node)}"
        raise NodeError(msg)


def _log_end(node: LocalNode, lines: int = 25) -> str:
    return "\n".join(node.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
