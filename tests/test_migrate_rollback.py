"""`osplade migrate rollback` and `clean`: the old index serves again with all that was written, or goes for good."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from cutovers import (
    bare,
    blocked,
    die_at_each_request,
    make_live,
    prove,
    ready,
    require_vectors,
    same_job,
    served,
    with_client,
    written,
)
from migration_world import Reader, Writer
from migrations import bring_over, open_job
from mortal_client import DiedError, Life

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.clean import clean, cleaning
from opensearch_splade.migration.copying import begin
from opensearch_splade.migration.cutover import cut_over
from opensearch_splade.migration.cutover_plan import Choices
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.rollback import RolledBack, roll_back
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def command(node: RunningNode, folder: Path, *arguments: str) -> Result:
    """``osplade migrate …``, without a terminal."""
    return CliRunner().invoke(main, ["migrate", *arguments, "--url", node.url, "--state", str(folder / "state")])


def back(job: Job, client: OpenSearch, **given: Any) -> RolledBack:
    """A rollback by another process."""
    return roll_back(same_job(job, client).state, client, client, **given)


def write_much(client: OpenSearch, alias: str) -> dict[str, Json]:
    """One write of each kind by an application; what it expects to find of them."""
    client.index(index=alias, id="inserted", body=written(70))
    client.index(index=alias, id="routed", body=written(71), params={"routing": "elsewhere"})
    client.index(index=alias, id="d1", body=written(72))
    client.update(index=alias, id="d2", body={"doc": {"stamp": 5}})
    client.index(index=alias, id="short-lived", body=written(73))
    client.delete(index=alias, id="short-lived")
    client.delete(index=alias, id="d3")
    return {
        "inserted": written(70),
        "routed": written(71),
        "d1": written(72),
        "d2": {**written(2), "stamp": 5},
    }


def test_writes_since_the_cutover_are_brought_back(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Inserts, replacements, updates, deletes, with their routing and without our fields; aliases as they were."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {"is_write_index": True, "filter": {"match_all": {}}}}, default_pipeline="_none")
    before = client.indices.get_alias(index=old)[old]["aliases"]
    expected = bare(client, old)
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    expected |= write_much(client, alias)
    del expected["d3"]
    shown = command(node, tmp_path, "rollback", "--dry-run")
    assert f"what was written to {new} since is brought back" in shown.output
    assert served(client, alias) == [new]
    unasked = command(node, tmp_path, "rollback")
    assert (unasked.exit_code, "say --yes" in unasked.output) == (2, True)
    told = command(node, tmp_path, "rollback", "--yes", "--json")
    done = orjson.loads(told.stdout)
    assert told.exit_code == 0, told.output
    assert (done["written"], done["brought"], done["deleted"], done["conflicts"]) == (4, 4, 1, {})
    assert client.indices.get_alias(index=old)[old]["aliases"] == before
    assert (blocked(client, old), blocked(client, new)) == (False, True)
    assert bare(client, old) == expected
    assert client.get(index=old, id="routed", params={"routing": "elsewhere"})["found"]
    assert "default_pipeline" not in client.indices.get_settings(index=new)[new]["settings"]["index"]


def test_after_a_rollback_it_is_migrated_again(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """The new index takes up what was written to either; what it had without vectors gets them."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {}})
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    write_much(client, alias)
    client.index(index=alias, id="d7", body=written(7))  # as it was, so that nothing is to be brought back
    back(job, client)
    client.index(index=alias, id="afterwards", body=written(90), refresh=True)
    again = same_job(job, client)
    with pytest.raises(MigrationError, match=r"nothing proves since the rollback .* take `osplade migrate verify`"):
        cut_over(again)
    bring_over(again)
    prove(again)
    done = cut_over(again)
    found = bare(client, old)
    assert bare(client, new) == found
    assert done.without_vectors == 0
    require_vectors(client, new, found.keys(), again)
    back(job, client)
    assert served(client, alias) == [old]


def test_what_both_wrote_is_left_alone_and_told(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Somebody who wrote the old index by its name meanwhile is not overwritten."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {}})
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    client.indices.put_settings(index=old, body={"index.blocks.write": None})
    for id_ in ("d1", "d2", "new", "d4"):
        client.index(index=old, id=id_, body=written(80))
        client.index(index=new, id=id_, body=written(81 if id_ != "d4" else 80))
    client.index(index=old, id="d5", body=written(80))
    client.delete(index=new, id="d5")
    told = command(node, tmp_path, "rollback", "--yes")
    assert told.exit_code == 3, told.output
    assert "left alone: d1: written in the old index meanwhile" in told.output
    assert sorted(same_job(job, client).state.record.steps[-1].found["conflicts"]) == ["d1", "d2", "d5", "new"]
    found = bare(client, old)
    assert [found[id_] for id_ in ("d1", "d2", "new", "d4", "d5")] == [written(80)] * 5
    assert served(client, alias) == [old]


def test_writes_may_be_left(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """The old index is as it was at the cutover; the next run makes the new one equal to it again."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {}})
    expected = bare(client, old)
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    write_much(client, alias)
    done = back(job, client, leave_writes=True)
    assert (done.written, done.brought, done.blocked_seconds) == (4, 0, 0)
    assert bare(client, old) == expected
    bring_over(same_job(job, client))
    found = bare(client, new)
    assert found == expected
    require_vectors(client, new, found.keys(), job)


def test_dropped_fields_stay(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """What the new index does without is taken from the old document."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 5, {alias: {}})
    client.update(index=old, id="d1", body={"doc": {"group": "a"}}, refresh=True)
    job = ready(client, tmp_path, old, new, drop=("group",))
    cut_over(job)
    client.update(index=alias, id="d1", body={"doc": {"stamp": 9}})
    back(job, client)
    assert bare(client, old)["d1"] == {**written(1), "stamp": 9, "group": "a"}


def test_a_name_that_was_taken_leads_to_the_clone(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Which is written to; from then on it is an old index with an alias, and may be migrated again."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_live(client, old, 20)
    expected = bare(client, old)
    job = ready(client, tmp_path, old, new)
    clone = cut_over(job, Choices(take_name=True)).kept
    expected |= write_much(client, old)
    del expected["d3"]
    done = back(job, client)
    assert (done.old, served(client, old)) == (clone, [clone])
    client.index(index=old, id="afterwards", body=written(90), refresh=True)
    expected["afterwards"] = written(90)
    assert bare(client, old) == expected
    again = same_job(job, client)
    bring_over(again)
    prove(again)
    assert cut_over(again).kept == clone
    assert served(client, old) == [new]
    assert bare(client, new) == expected


def test_dual_writes_are_not_refused_and_no_conflict(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """What the application wrote to both is the same in both."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    job = ready(client, tmp_path, old, new, last_round="dual-write")
    cut_over(job)
    for index in (old, new):
        client.index(index=index, id="both", body=written(50), refresh=True)
    client.index(index=new, id="one", body=written(51), refresh=True)
    done = back(job, client)
    assert (done.brought, done.conflicts, blocked(client, new)) == (1, {}, False)
    assert bare(client, old) == bare(client, new)


def test_wrong_orders_are_refused(node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Rollback before cutover and twice; each time it is said what serves."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 5, {alias: {}})
    job = ready(client, tmp_path, old, new)
    for step in (["rollback", "--yes"], ["rollback", "--dry-run"]):
        told = command(node, tmp_path, *step)
        assert (told.exit_code, "nothing was cut over, so there is nothing to roll back" in told.output) == (1, True)
    cut_over(job)
    back(job, client)
    with pytest.raises(MigrationError, match=r"was rolled back already, .* the old index serves"):
        back(job, client)
    assert served(client, alias) == [old]


def test_without_the_old_index_there_is_no_way_back(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Refused before anything is changed."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 5, {alias: {}})
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    state = job.state
    client.indices.delete(index=old)
    with pytest.raises(MigrationError, match="is gone or was made anew: there is no way back"):
        roll_back(state, client, client)
    assert served(client, alias) == [new]


def test_a_cutover_that_was_killed_is_taken_back(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """The old index takes writes; a run in between is refused; then all goes on."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    job = ready(client, tmp_path, old, new)
    requests = 0
    while not blocked(client, old):
        life = Life(node.url, requests, answered=True)
        with pytest.raises(DiedError):
            cut_over(with_client(job, life.client))
        requests += 1
    with pytest.raises(MigrationError, match="a cutover was begun and ended nowhere"):
        begin(same_job(job, client))
    with pytest.raises(MigrationError, match="a cutover was killed"):
        cleaning(same_job(job, client).state, client, client, target=True)
    assert "taken back" in command(node, tmp_path, "rollback", "--dry-run").output
    told = command(node, tmp_path, "rollback", "--yes")
    assert told.exit_code == 0, told.output
    assert (blocked(client, old), served(client, alias)) == (False, [old])
    assert cut_over(same_job(job, client)).new == new


@pytest.mark.parametrize("answered", [False, True])
def test_killed_at_any_request_it_is_taken_again(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path, *, answered: bool
) -> None:
    """Readers see no error, no write is lost, and there is no conflict that nobody made."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 30, {alias: {}})
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    luck = random.Random(8)  # noqa: S311 - no secret
    more = [(f"n{number}", written(number)) for number in range(100)]
    done: list[RolledBack] = []

    def step(mortal: OpenSearch) -> None:
        done.append(roll_back(with_client(job, mortal).state, mortal, mortal))

    with Reader(node.url, alias, 15) as reader, Writer(node.url, alias, bare(client, new), more, luck) as writer:
        died = die_at_each_request(node.url, step, answered=answered)
    assert died > 20
    assert served(client, alias) == [old]
    assert bare(client, old) == writer.there
    assert not done[-1].conflicts
    assert reader.reads
    assert (reader.errors, reader.empty) == ({}, 0)
    assert (blocked(client, old), blocked(client, new)) == (False, True)


def test_the_old_index_is_deleted_after_cutover_only(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Its name must be typed; what an alias serves stays."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 5, {alias: {}})
    job = ready(client, tmp_path, old, new)
    told = command(node, tmp_path, "clean", "--confirm", old)
    assert (told.exit_code, "the old index serves, since nothing is cut over" in told.output) == (1, True)
    cut_over(job)
    told = command(node, tmp_path, "clean", "--target", "--confirm", new)
    assert (told.exit_code, "the new index has taken over and serves" in told.output) == (1, True)
    client.indices.put_alias(index=old, name=f"{alias}2")
    told = command(node, tmp_path, "clean", "--confirm", old)
    assert (told.exit_code, f"still serves {alias}2" in told.output) == (1, True)
    client.indices.delete_alias(index=old, name=f"{alias}2")
    assert "would be deleted: index" in command(node, tmp_path, "clean", "--dry-run").output
    unasked = command(node, tmp_path, "clean")
    assert (unasked.exit_code, f"say --confirm {old}" in unasked.output) == (2, True)
    told = command(node, tmp_path, "clean", "--confirm", new)
    assert (told.exit_code, "nothing was deleted" in told.output) == (1, True)
    assert client.indices.exists(index=old)
    told = command(node, tmp_path, "clean", "--confirm", old)
    assert told.exit_code == 0, told.output
    assert not client.indices.exists(index=old)
    assert not (tmp_path / "state").exists()
    assert served(client, alias) == [new]


def test_the_new_index_is_deleted_before_cutover_or_after_rollback(
    client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """One that this migration did not make stays; a clean that was killed is taken again."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 5, {alias: {}})
    client.indices.create(index=new)
    job = open_job(client, tmp_path, old, new)
    with pytest.raises(MigrationError, match="this migration did not make it"):
        begin(job)
    with pytest.raises(MigrationError, match="was not made by this migration"):
        cleaning(job.state, client, client, target=True)
    client.indices.delete(index=new)
    bring_over(job)
    prove(job)
    cut_over(job)
    back(job, client)
    state = same_job(job, client).state
    what = cleaning(state, client, client, target=True)
    assert (what.index, what.documents) == (new, 5)
    state.note("cleaned", index=new, target=True, uuid=what.uuid)  # as one that was killed left it
    with pytest.raises(MigrationError, match="this migration was ended"):
        begin(same_job(job, client))
    clean(state, cleaning(state, client, client), new)
    assert not client.indices.exists(index=new)
    assert not state.folder.exists()
    assert served(client, alias) == [old]
