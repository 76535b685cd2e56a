"""Which node is chosen, and what is said when none can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opensearch_splade.errors import ClusterError, NodeError
from opensearch_splade.plugin.client import server_info
from opensearch_splade.plugin.launcher import RunningNode, ensure_node
from opensearch_splade.plugin.node_process import started_at
from opensearch_splade.plugin.node_state import LocalNode, save

if TYPE_CHECKING:
    from pathlib import Path

    from opensearchpy import OpenSearch

CLOSED = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _nothing_is_set(open_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No URL in the environment, a node folder of the test's own, and no Docker engine."""
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(open_folder / request.node.name))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")


def _pretend_running(home: Path, url: str) -> None:
    """A state file of a process that lives: this one. The node behind the URL is real."""
    home.mkdir()
    pid, start = _this_process()
    save(LocalNode(home, pid, start, url, "3.6.0"))


def _this_process() -> tuple[int, str]:
    import os

    start = started_at(os.getpid())
    assert start is not None
    return os.getpid(), start


@pytest.mark.server
def test_a_given_url_comes_first(node: RunningNode, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument beats ``OPENSEARCH_URL``, which beats a running local node."""
    home = open_folder / "pretended"
    _pretend_running(home, CLOSED)
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(home))
    monkeypatch.setenv("OPENSEARCH_URL", CLOSED)
    assert ensure_node(node.url, docker=True) == RunningNode(node.url, "given")
    monkeypatch.setenv("OPENSEARCH_URL", node.url)
    assert ensure_node(docker=True) == RunningNode(node.url, "given")


@pytest.mark.server
def test_a_running_node_comes_before_docker(node: RunningNode, open_folder: Path) -> None:
    """What runs is used, in the user's folder or in the one that was named, before anything is started."""
    home = open_folder / "running"
    _pretend_running(home, node.url)
    assert ensure_node(docker=True, home=home) == RunningNode(node.url, "running")


def test_a_given_url_that_does_not_answer_is_an_error() -> None:
    """No other node is started in place of the one that was named."""
    with pytest.raises(ClusterError, match=r"127.0.0.1:1 cannot be reached"):
        ensure_node(CLOSED)


def test_docker_without_an_engine_is_told() -> None:
    """Who asks for Docker gets Docker or a clear error, never silently something else."""
    pytest.importorskip("testcontainers", reason="needs the [docker] extra")
    with pytest.raises(NodeError, match="Is Docker running"):
        ensure_node(docker=True)


@pytest.mark.server
def test_the_suite_has_a_node_that_answers(client: OpenSearch) -> None:
    """The session's node is an OpenSearch."""
    assert server_info(client)["version"]["distribution"] == "opensearch"
