"""Full disks, for real: a run that cannot note or keep what it must says so, and loses nothing when it is run again.

Twice each: on a tmpfs of some hundred kilobytes, which takes the right to mount, and under a limit on the size of files
(``RLIMIT_FSIZE``), which everybody may set. Both fail in the middle of a write; the system says ENOSPC and EFBIG.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_corpus import run_here
from fault_settings import command
from fault_table import Row, timed
from opensearchpy import OpenSearch

from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server

ROOM = 192 * 1024  # bytes
GOOD = [{"_id": f"good{number}", "text": f"A fox on hill {number}."} for number in range(400)]
LONG_IDS = [{"_id": f"{number:0500}", "text": f"A fox on hill {number}."} for number in range(1200)]
"""Of which the ledger is soon full."""
BAD = [{"_id": f"bad{number}", "text": 7, "page": "x" * 3_000} for number in range(200)]
REFUSED = [{"_id": f"huge{number}", "text": "A fox.", "page": "x" * 33_000} for number in range(60)]
"""By the server: a term of the metadata is too long."""


class SmallDisk:
    """A folder in which only so much has room, until there is more."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self.way = folder, way
        self.is_full = True

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``osplade`` with what the disk allows."""
        limits: Callable[[], None] | None = None
        if self.way == "limit" and self.is_full:
            limits = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))  # noqa: E731
        return subprocess.run(
            command(*arguments),
            preexec_fn=limits,
            capture_output=True,
            text=True,
            check=False,
        )

    def make_room(self) -> None:
        """As one would who reads the error."""
        self.is_full = False
        if self.way == "tmpfs":
            subprocess.run(["mount", "-o", "remount,size=64m", self.folder], check=True)  # noqa: S607


@contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"NO DISK WAS FILLED: a tmpfs cannot be mounted here ({made.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """A small one."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limit":
        yield SmallDisk(folder, "limit")
        return
    if os.geteuid():
        pytest.skip("NO DISK WAS FILLED: only root can mount a tmpfs")
    with tmpfs(folder):
        yield SmallDisk(folder, "tmpfs")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    """A line of the table."""
    with timed(request.node.name) as made:
        yield made


class Place:
    """A source on a disk with room, and a ledger and dead letters that may lie on the small one."""

    def __init__(self, folder: Path, url: str, index: str, ledger: Path, dead_letters: Path, row: Row) -> None:
        self.source, self.dead_letters, self._row = folder / "corpus.jsonl", dead_letters, row
        self._where = ["--index", index, "--url", url, "--bundle", "splade-tiny"]
        self._more = ["--ledger", str(ledger), "--dead-letters", str(dead_letters), "--json"]

    def ingest(self, disk: SmallDisk, *records: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """A run on these documents."""
        self.source.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        self._row.runs += 1
        return disk.run("ingest", str(self.source), *self._where, *self._more)

    def audit(self, code: int = 0) -> dict[str, Any]:
        """Of the source as it was written last."""
        found = run_here("audit", str(self.source), *self._where, "--json", code=code)
        self._row.count(found["counts"], found["source"])
        return found


def assert_stopped(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert "Traceback" not in said
    for part in parts:
        assert part in said


def test_a_ledger_without_room(
    disk: SmallDisk, tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str, row: Row
) -> None:
    """The run stops and says how to go on; what it could not note is encoded again, and nothing is lost."""
    place = Place(tmp_path, node.url, index_name, disk.folder / "ledger.sqlite", tmp_path / "dead.jsonl", row)
    assert_stopped(place.ingest(disk, *LONG_IDS), "cannot be written", "make room", "run the same command again")
    row.met["disk full"] += 1
    client.indices.refresh(index=index_name)
    there = client.count(index=index_name)["count"]
    assert 0 < there < len(LONG_IDS)
    disk.make_room()
    done = place.ingest(disk, *LONG_IDS)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["indexed"] + report["unchanged"] == len(LONG_IDS)
    assert report["unchanged"] <= there
    assert place.audit()["clean"]


@pytest.mark.parametrize("bad", [BAD, REFUSED], ids=["of the source", "of the server"])
def test_dead_letters_without_room(
    bad: list[dict[str, Any]], disk: SmallDisk, tmp_path: Path, node: RunningNode, index_name: str, row: Row
) -> None:
    """The run stops and says so; run again, every document is in the index or in the file, whose letters do not mix."""
    place = Place(tmp_path, node.url, index_name, tmp_path / "ledger.sqlite", disk.folder / "dead.jsonl", row)
    records = [one for pair in zip(GOOD, [*bad, *[None] * len(GOOD)], strict=False) for one in pair if one]
    assert_stopped(place.ingest(disk, *records), "dead letters cannot be written", "room", "run the same command again")
    row.met["disk full"] += 1
    disk.make_room()
    done = place.ingest(disk, *records)
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["dead"] == len(bad)
    assert report["indexed"] + report["unchanged"] == len(GOOD)
    told, torn = set(), 0
    for line in place.dead_letters.read_bytes().splitlines():
        try:
            told.add(json.loads(line)["id"])
        except ValueError:
            torn += 1
    assert told == {one["_id"] for one in bad}
    assert torn <= 1
    place.source.write_text("".join(json.dumps(one) + "\n" for one in GOOD), encoding="utf-8")
    assert place.audit()["clean"]


def test_a_device_that_is_always_full(tmp_path: Path, node: RunningNode, index_name: str) -> None:
    """``/dev/full`` opens, and refuses the first letter."""
    place = Place(tmp_path, node.url, index_name, tmp_path / "ledger.sqlite", Path("/dev/full"), Row("unlisted"))
    done = place.ingest(SmallDisk(tmp_path, "none"), *GOOD[:5], BAD[0])
    assert_stopped(done, "The dead letters cannot be written to /dev/full: No space left on device", "5 documents")
    assert place.audit()["clean"]
