"""Three nodes that are one cluster, on this machine: each has a folder, ports and half a gigabyte of heap."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from opensearch_splade.plugin import node
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.node_config import Additions, free_port
from opensearch_splade.plugin.node_process import started_at
from opensearch_splade.plugin.node_state import LocalNode, running_node
from opensearch_splade.plugin.node_versions import VERSIONS

NAMES = ("one", "two", "three")
_BARE = replace(VERSIONS, plugins=())
"""Without plugins three of them start in half the time."""


class ThreeNodes:
    """The cluster.

    Args:
        folder: One that every user can reach.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._http: dict[str, int] = {}
        self._transport: dict[str, int] = {}
        for name in NAMES:
            self._http[name] = free_port(max(self._http.values(), default=9499) + 1)
            self._transport[name] = free_port(max(self._transport.values(), default=9449) + 1)

    @property
    def url(self) -> str:
        """All three."""
        return "http://" + ",".join(f"127.0.0.1:{self._http[name]}" for name in NAMES)

    def start(self, name: str) -> LocalNode:
        """Starts a node, for the first time or with the data that it had, and waits until it has joined."""
        settings = {
            "cluster.name": "opensearch-splade-three",
            "node.name": name,
            "transport.port": self._transport[name],
            "discovery.type": None,
            "discovery.seed_hosts": [f"127.0.0.1:{port}" for port in self._transport.values()],
            "cluster.initial_cluster_manager_nodes": list(NAMES),
        }
        home = self._folder / name
        return node.start(home, heap="512m", port=self._http[name], versions=_BARE, additions=Additions(settings))

    def kill(self, name: str) -> None:
        """As a power cut does."""
        running = running_node(self._folder / name)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        while started_at(running.pid) == running.started:
            time.sleep(0.05)

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """It takes connections and answers none."""
        running = running_node(self._folder / name)
        assert running is not None
        os.kill(running.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(running.pid, signal.SIGCONT)

    def wait_until_whole(self, seconds: float = 120) -> None:
        """All three are there, and so is every copy of every shard."""
        deadline = time.monotonic() + seconds
        with connect(self.url) as client:
            while (health := client.cluster.health())["status"] != "green" or health["number_of_nodes"] < len(NAMES):
                assert time.monotonic() < deadline, health
                time.sleep(0.25)


@contextmanager
def three_nodes(folder: Path) -> Iterator[ThreeNodes]:
    """A whole cluster; its processes and data are gone in the end."""
    cluster = ThreeNodes(folder)
    try:
        # At once: a cluster begins when two of its three nodes have found each other.
        with ThreadPoolExecutor(len(NAMES)) as pool:
            list(pool.map(cluster.start, NAMES))
        cluster.wait_until_whole()
        yield cluster
    finally:
        for name in NAMES:
            node.stop(folder / name, purge=True)
