"""A cluster, not a node: provisioning, ingest and search go on while a node is away, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from conftest import REPOSITORY
from three_nodes import NAMES, ThreeNodes, three_nodes

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.plugin.client import connect, server_info
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

pytestmark = pytest.mark.server
OSPLADE = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()"]
BUNDLE = ["--bundle", "splade-tiny-idf"]


@pytest.fixture(scope="module")
def cluster(open_folder: Path) -> Iterator[ThreeNodes]:
    with three_nodes(open_folder / "three") as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: ThreeNodes) -> Iterator[OpenSearch]:
    """Given all three hosts."""
    with connect(cluster.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Abstracts of SciFact where they are at hand, else pages of Python's own documentation."""
    shared = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", REPOSITORY.parent / "shared"), "data", "scifact")
    found = (one for one in read_source(str(shared) if shared.is_dir() else "pydoc:") if isinstance(one, Document))
    lines = (json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in islice(found, 1500))
    path = tmp_path_factory.mktemp("source") / "documents.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def osplade(*arguments: str) -> str:
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    return ran.output


def wait(what: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.2)


def counted(client: OpenSearch) -> int:
    """Documents now: a new index is refreshed seldom by itself."""
    client.indices.refresh(index="cluster")
    return int(client.count(index="cluster")["count"])


@contextmanager
def searches(client: OpenSearch, index: str) -> Iterator[list[str]]:
    """Somebody searches all the time; what went wrong is kept."""
    over, wrong, asked = threading.Event(), [], 0

    def search() -> None:
        nonlocal asked
        while not over.is_set():
            try:
                found = client.search(index=index, body={"query": {"match": {"text": "the effect of a function"}}})
                shards = found["_shards"]
                if shards["successful"] != shards["total"] or not found["hits"]["hits"]:
                    wrong.append(json.dumps(shards))
            except Exception as error:  # noqa: BLE001 - told below, whatever it is
                wrong.append(repr(error))
            asked += 1
            time.sleep(0.05)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()
    assert asked > 20


def test_work_goes_on_while_a_node_is_killed_and_comes_back(
    cluster: ThreeNodes, client: OpenSearch, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster manager in the middle of an ingest: no search fails, no document is lost, an index can be made."""
    monkeypatch.chdir(tmp_path)
    where = ["--index", "cluster", "--url", cluster.url, *BUNDLE]
    first = tmp_path / "first.jsonl"
    first.write_text("\n".join(Path(source).read_text("utf-8").splitlines()[:4]) + "\n", encoding="utf-8")
    osplade("ingest", str(first), *where, "--shards", "3", "--replicas", "1")
    cluster.wait_until_whole()
    with (tmp_path / "ingest.log").open("w+") as log:
        ingest = subprocess.Popen(
            [*OSPLADE, "ingest", source, *where], stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path
        )
        try:
            wait(lambda: counted(client) > 100)
            with searches(client, "cluster") as wrong:
                manager = client.cat.cluster_manager(params={"format": "json"})[0]["node"]
                cluster.kill(manager)
                assert ingest.poll() is None, "the ingest was over before a node was killed"
                written = counted(client)
                osplade("ingest", str(_four(tmp_path)), "--index", "made", "--url", cluster.url, *BUNDLE)
                wait(lambda: counted(client) > written or ingest.poll() == 0)
                cluster.start(manager)
                cluster.wait_until_whole()
            assert ingest.wait(120) == 0
        finally:
            ingest.kill()
            ingest.wait()
            log.seek(0)
            told = log.read()
    assert not wrong, (wrong, told)
    assert not list(tmp_path.glob("dead-letters*")), told
    osplade("audit", source, *where)
    osplade("audit", str(_four(tmp_path)), "--index", "made", "--url", cluster.url, *BUNDLE)


def _four(folder: Path) -> Path:
    path = folder / "four.jsonl"
    path.write_text("".join(json.dumps({"_id": str(n), "text": f"fox number {n}"}) + "\n" for n in range(4)))
    return path


def test_a_client_of_three_hosts_survives_any_one(cluster: ThreeNodes) -> None:
    """One after the other hangs: a read that waited in vain goes to the next host, and the others share the rest."""
    for name in NAMES:
        with connect(cluster.url, timeout=2) as client, cluster.hanging(name):
            for _ in range(4):
                assert server_info(client)["version"]["distribution"] == "opensearch"
    cluster.wait_until_whole()
