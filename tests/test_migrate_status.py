"""`osplade migrate status`: what it says is so, and whoever works is not disturbed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from migrations import bring_over, fill, make_old, open_job

from opensearch_splade.cli.main import main
from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.pacing import Pacer, Throttle
from opensearch_splade.migration.state import State
from opensearch_splade.migration.status import Status, status
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode


def ask(job: Job) -> Status:
    """As another process sees it."""
    return status(job.client, job.source_client, State.open(job.folder))


def osplade(node: RunningNode, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["migrate", "status", "--url", node.url, *arguments])


class Held(Pacer):
    """Hands one half on, and waits to be let go."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda: None, Throttle(worst=None))
        self.count, self.reached, self.go_on = count, threading.Event(), threading.Event()

    def __call__(self, documents: Iterator[Document]) -> Iterator[Document]:
        """Waits in the middle."""
        for number, document in enumerate(documents):
            if number == self.count:
                self.reached.set()
                self.go_on.wait(60)
            yield document


def test_it_says_how_far_each_shard_is(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Before, after, and when the old index was written to since; the gap is what is missing."""
    old = f"{index_name}-old"
    make_old(client, old, 60)
    job = open_job(client, tmp_path, old, f"{index_name}-new")
    begin(job)
    found = ask(job)
    assert (found.source_documents, found.target_documents, found.gap) == (60, 0, 60)
    assert "migrate run" in found.next
    bring_over(job)
    client.indices.refresh(index=job.spec.target)
    found = ask(job)
    assert (found.source_documents, found.target_documents, found.gap, found.dead) == (60, 60, 0, 0)
    assert [step.step for step in found.steps] == ["begun", "caught-up"]
    assert "migrate verify" in found.next
    fill(client, old, range(60, 67))
    found = ask(job)
    assert (found.source_documents, found.gap, found.workers) == (67, 7, ())


def test_it_is_asked_while_another_works(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Who holds ledgers and shards is named; that one goes on undisturbed; when it has ended nobody is at work."""
    make_old(client, f"{index_name}-old", 60, shards=1)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    begin(job)
    held = Held(30)
    with Copier(job, pace=held) as copier:
        worker = threading.Thread(target=copier.round)
        worker.start()
        assert held.reached.wait(60)
        found = ask(job)
        with job.state.locked():
            assert "another process takes a step" in ask(job).next
        held.go_on.set()
        worker.join()
        assert copier.copied.indexed == 60
    assert len(found.workers) == 1
    assert found.next == "osplade migrate run is at work: let it go on"
    assert (ask(job).workers, ask(job).gap) == ((), 0)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("caught-up", "migrate verify"),
        ("verified", "migrate compare"),
        ("blocked", "migrate cutover ends it"),
        ("cut-over", "migrate rollback goes back"),
        ("rolled-back", "migrate cutover again"),
        ("cleaned", "this migration is over"),
    ],
)
def test_after_each_step_it_says_what_comes_next(
    client: OpenSearch, index_name: str, tmp_path: Path, step: Any, said: str
) -> None:
    """By the last step that was taken."""
    make_old(client, f"{index_name}-old", 5)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    bring_over(job)
    job.state.note(step)
    assert said in ask(job).next


def test_an_old_index_that_is_gone_is_no_error(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """As after cleaning up."""
    make_old(client, f"{index_name}-old", 5)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    bring_over(job)
    client.indices.delete(index=f"{index_name}-old")
    found = ask(job)
    assert (found.source_documents, found.gap, found.shards) == (None, None, ())


def test_the_command_tells_people_and_machines(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path
) -> None:
    """The same in words and in JSON; a folder without a migration is an error with its remedy."""
    make_old(client, f"{index_name}-old", 20)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    bring_over(job)
    client.indices.refresh(index=job.spec.target)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in job.folder.rglob("*"))
    told = osplade(node, "--state", str(job.folder))
    assert told.exit_code == 0
    assert f"{index_name}-old → {index_name}-new (copy)" in told.output
    assert "20 in the old, 20 in the new" in told.output
    assert "next: osplade migrate verify" in told.output
    found = orjson.loads(osplade(node, "--state", str(job.folder), "--json").output)
    assert [shard["gap"] for shard in found["shards"]] == [0, 0]
    assert found["steps"][0]["step"] == "begun"
    assert sorted((path.name, path.stat().st_mtime_ns) for path in job.folder.rglob("*")) == before
    refused = osplade(node, "--state", str(tmp_path / "none"))
    assert refused.exit_code == 1
    assert "holds no migration" in refused.output
