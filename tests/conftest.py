"""Fixtures for all tests: the real OpenSearch node, a client, index names of one's own, collections and models."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_table import lines
from ml_cleanup import alone, own_models
from provisioned import Encoder, World, running

from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect, redacted
from opensearch_splade.plugin.connection_file import NAMES
from opensearch_splade.plugin.launcher import RunningNode, ensure_node
from opensearch_splade.plugin.node_versions import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opensearchpy import OpenSearch

RUN_FOLDER = "OSPLADE_TEST_RUN"
REPOSITORY = Path(__file__).resolve().parents[1]


def _installed(*names: str) -> str:
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return f"no {names[0]}"


def pytest_report_header() -> str:
    """What the run depends on."""
    given = os.environ.get("OPENSEARCH_URL")
    server = f"server given at {redacted(given)}" if given else f"server {VERSIONS.opensearch} (pinned)"
    return ", ".join([_installed("onnxruntime", "onnxruntime-gpu"), _installed("opensearch-py"), server])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the fault tests did, if any ran."""
    if table := lines():
        terminalreporter.section("faults of the ingest")
        for line in table:
            terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    """One folder of the run, whose node all of its processes share."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="osplade-")
        Path(os.environ[RUN_FOLDER]).chmod(0o755)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that began the run ends its node, when all others have ended."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(RUN_FOLDER))
        local.stop(folder / "node", purge=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can reach: a node started by root runs as another user.

    pytest's own temporary folders are closed to others.
    """
    with tempfile.TemporaryDirectory(dir=os.environ[RUN_FOLDER], ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def own_node() -> Path:
    """Folder of the node that this run starts if it has to."""
    return Path(os.environ[RUN_FOLDER]) / "node"


@pytest.fixture(scope="session")
def node(own_node: Path) -> RunningNode:
    """A node that answers: ``OPENSEARCH_URL``, the running local node, or one of this run's own, stopped at its end.

    ``OPENSEARCH_SPLADE_DOCKER=1`` asks for a container instead of a local process.
    """
    docker = os.environ.get("OPENSEARCH_SPLADE_DOCKER") == "1"
    return ensure_node(docker=docker, home=own_node, versions=VERSIONS.with_ml_commons())


@pytest.fixture(scope="session")
def client(node: RunningNode) -> Iterator[OpenSearch]:
    """A client of the node."""
    with connect(node.url) as connected:
        yield connected


@pytest.fixture
def no_cluster_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a connection is in the environment."""
    for name in NAMES:
        monkeypatch.delenv(f"OPENSEARCH_{name.upper()}", raising=False)


@pytest.fixture(scope="session")
def ml_client(client: OpenSearch) -> OpenSearch:
    """A client of a node with ML Commons."""
    if "opensearch-ml" not in probe(client).plugins:
        pytest.skip("the given node has no ML Commons: `osplade node start --ml-commons` starts one that has")
    return client


@pytest.fixture
def ml_name(ml_client: OpenSearch) -> Iterator[str]:
    """A name no other test has, for models and connectors. What begins with it is deleted, settings are put back."""
    with own_models(ml_client) as name:
        yield name


@pytest.fixture
def index_name(client: OpenSearch) -> Iterator[str]:
    """A name no other test has, to be used as it is or as a prefix. Only indices that begin with it are deleted."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    listed = client.cat.indices(index=f"{prefix}*", params={"format": "json", "h": "index", "expand_wildcards": "all"})
    names = [row["index"] for row in listed]
    if names:
        client.indices.delete(index=",".join(names))


def _shared(kind: str) -> Path:
    folder = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", REPOSITORY.parent / "shared")) / kind
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing (OPENSEARCH_SPLADE_SHARED names the folder that holds `{kind}`)")
    return folder


@pytest.fixture(scope="session")
def collections_dir() -> Path:
    """Folder of test collections in BEIR layout, e.g. ``scifact``."""
    return _shared("data")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Folder of checkpoints, e.g. ``splade-tiny``."""
    return _shared("models")


@pytest.fixture(scope="session")
def encoder() -> Iterator[Encoder]:
    """The shipped bundles behind HTTP, in a process of its own."""
    with running() as started:
        yield started


@pytest.fixture
def world(ml_client: OpenSearch, node: RunningNode, tmp_path: Path) -> Iterator[World]:
    """Files of `osplade cluster` for the node; what they put there is removed again."""
    assert ml_client
    with alone():
        made = World(node.url, tmp_path)
        yield made
        made.clear()
