"""A whole migration beside users who write and read all the time: killed, with the node restarted, switched, undone.

Small in the suite; ``make migrate-soak`` runs it with 20,000 documents, 50 kills and two restarts, and prints what was
seen.
"""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from migration_world import Reader, Writer
from migrations import sources
from opensearchpy import helpers

from opensearch_splade.errors import NodeError
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.node_config import free_port
from opensearch_splade.plugin.node_state import LocalNode
from opensearch_splade.types import Document, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

DOCUMENTS = int(os.environ.get("OSPLADE_SOAK_DOCUMENTS", "600"))
KILLS = int(os.environ.get("OSPLADE_SOAK_KILLS", "3"))
RESTARTS = int(os.environ.get("OSPLADE_SOAK_RESTARTS", "1"))
SEED = int(os.environ.get("OSPLADE_SEED", "8"))
LONGEST = float(os.environ.get("OSPLADE_SOAK_LONGEST", "8"))
"""Seconds after which a run is killed at the latest."""
MAPPINGS: Json = {
    "dynamic": "strict",
    "properties": {
        "title": {"type": "text"},
        "body": {"type": "text", "analyzer": "english"},
        "stamp": {"type": "long"},
    },
}
OLD, NEW, ALIAS = "soak-old", "soak-new", "soak"
OURS = ("id", "encoded", "hash", "sparse")


@pytest.fixture
def mortal(open_folder: Path) -> Iterator[LocalNode]:
    """A node of this test's own, which may be stopped."""
    home = open_folder / "soak"
    try:
        started = local.start(home, heap="1g", port=free_port(9700))
    except NodeError as error:
        pytest.skip(f"NOTHING WAS MIGRATED: a node of its own cannot be started here ({error})")
    yield started
    local.stop(home, purge=True)


def real_documents(count: int, folder: Path) -> list[tuple[str, Json]]:
    """Debian's descriptions where the collections lie, else Python's own documentation."""
    debian = folder / "debian" / "corpus.jsonl.gz"
    if debian.exists():
        with gzip.open(debian) as lines:
            found = [orjson.loads(line) for line in islice(lines, count)]
        return [(one["_id"], {"title": one["title"], "body": one["text"], "stamp": 0}) for one in found]
    pages = [one for one in read_source("pydoc:") if isinstance(one, Document)][:count]
    return [(one.id, {"title": one.title, "body": one.text, "stamp": 0}) for one in pages]


class Soak:
    """One migration and what was seen of it."""

    def __init__(self, node: LocalNode, folder: Path, luck: random.Random) -> None:
        self.node, self.folder, self.luck = node, folder, luck
        self.seen: dict[str, Any] = {}

    def command(self, *arguments: str) -> list[str]:
        """``osplade migrate …`` of this migration."""
        where = ["--url", self.node.url, "--state", str(self.folder / "state"), "--json"]
        return [
            sys.executable,
            "-c",
            "from opensearch_splade.cli.main import main; main()",
            "migrate",
            *arguments,
            *where,
        ]

    def take(self, *arguments: str) -> Any:
        """A step to its end; what it says."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return orjson.loads(done.stdout)

    def kill(self, *arguments: str, longest: float = LONGEST) -> bool:
        """A step that is killed at some moment; whether it was still going then."""
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            try:
                running.wait(self.luck.uniform(0.3, longest))
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                return True
            return False

    def restart(self, reader: Reader) -> None:
        """The node goes away and comes back; readers cannot but see that."""
        port = int(self.node.url.rpartition(":")[2])
        reader.away.set()
        local.stop(self.node.home)
        local.start(self.node.home, heap="1g", port=port)
        time.sleep(1.0)
        reader.away.clear()


def audit(client: OpenSearch, index: str, expected: Mapping[str, Json], *, marked: bool) -> dict[str, int]:
    """Counts of documents that are not as they must be."""
    found = sources(client, index)
    bare = {id_: {name: value for name, value in one.items() if name not in OURS} for id_, one in found.items()}
    there = found.keys() & expected.keys()
    return {
        "documents": len(found),
        "lost": len(expected.keys() - found.keys()),
        "extra": len(found.keys() - expected.keys()),
        "twice": client.count(index=index)["count"] - len(found),
        "stale": sum(bare[id_] != expected[id_] for id_ in there),
        "without vector": sum("sparse" not in one for one in found.values()) if marked else 0,
    }


def require_clean(counts: Mapping[str, int]) -> None:
    """Nothing but documents that are as they must be."""
    assert not {name: count for name, count in counts.items() if count and name != "documents"}, counts


@pytest.mark.parametrize("seed", [SEED])
def test_users_notice_nothing(
    mortal: LocalNode, tmp_path: Path, collections_dir: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each document once, as it is now, after any kill; readers see no error and no empty index; all can be undone."""
    luck = random.Random(seed)  # noqa: S311 - no secret
    soak = Soak(mortal, tmp_path, luck)
    documents = real_documents(DOCUMENTS + DOCUMENTS // 4, collections_dir)
    first, more = documents[:DOCUMENTS], documents[DOCUMENTS:]
    with closing(connect(mortal.url)) as client:
        _make_old(client, first)
        writer = Writer(mortal.url, ALIAS, dict(first), more, luck)
        reader = Reader(mortal.url, ALIAS, DOCUMENTS // 2)
        begun = time.monotonic()
        with writer, reader:
            _migrate(soak, reader)
            soak.seen["seconds to caught up"] = round(time.monotonic() - begun, 1)
            soak.seen["verify"] = soak.take("verify")
            cut = soak.take("cutover", "--yes")
            soak.seen["write block, s"] = cut.get("blocked_seconds")
            time.sleep(3)  # users go on, and now write to the new index
            writer.stop()
            at_cutover = audit(client, ALIAS, writer.there, marked=False)
            soak.seen["after cutover"] = at_cutover
            require_clean(at_cutover)
            assert list(client.indices.get_alias(name=ALIAS)) == [NEW]
            soak.seen["rollback"] = soak.take("rollback", "--yes")
            after = audit(client, ALIAS, writer.there, marked=False)
            soak.seen["after rollback"] = after
            require_clean(after)
            assert list(client.indices.get_alias(name=ALIAS)) == [OLD]
    assert reader.reads
    assert not reader.errors, reader.errors
    assert not reader.empty
    soak.seen |= {
        "seconds in all": round(time.monotonic() - begun, 1),
        "writes": dict(writer.written),
        "writes refused and repeated": dict(writer.refused),
        "seconds of refused writes": round(writer.blocked, 2),
        "reads": reader.reads,
        "reads with an error": sum(reader.errors.values()),
        "reads of an empty index": reader.empty,
    }
    with capsys.disabled():
        sys.stdout.write(f"\nSEED={seed}\n")
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in soak.seen.items())


def _make_old(client: OpenSearch, documents: list[tuple[str, Json]]) -> None:
    settings = {"index": {"number_of_shards": 2, "number_of_replicas": 0}}
    client.indices.create(index=OLD, body={"settings": settings, "mappings": MAPPINGS, "aliases": {ALIAS: {}}})
    helpers.bulk(client, ({"_index": OLD, "_id": id_, **source} for id_, source in documents), refresh=True)


def _migrate(soak: Soak, reader: Reader) -> None:
    """Killed again and again, with the node restarted in between, and then to its end."""
    spec = ["run", "--source", OLD, "--target", NEW, "--max-slowdown", "1000"]
    restarts = set(soak.luck.sample(range(KILLS), RESTARTS))
    killed = 0
    for count in range(KILLS):
        killed += soak.kill(*spec)
        if count in restarts:
            soak.restart(reader)
    soak.seen["kills"] = f"{killed} of {KILLS} while it ran"
    soak.seen["node restarts"] = RESTARTS
    soak.seen["last run"] = soak.take(*spec)
