"""`osplade migrate cutover`: in one call the new index takes over, or it is as if nothing had been."""

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
    fail_at_each_request,
    make_live,
    prove,
    ready,
    require_vectors,
    same_job,
    served,
    state_of_cluster,
    with_client,
    written,
)
from migration_world import Reader, Writer
from migrations import bring_over, open_job, sources
from opensearchpy import exceptions

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.copying import begin
from opensearch_splade.migration.cutover import cut_over, finished, without_vectors
from opensearch_splade.migration.cutover_plan import Choices, cutover_plan
from opensearch_splade.migration.rollback import roll_back
from opensearch_splade.migration.state import State
from opensearch_splade.plugin.launcher import RunningNode

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

FILTERED = {"filter": {"term": {"group": "a"}}, "index_routing": "r1", "search_routing": "r1,r2", "is_hidden": True}


def command(node: RunningNode, folder: Path, *arguments: str) -> Result:
    """``osplade migrate …``, without a terminal."""
    return CliRunner().invoke(main, ["migrate", *arguments, "--url", node.url, "--state", str(folder / "state")])


def test_each_alias_moves_as_it_is(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Filter, routings, write index and hiddenness go along, and the settings for what users send; the old stays."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    names = [f"{index_name}-{name}" for name in ("plain", "filtered", "written")]
    aliases: dict[str, Any] = {names[0]: {}, names[1]: FILTERED, names[2]: {"is_write_index": True}}
    client.ingest.put_pipeline(id=index_name, body={"processors": [{"set": {"field": "stamp", "value": 7}}]})
    try:
        make_live(client, old, 40, aliases, refresh_interval="3s", default_pipeline=index_name)
        before = client.indices.get_alias(index=old)[old]["aliases"]
        job = ready(client, tmp_path, old, new)
        client.indices.put_settings(index=new, body={"index.refresh_interval": "-1"})
        client.index(index=old, id="late", body=written(7), params={"pipeline": "_none"})
        done = cut_over(job)
        assert (done.names, done.new, done.kept) == (tuple(sorted(names, key=list(before).index)), new, old)
        assert (done.documents, done.without_vectors) == (41, 0)
        assert done.blocked_seconds > 0
        assert client.indices.get_alias(index=new)[new]["aliases"] == before
        assert not client.indices.get_alias(index=old)[old]["aliases"]
        assert blocked(client, old)
        assert not blocked(client, new)
        settings = client.indices.get_settings(index=new)[new]["settings"]["index"]
        assert (settings["default_pipeline"], settings["refresh_interval"]) == (index_name, "3s")
        assert bare(client, new) == bare(client, old)
        client.index(index=names[2], id="after", body=written(8), refresh=True)
        assert client.get(index=new, id="after")["_source"]["stamp"] == 7
        with pytest.raises(exceptions.AuthorizationException, match="blocked by"):
            client.index(index=old, id="after", body=written(8))
    finally:
        client.ingest.delete_pipeline(id=index_name, ignore=[404])


def test_a_dry_run_shows_the_plan_and_changes_nothing(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """The steps by name, the templates that fit, the remedy for later writes; cluster and state as before."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    ready(client, tmp_path, old, new)
    client.indices.put_index_template(name=index_name, body={"index_patterns": [f"{index_name}-n*"], "priority": 9})
    client.indices.put_template(name=index_name, body={"index_patterns": [f"{index_name}-*"], "order": 9})
    try:
        before = state_of_cluster(client, index_name), (tmp_path / "state" / "migration.json").read_bytes()
        shown = command(node, tmp_path, "cutover", "--dry-run")
        assert shown.exit_code == 0, shown.output
        assert f"1. {old} refuses writes" in shown.output
        assert f"in one call, {alias} leads to {new}" in shown.output
        assert shown.output.count(f"the index template '{index_name}' fits {new}") == 1  # one name, two kinds
        assert f"--way in-place --source {new}" in shown.output
        as_json = orjson.loads(command(node, tmp_path, "cutover", "--dry-run", "--json").stdout)
        assert as_json["switch"]["aliases"] == {alias: {}}
        unasked = command(node, tmp_path, "cutover")
        assert (unasked.exit_code, "say --yes" in unasked.output) == (2, True)
        assert (state_of_cluster(client, index_name), (tmp_path / "state" / "migration.json").read_bytes()) == before
    finally:
        client.indices.delete_index_template(name=index_name)
        client.indices.delete_template(name=index_name)


def test_wrong_orders_are_refused(node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Before run, before its end, before verify, twice; run after it. Each time with what to do instead."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    told = command(node, tmp_path, "cutover", "--yes")
    assert (told.exit_code, "holds no migration" in told.output) == (1, True)
    job = open_job(client, tmp_path, old, new)
    with pytest.raises(MigrationError, match=r"nothing was brought over yet: take `osplade migrate run`"):
        cut_over(job)
    begin(job)
    with pytest.raises(MigrationError, match="not brought over to its end: let `osplade migrate run` finish"):
        cut_over(job)
    bring_over(job)
    with pytest.raises(MigrationError, match=r"nothing proves yet .* take `osplade migrate verify` first"):
        cut_over(job)
    job.state.note("verified", clean=False)
    with pytest.raises(MigrationError, match="the last `osplade migrate verify` found differences"):
        cut_over(job)
    assert not blocked(client, old)
    assert served(client, alias) == [old]
    done = command(node, tmp_path, "cutover", "--yes", "--without-verify", "--json")
    assert orjson.loads(done.stdout)["new"] == new, done.output
    assert served(client, alias) == [new]
    for step in (["cutover", "--yes"], ["cutover", "--dry-run"]):
        told = command(node, tmp_path, *step)
        assert (told.exit_code, "was cut over already" in told.output) == (1, True), told.output
    with pytest.raises(MigrationError, match=f"{new}' has taken over since .* --way in-place --source {new}"):
        begin(same_job(job, client))


def test_what_was_switched_and_not_noted_is_noted(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """A cutover that was killed just then; a dry run says so and leaves that to the step itself."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    job = ready(client, tmp_path, old, new)
    cut_over(job)
    assert job.state.record.steps.pop().step == "cut-over"
    job.state.save()
    file = tmp_path / "state" / "migration.json"
    before = state_of_cluster(client, index_name), file.read_bytes()
    for step, said in (("cutover", f"lead to {new} already"), ("rollback", f"lead away from {new} to {old}")):
        assert said in command(node, tmp_path, step, "--dry-run").output.replace("leads", "lead")
    told = command(node, tmp_path, "clean", "--dry-run")
    assert (told.exit_code, "a cutover was killed" in told.output) == (1, True)
    assert (state_of_cluster(client, index_name), file.read_bytes()) == before
    done = command(node, tmp_path, "cutover", "--json")
    assert orjson.loads(done.stdout)["documents"] == 10, done.output
    assert State.open(job.folder).step == "cut-over"


def test_in_place_there_is_nothing_to_switch(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """The index is the same."""
    make_live(client, index_name, 5)
    job = ready(client, tmp_path, index_name, index_name, way="in-place")
    with pytest.raises(MigrationError, match="nothing to cut over"):
        cut_over(job)


def test_what_fails_is_taken_back(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """A document too many in the new index: no name moves, the block goes, and the step can be taken later."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}}, default_pipeline="_none")
    job = ready(client, tmp_path, old, new)
    client.index(index=new, id="stranger", body=written(1), refresh=True)
    with pytest.raises(
        MigrationError, match=r"holds 11 documents and should hold 10.* The cutover was taken back: all na"
    ):
        cut_over(job)
    assert served(client, alias) == [old]
    assert not blocked(client, old)
    assert "default_pipeline" not in client.indices.get_settings(index=new)[new]["settings"]["index"]
    assert begin(job) is False, "it may be run again"
    client.delete(index=new, id="stranger")
    assert cut_over(job).documents == 10
    assert served(client, alias) == [new]


def test_a_document_that_the_new_index_refused_is_told(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Unless it is accepted; one that was mended since counts no more."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    job = open_job(client, tmp_path, old, new)
    begin(job)
    client.indices.put_settings(index=new, body={"index.mapping.total_fields.limit": 11})
    client.indices.put_mapping(index=old, body={"dynamic": True})
    client.indices.put_mapping(index=new, body={"dynamic": True})
    more = {f"field{number}": "x" for number in range(12)}
    client.index(index=old, id="wide", body={**written(3), **more}, refresh=True)
    assert bring_over(job).copied.dead == 1
    prove(job)
    with pytest.raises(MigrationError, match=r"1 documents of .* \(e.g. 'wide'\): see .* --accept-dead-letters"):
        cutover_plan(job, Choices())
    client.index(index=old, id="wide", body=written(3), refresh=True)
    bring_over(job)
    assert cutover_plan(job, Choices()).switch.new == new
    client.index(index=old, id="wide", body={**written(3), **more}, refresh=True)
    bring_over(job)
    done = cut_over(job, Choices(accept_dead_letters=True))
    assert done.documents == 10


def test_an_index_that_is_asked_by_its_own_name(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Refused with both remedies; with --take-name the name becomes an alias, and the clone is the way back."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_live(client, old, 30, refresh_interval="4s")
    job = ready(client, tmp_path, old, new)
    with pytest.raises(MigrationError, match=r"no alias leads to .* give it an alias .* or say --take-name"):
        cut_over(job)
    with pytest.raises(MigrationError, match="--aliases is for a source on another cluster"):
        cut_over(job, Choices(aliases=("a",)))
    expected = bare(client, old)
    with Reader(node.url, old, 30) as reader:
        done = cut_over(job, Choices(take_name=True))
    assert not reader.empty
    assert not {error for error in reader.errors if not error.startswith("503")}
    assert done.kept.startswith(f"{old}-before-20")
    assert served(client, old) == [new]
    assert bare(client, done.kept) == expected == bare(client, old)
    settings = client.indices.get_settings(index=done.kept)[done.kept]["settings"]["index"]
    assert (settings["number_of_replicas"], settings["refresh_interval"]) == ("0", "4s")
    assert same_job(job, client).source.name == done.kept


def test_aliases_on_another_cluster_are_made(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Which ones must be said; one that stands for something else is refused."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 10, {alias: {}})
    job = ready(client, tmp_path, f"{node.url}/{old}", new)
    with pytest.raises(MigrationError, match=r"no call changes two clusters at once. Say --aliases"):
        cut_over(job)
    with pytest.raises(MigrationError, match="stands for something else"):
        cut_over(job, Choices(aliases=(alias,)))
    assert cut_over(job, Choices(aliases=(f"{alias}2",))).kept == old
    assert served(client, f"{alias}2") == [new]
    assert blocked(client, old)


def test_dual_writes_are_never_refused(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Documents that the application wrote to both get vectors; one that the new index has newer is left alone."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {}})
    job = ready(client, tmp_path, old, new, last_round="dual-write")
    for index in (new, old):
        client.index(index=index, id="both", body=written(50), refresh=True)
    client.index(index=new, id="ours", body=written(51), refresh=True)
    with pytest.raises(MigrationError, match="--take-name clones the old index"):
        cut_over(job, Choices(take_name=True))

    def late(said: str) -> None:
        if said.startswith("bringing over the last writes"):
            client.index(index=old, id="d3", body=written(60), refresh=True)
            client.index(index=old, id="d4", body=written(61), refresh=True)
            client.index(index=new, id="d4", body=written(62), refresh=True)

    done = cut_over(job, tell=late)
    assert (done.blocked_seconds, blocked(client, old), served(client, alias)) == (0, False, [new])
    found = bare(client, new)
    assert (found["both"], found["d3"], found["d4"]) == (written(50), written(60), written(62))
    require_vectors(client, new, {"both", "d3"}, job)
    assert done.without_vectors == 2  # "ours" and "d4"


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("take_name", [False, True])
def test_killed_at_any_request_it_is_taken_again(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path, *, answered: bool, take_name: bool
) -> None:
    """Readers see no error and no empty index, no write is lost, and the end is the same."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    alias = old if take_name else f"{index_name}-alias"
    make_live(client, old, 30, {} if take_name else {alias: {}})
    job = ready(client, tmp_path, old, new)
    luck = random.Random(8)  # noqa: S311 - no secret
    more = [(f"n{number}", written(number)) for number in range(100)]
    choices = Choices(take_name=take_name)

    def step(mortal: OpenSearch) -> None:
        state = State.open(job.folder)
        if finished(state, mortal) is None and state.step != "cut-over":
            cut_over(with_client(job, mortal), choices)

    with Reader(node.url, alias, 15) as reader, Writer(node.url, alias, bare(client, old), more, luck) as writer:
        died = die_at_each_request(node.url, step, answered=answered)
    assert died > 20
    assert served(client, alias) == [new]
    assert bare(client, new) == writer.there
    assert reader.reads
    assert not reader.empty
    # An index' own name is free only when its shards are gone, which the plan tells.
    assert not {error for error in reader.errors if not (take_name and error.startswith("503"))}
    state = same_job(job, client).state
    assert (state.step, state.pending) == ("cut-over", None)
    clones = client.cat.indices(index=f"{old}-before-*", params={"format": "json"})
    assert len(clones) == take_name


@pytest.mark.parametrize("answered", [False, True])
def test_whatever_request_fails_it_is_taken_back(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path, *, answered: bool
) -> None:
    """Not killed, it leaves nothing behind: users read and write the old index, as if it had not been tried."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_live(client, old, 20, {alias: {}})
    job = ready(client, tmp_path, old, new)

    def as_before() -> None:
        state = State.open(job.folder)
        assert state.pending is None
        is_done = state.step == "cut-over"  # and only what is told of it was not to be had
        assert (served(client, alias), blocked(client, old)) == ([new if is_done else old], is_done)

    def step(mortal: OpenSearch) -> None:
        state = State.open(job.folder)
        if state.step == "cut-over":  # the request before was one that it can do without
            assert (served(client, alias), bare(client, new)) == ([new], bare(client, old))
            roll_back(state, client, client)
            bring_over(same_job(job, client))
            prove(same_job(job, client))
        cut_over(with_client(job, mortal))

    with Reader(node.url, alias, 20) as reader:
        failed = fail_at_each_request(node.url, step, as_before, answered=answered)
    assert failed > 20
    assert (served(client, alias), reader.errors, reader.empty) == ([new], {}, 0)
    assert bare(client, new) == bare(client, old)


def test_what_users_wrote_since_is_encoded_in_place(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Plain documents, new texts, partial updates; past the pipeline that they went through when they were written."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    stamp = {"processors": [{"append": {"field": "group", "value": "once"}}]}
    client.ingest.put_pipeline(id=index_name, body=stamp)
    try:
        make_live(client, old, 20, {alias: {}}, default_pipeline=index_name)
        cut_over(ready(client, tmp_path, old, new))
        client.index(index=alias, id="new", body=written(70))
        client.index(index=alias, id="routed", body=written(71), params={"routing": "elsewhere"})
        client.index(index=alias, id="d1", body=written(72))
        client.update(index=alias, id="d2", body={"doc": {"body": "a text that is new"}})
        client.delete(index=alias, id="d3", refresh=True)
        expected = bare(client, new)
        assert without_vectors(client, new) == 3
        in_place = ["run", "--way", "in-place", "--source", new, "--target", new, "--json"]
        told = command(node, tmp_path / "in-place", *in_place)
        assert told.exit_code == 0, told.output
        assert orjson.loads(told.stdout)["indexed"] == 4
        assert bare(client, new) == expected
        assert expected["new"]["group"] == ["once"]
        assert without_vectors(client, new) == 0
        assert [id_ for id_, source in sources(client, new).items() if "text" in source["sparse"]] == ["d2"]
        told = command(node, tmp_path / "in-place", *in_place)
        assert orjson.loads(told.stdout)["indexed"] == 0
        state = State.open(tmp_path / "state")
        assert roll_back(state, client, client).conflicts == {}
        assert bare(client, old) == expected
    finally:
        client.ingest.delete_pipeline(id=index_name, ignore=[404])
