"""Which node to use: the one that is named, the one that runs, one in Docker, or one made from zips."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import MissingExtraError, NodeError
from opensearch_splade.plugin import node
from opensearch_splade.plugin.client import connect, server_info, wait_until_ready
from opensearch_splade.plugin.node_config import HOST, free_port
from opensearch_splade.plugin.node_versions import VERSIONS, NodeVersions

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

DOCKER_READY_WITHIN = 240.0  # seconds, after the image is there


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node that answers.

    Attributes:
        url: Where it listens (with user and password, if the given URL had them).
        how: ``given`` by the caller, found ``running``, or started now, in ``docker`` or as a ``local`` process.
    """

    url: str
    how: Literal["given", "running", "docker", "local"]


def ensure_node(
    url: str | None = None,
    *,
    docker: bool = False,
    insecure: bool = False,
    home: Path | None = None,
    heap: str = "1g",
    versions: NodeVersions = VERSIONS,
    console: Console = node.QUIET,
) -> RunningNode:
    """A node that answers, in this order: the given URL, the running local node, Docker if asked for, a local start.

    A local node outlives this process; a Docker container ends with it.

    Args:
        url: A cluster; by default ``OPENSEARCH_URL``.
        docker: Start a container rather than a local process.
        insecure: Do not verify the given cluster's certificate.
        home: Folder of a local node that has to be started, by default the user's own.
        heap: Java heap of a node that has to be started.
        versions: What a local node that has to be started is made of.
        console: Where progress is shown.

    Raises:
        ClusterError: The given cluster does not answer.
        NodeError: None can be started.
    """
    if given := url or os.environ.get("OPENSEARCH_URL"):
        with connect(given, insecure=insecure) as client:
            server_info(client)
        return RunningNode(given, "given")
    for folder in dict.fromkeys((None, home)):
        if node.running_node(folder):
            # It may still be starting: start() waits.
            return RunningNode(node.start(folder, console=console).url, "running")
    if docker:
        return RunningNode(_start_container(heap, console), "docker")
    return RunningNode(node.start(home, heap=heap, versions=versions, console=console).url, "local")


def _start_container(heap: str, console: Console) -> str:
    try:
        from docker.errors import DockerException
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise MissingExtraError(error.name or "testcontainers", "docker") from error
    # Its helper container listens on all interfaces; atexit does the same work here.
    testcontainers_config.ryuk_disabled = True
    port = free_port(node.PREFERRED_PORT)
    try:
        container = DockerContainer(VERSIONS.image).with_envs(
            **{"discovery.type": "single-node", "cluster.routing.allocation.disk.threshold_enabled": "false"},
            DISABLE_SECURITY_PLUGIN="true",
            DISABLE_INSTALL_DEMO_CONFIG="true",
            OPENSEARCH_JAVA_OPTS=f"-Xms{heap} -Xmx{heap}",
        )
        # A plain number would be published on every interface.
        container.ports["9200/tcp"] = (HOST, port)
        atexit.register(container.stop)
        with console.status(f"starting {VERSIONS.image} in Docker ..."):
            container.start()
            _wait(container, f"http://{HOST}:{port}")
    except DockerException as error:
        msg = f"no container of {VERSIONS.image} can be started: {error}. Is Docker running? A local node needs none"
        raise NodeError(msg) from error
    return f"http://{HOST}:{port}"


def _wait(container: object, url: str) -> None:
    wrapped = container.get_wrapped_container()  # type: ignore[attr-defined]

    def require_alive() -> None:
        wrapped.reload()
        if wrapped.status not in {"created", "running"}:
            log = wrapped.logs(tail=25).decode(errors="replace")
            msg = f"the container of {VERSIONS.image} ended while it started. The end of its log:\n{log}"
            raise NodeError(msg)

    with connect(url) as client:
        wait_until_ready(client, DOCKER_READY_WITHIN, require_alive)
