"""The local node's configuration: one node, loopback only, made afresh for every start."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin.node_java import JavaRuntime
from opensearch_splade.plugin.node_places import make_owned, node_user
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Additions:
    """What one node is told beside the usual.

    Attributes:
        settings: Of ``opensearch.yml``; ``None`` takes a usual one out.
        files: Contents by path within the configuration folder.
    """

    settings: Json = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


NOTHING = Additions()


def free_port(preferred: int) -> int:
    """The first free loopback port from ``preferred`` on, among a hundred.

    Raises:
        NodeError: All are taken.
    """
    for port in range(preferred, preferred + 100):
        if is_free(port):
            return port
    msg = f"no free port on {HOST} from {preferred} to {preferred + 99}: stop something, or give --port"
    raise NodeError(msg)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As Netty does: a port whose last connections linger in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def write_config(
    home: Path,
    server: Path,
    java: JavaRuntime,
    *,
    port: int,
    heap: str,
    more: list[str],
    additions: Additions = NOTHING,
) -> Path:
    """Write the configuration folder, from the server's own, and the folders it names.

    Args:
        home: The node's folder.
        server: The installation.
        java: The runtime that will run it.
        port: HTTP port; the node takes the first free transport port from 9300 on itself.
        heap: Java heap, e.g. ``512m`` or ``1g``.
        more: Further Java options.
        additions: What this node has beside the usual.

    Raises:
        NodeError: The heap is not of that form.
    """
    if not re.fullmatch(r"[1-9]\d*[mMgG]", heap):
        msg = f"heap {heap!r}: give a number and m or g, e.g. 512m or 2g"
        raise NodeError(msg)
    config = home / "config"
    for folder in (config, home / "tmp"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(server / "config", config)
    settings: Json = {
        "cluster.name": "opensearch-splade",
        "node.name": "local",
        "path.data": str(make_owned(home / "data")),
        "path.logs": str(make_owned(home / "logs")),
        "network.host": HOST,
        "http.port": port,
        # A range: the node takes the first that is free when it binds, so two that start at once do not collide.
        "transport.port": "9300-9399",
        "discovery.type": "single-node",
        # A laptop's disk is often more than 85 % full; the watermarks would make the index read-only.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    # JSON values are YAML values, quoted where they must be.
    settings |= additions.settings
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in settings.items() if value is not None]
    (config / "opensearch.yml").write_text("".join(lines), encoding="utf-8")
    for name, content in additions.files.items():
        (config / name).write_bytes(content)
    _write_jvm_options(config / "jvm.options", java, [f"-Xms{heap}", f"-Xmx{heap}", *more])
    make_owned(home / "tmp")
    if user := node_user():
        for path in [config, *config.rglob("*")]:
            shutil.chown(path, user["user"], user["group"])
    return config


def _write_jvm_options(path: Path, java: JavaRuntime, more: list[str]) -> None:
    # The garbage collector's log and the heap dumps go to the installation, which the node's user must not write.
    unwanted = ["logs/", "HeapDump", "-Xms", "-Xmx"] + ([] if java.has_vector else ["jdk.incubator.vector"])
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not any(word in line for word in unwanted)]
    path.write_text("\n".join([*kept, *more, ""]), encoding="utf-8")
