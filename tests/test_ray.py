"""Ray: the same index as by one process, whoever dies, and however files and workers change between runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.dead_letters import CAME_BEFORE
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.index_meta import IndexMeta

pytestmark = pytest.mark.server


class Place:
    """A folder of files, its dead letters and ledger, and an index of one's own."""

    def __init__(self, folder: Path, url: str, client: OpenSearch, index: str) -> None:
        self.url, self.client, self.index = url, client, index
        self.source, self.dead_letters = folder / "corpus", folder / "dead.jsonl"
        self.ledger = folder / f"osplade-ledger-{index}.sqlite"
        self.source.mkdir()

    def write(self, file: str, *records: Any) -> None:
        """A file of the source."""
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.source / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def arguments(self, command: str, *more: str) -> list[str]:
        """Of a command on the index."""
        where = ["--index", self.index, "--url", self.url, "--bundle", "splade-tiny"]
        return [command, str(self.source), *where, "--json", *more]

    def ingest(self, *more: str, code: int = 0, engine: str = "ray") -> dict[str, Any]:
        """The report of a run."""
        arguments = self.arguments("ingest", "--engine", engine, "--dead-letters", str(self.dead_letters), *more)
        return self._json(CliRunner().invoke(main, arguments), code)

    def audit(self, code: int = 0) -> dict[str, Any]:
        """Of the source as it is."""
        return self._json(CliRunner().invoke(main, self.arguments("audit")), code)

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.dead_letters.read_text("utf-8").splitlines()]

    def _json(self, result: Result, code: int) -> dict[str, Any]:
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture
def place(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> Place:
    """An empty one."""
    return Place(tmp_path, node.url, client, index_name)


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[None]:
    """Ray for all tests of this file, as the engine starts it: two cores, this machine only."""
    from opensearch_splade.ingest.ray_engine import _started

    ray, _ = _started()
    yield
    ray.shutdown()


def foxes(numbers: range, colour: str = "red") -> list[dict[str, str]]:
    """Short documents."""
    return [{"_id": f"fox {number}", "text": f"The {colour} fox runs over hill {number}."} for number in numbers]


def test_first(place: Place) -> None:
    place.write("a.jsonl", *foxes(range(50)), "no JSON")
    place.write("b.jsonl", *foxes(range(50, 100)), {"_id": "empty", "text": " "})
    place.write("c.jsonl", *foxes(range(100, 150)))
    print(place.ingest("--workers", "2", code=3))
    print(place.audit())
    print(place.letters())
    print(place.ingest("--workers", "3", code=3))
