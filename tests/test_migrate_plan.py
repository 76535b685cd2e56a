"""`osplade migrate plan`: it says what will be, what it takes and what speaks against it, and leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from migrations import MAPPINGS, bring_over, make_old, open_job, record
from opensearchpy import helpers

from opensearch_splade.cli.main import main
from opensearch_splade.migration import forecast, index_traps
from opensearch_splade.migration.cluster_view import ClusterView, DataNode
from opensearch_splade.migration.finding import Finding
from opensearch_splade.migration.forecast import Part
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.plan import plan
from opensearch_splade.migration.rehearsal import SCRATCH, take
from opensearch_splade.migration.surroundings import policies_found, routed, surroundings
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode


def cluster_state(client: OpenSearch, name: str) -> str:
    """A hash of all that the cluster keeps of indices and templates called like this, and of its settings.

    Other tests are about ML Commons' settings, perhaps just now.
    """
    settings = client.cluster.get_settings(params={"flat_settings": "true"})
    state = client.cluster.state(metric="metadata,routing_table,blocks")
    kept = state["metadata"]
    mine = {
        "indices": {index: about for index, about in kept["indices"].items() if name in index},
        "routing": {index: about for index, about in state["routing_table"]["indices"].items() if name in index},
        "templates": {template: about for template, about in kept["templates"].items() if name in template},
        "blocks": {index: about for index, about in state["blocks"].get("indices", {}).items() if name in index},
        "settings": [pair for kind in settings.values() for pair in kind.items() if "ml_commons" not in pair[0]],
    }
    return hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()


def scratches(client: OpenSearch, name: str) -> list[str]:
    """Scratch indices of the target."""
    return list(client.indices.get(index=f"{SCRATCH}{name}*", params={"expand_wildcards": "all"}))


def osplade(node: RunningNode, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["migrate", "plan", "--url", node.url, *arguments])


def test_nothing_stays_of_it(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster's state is what it was, no file is written, and every request that writes names a scratch index."""
    make_old(client, f"{index_name}-old", 60, alias=f"{index_name}-alias")
    monkeypatch.chdir(tmp_path)
    before = cluster_state(client, index_name)
    written: list[str] = []
    ask = type(client.transport).perform_request

    def watched(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        if (
            method not in ("GET", "HEAD")
            and not url.endswith(("/_search", "/_refresh", "/_count"))
            and "/_simulate_index/" not in url
        ):
            written.append(url)
        return ask(self, method, url, *arguments, **more)

    monkeypatch.setattr(type(client.transport), "perform_request", watched)
    done = osplade(node, "--source", f"{index_name}-alias", "--target", f"{index_name}-new", "--sample", "30")
    assert done.exit_code == 0, done.output
    assert written
    assert all(url.startswith(f"/{SCRATCH}{index_name}-new-") for url in written)
    assert cluster_state(client, index_name) == before
    assert scratches(client, index_name) == []
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_plan_leaves_no_index(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the sample."""
    make_old(client, f"{index_name}-old", 30, shards=1)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    seen: list[list[str]] = []

    def interrupt(_done: int, _of: int) -> None:
        seen.append(scratches(client, index_name))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(job, sample=12, tell=interrupt)
    assert len(seen[0]) == 1
    assert scratches(client, index_name) == []


def test_a_plan_that_is_ended_from_outside_leaves_no_index(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path
) -> None:
    """SIGTERM, as of a job that ran too long."""
    make_old(client, f"{index_name}-old", 300, shards=1)
    call = f"from opensearch_splade.cli.main import main; main(['migrate', 'plan', '--url', {node.url!r}, '--source', "
    call += f"'{index_name}-old', '--target', '{index_name}-new', '--sample', '300'])"
    process = subprocess.Popen([sys.executable, "-c", call], cwd=tmp_path, env=dict(os.environ))
    while not scratches(client, index_name) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    assert scratches(client, index_name) == []


def test_it_says_what_the_new_index_will_be(
    client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path
) -> None:
    """Text fields with an example, what is added and kept, the fingerprint and a forecast; for people and machines."""
    make_old(client, f"{index_name}-old", 40, alias=f"{index_name}-alias")
    given_ = ["--source", f"{index_name}-alias", "--target", f"{index_name}-new", "--state", str(tmp_path / "state")]
    found = orjson.loads(osplade(node, *given_, "--sample", "24", "--hourly-price", "3", "--json").stdout)
    assert found["go"] is True
    assert [(one["name"], one["type"], one["is_title"]) for one in found["texts"]] == [
        ("title", "text", True),
        ("body", "text", False),
    ]
    assert all(one["example"] for one in found["texts"])
    assert "mappings.properties.osplade_id.type" in found["target"]["added"]
    assert "mappings.properties.sparse.type" in found["target"]["added"]
    assert (found["target"]["removed"], found["target"]["changed"]) == ([], [])
    assert found["target"]["fingerprints"] == [open_job(client, tmp_path, f"{index_name}-old", "x").sparse.fingerprint]
    assert found["sample"]["documents"] == 24
    assert found["source"]["documents"] == 40
    for figure in ("seconds", "size", "memory", "hours", "money"):
        low, value, high = (found["forecast"][figure][name] for name in ("low", "value", "high"))
        assert 0 < low <= value <= high, figure
    told = osplade(node, *given_, "--sample", "6", "--no-scratch").output
    assert '+      "sparse": {' in told
    assert "encoded as title: title (text), e.g. " in told
    assert "adds: encoded, hash, osplade_id, sparse" in told
    assert "ours are renamed: id is osplade_id" in told
    assert "the size is not forecast" in told
    assert told.rstrip().endswith(": next is osplade migrate run with the same options")


def test_what_stops_it_is_exit_code_3(client: OpenSearch, node: RunningNode, index_name: str) -> None:
    """A name that is taken; a mapping that the cluster would refuse; an index that is closed. Never an error."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 12)
    client.indices.create(index=new)
    taken = osplade(node, "--source", old, "--target", new, "--sample", "6", "--no-scratch")
    assert taken.exit_code == 3
    assert f"an index or alias '{new}' is there already" in taken.output
    client.indices.put_settings(index=old, body={"index.mapping.total_fields.limit": 9})
    full = osplade(node, "--source", old, "--target", f"{new}2", "--sample", "6")
    assert full.exit_code == 3
    assert "total_fields.limit is 9" in full.output
    assert "the new index would be refused" in full.output
    assert scratches(client, index_name) == []
    client.indices.close(index=old)
    closed = osplade(node, "--source", old, "--target", f"{new}2", "--sample", "6")
    assert closed.exit_code == 3
    assert f"open it: POST {old}/_open" in closed.output


def test_a_migration_that_was_begun_may_be_planned_again(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Its own new index does not stand in its way."""
    make_old(client, f"{index_name}-old", 12)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    bring_over(job)
    found = plan(job, sample=6)
    assert found.go
    assert any("the migration was begun" in finding.what for finding in found.findings)


TRAPS: list[tuple[str, str, str, Json, Json]] = [
    ("stop", "has blocks.read, so it cannot be read", "", {"blocks": {"read": True}}, {}),
    ("note", "the new index is made without", "", {"blocks": {"write": True}}, {}),
    ("note", "index.search.default_pipeline is 'theirs'", "", {"search": {"default_pipeline": "theirs"}}, {}),
    ("note", "the index is sorted by price", "", {"sort": {"field": "price"}}, {"parts": None}),
    ("stop", "which is to be dropped", "price", {"sort": {"field": "price"}}, {"parts": None}),
    ("warn", "shards are bound to nodes", "", {"routing": {"allocation": {"exclude": {"_name": "x"}}}}, {}),
    ("warn", "total_fields.limit allows", "", {"mapping": {"total_fields": {"limit": 13}}}, {}),
    ("note", "nested fields (parts)", "", {}, {}),
    ("note", "a join field (kin)", "", {}, {"kin": {"type": "join", "relations": {"mother": "child"}}}),
    ("warn", "a percolator field (stored)", "", {}, {"stored": {"type": "percolator"}}),
    ("warn", "no alias stands for", "", {}, {}),
]


@pytest.mark.parametrize(("severity", "said", "drop", "settings", "fields"), TRAPS, ids=[trap[1] for trap in TRAPS])
def test_each_trap_of_an_index_is_found(
    client: OpenSearch,
    index_name: str,
    tmp_path: Path,
    severity: str,
    said: str,
    drop: str,
    settings: Json,
    fields: Json,
) -> None:
    """In an index of the live node that has it, with its severity."""
    properties = {name: field for name, field in (MAPPINGS["properties"] | fields).items() if field}
    body = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"properties": properties}}
    if "read" not in settings.get("blocks", {}):
        body["settings"] |= settings
    client.indices.create(index=index_name, body=body)
    if "read" in settings.get("blocks", {}):
        client.indices.put_settings(index=index_name, body={"index": settings})
    job = open_job(client, tmp_path, index_name, f"{index_name}-new", drop=(drop,) if drop else ())
    found = [*index_traps.unreadable(job.source), *index_traps.index_traps(job.source, job.spec, job.body("x"))]
    assert [finding.severity for finding in found if said in finding.what] == [severity]


def test_in_place_nothing_of_the_index_is_taken_away(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Fields are added, settings stay; a pipeline that no request can keep from running is warned of."""
    make_old(client, index_name, 5)
    client.indices.put_settings(index=index_name, body={"index": {"final_pipeline": "x", "default_pipeline": "y"}})
    found = plan(open_job(client, tmp_path, index_name, index_name, way="in-place"), scratch=False)
    assert (found.diff.removed, found.diff.changed) == ((), ())
    assert "mappings.properties.sparse.type" in found.diff.added
    [warning] = [finding.what for finding in found.findings if finding.severity == "warn"]
    assert warning.startswith("index.final_pipeline is 'x': it runs at every write")


def test_a_pipeline_runs_from_cutover_on(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Documents come as the old index' pipeline left them, so it does not run a second time while copying."""
    client.ingest.put_pipeline(id=index_name, body={"processors": [{"set": {"field": "title", "value": "changed"}}]})
    try:
        make_old(client, f"{index_name}-old", 3)
        client.indices.put_settings(index=f"{index_name}-old", body={"index.default_pipeline": index_name})
        job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
        found = index_traps.index_traps(job.source, job.spec, job.body("x"))
        assert any(f"index.default_pipeline is '{index_name}'" in finding.what for finding in found)
        assert "default_pipeline" not in job.body("x")["settings"]["index"]
    finally:
        client.indices.put_settings(index=f"{index_name}-old", body={"index.default_pipeline": None})
        client.ingest.delete_pipeline(id=index_name)


def test_templates_and_routing_are_found(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Of both kinds, if their patterns match the new name; and documents with a routing of their own."""
    make_old(client, f"{index_name}-old", 5)
    client.index(index=f"{index_name}-old", id="r", body=record(9), params={"routing": "x", "refresh": "true"})
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    pattern, said = {"index_patterns": [f"{index_name}-n*"]}, {"settings": {"index": {"refresh_interval": "9s"}}}
    told = f"the template '{index_name}' applies to '{index_name}-new' and adds index.refresh_interval, unless the old"
    told += " index says otherwise"
    try:
        client.indices.put_index_template(name=index_name, body={**pattern, "template": said, "priority": 5000})
        assert told in [finding.what for finding in surroundings(job)]
    finally:
        client.indices.delete_index_template(name=index_name)
    try:
        client.indices.put_template(name=index_name, body=pattern | said)
        assert told in [finding.what for finding in surroundings(job)]
    finally:
        client.indices.delete_template(name=index_name)
    assert told not in [finding.what for finding in surroundings(job)]
    assert [finding.what for finding in routed(job)] == ["1 document with a routing of its own, which it keeps"]


def test_a_template_that_shows_the_new_index_to_readers_stops_it(
    client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """One that puts it behind an alias, also by a component: readers would find documents twice, or half of them."""
    make_old(client, f"{index_name}-old", 5)
    job = open_job(client, tmp_path, f"{index_name}-old", f"{index_name}-new")
    component = {"template": {"aliases": {f"{index_name}-read": {}}}}
    template = {"index_patterns": [f"{index_name}-n*"], "composed_of": [index_name], "priority": 5000}
    try:
        client.cluster.put_component_template(name=index_name, body=component)
        client.indices.put_index_template(name=index_name, body=template)
        [found] = [finding for finding in surroundings(job) if finding.severity == "stop"]
        assert f"behind the alias {index_name}-read as soon as it is made" in found.what
    finally:
        client.indices.delete_index_template(name=index_name)
        client.cluster.delete_component_template(name=index_name)


def test_policies_of_index_state_management_are_found() -> None:
    """By the answers that its plugin documents: who manages the old index, and who will take the new one."""
    explained = {"old": {"index.plugins.index_state_management.policy_id": "hot", "policy_id": "hot"}}
    policies = {"policies": [{"_id": "all", "policy": {"ism_template": [{"index_patterns": ["new*"]}]}}]}
    said = [finding.what for finding in policies_found("old", "new-1", explained, policies)]
    assert "the policy 'hot' manages 'old'" in said[0]
    assert said[1] == "the policy 'all' will manage 'new-1' by its name"
    assert list(policies_found("old", "new-1", {"old": {"policy_id": None}}, {"policies": []})) == []


def cluster(free: int, *, status: str = "green", nodes: int = 1, **settings: Any) -> ClusterView:
    """Of nodes with 100 GB disks."""
    each = DataNode("node", 100 * 10**9, free * 10**9, 4 * 2**30, 2**30)
    names = {"low": "85%", "high": "90%", "flood_stage": "95%"}
    said = {f"cluster.routing.allocation.disk.watermark.{stage}": value for stage, value in names.items()}
    return ClusterView("c", status, 10, 0, 0, (each,) * nodes, said | settings)


@pytest.mark.parametrize(
    ("free", "size", "high", "severities"),
    [(50, 10, 20, []), (50, 30, 45, ["warn"]), (50, 46, 60, ["stop"]), (11, 1, 1.5, ["warn"]), (4, 0.1, 0.1, ["stop"])],
)
def test_the_forecast_is_held_against_the_free_disk(free: int, size: float, high: float, severities: list[str]) -> None:
    """Past the flood stage every index of the node would be read-only; past the high watermark shards would move."""
    found = cluster(free).room_for(size * 1e9, high * 1e9, 1, 0)
    assert [finding.severity for finding in found] == severities


def test_replicas_and_shards_need_nodes() -> None:
    """What cannot be placed is said, with what can."""
    [replicas] = cluster(50).room_for(1e9, 1e9, 1, 1)
    assert "--replicas 0" in replicas.remedy
    assert list(cluster(50, nodes=2).room_for(1e9, 1e9, 1, 1)) == []
    [shards] = cluster(50, **{"cluster.max_shards_per_node": "12"}).room_for(1e9, 1e9, 3, 0)
    assert shards.severity == "stop"


def test_a_cluster_that_is_not_well_is_said() -> None:
    """Red stops it, and so does a block on new indices; a heap that is nearly full is warned of."""
    assert [one.severity for one in cluster(50, status="red").findings()] == ["stop"]
    assert [one.severity for one in cluster(50, **{"cluster.blocks.create_index": "true"}).findings()] == ["stop"]
    full = replace(cluster(50), nodes=(DataNode("n", 10**11, 10**11, 2**30, 2**30 - 1000),))
    assert [one.severity for one in full.findings()] == ["warn"]
    assert list(cluster(50).findings()) == []


@pytest.mark.parametrize(("said", "reserve"), [("85%", 15e9), ("0.85", 15e9), ("10gb", 10 * 2**30), ("", 0)])
def test_watermarks_are_read_in_all_their_ways(said: str, reserve: float) -> None:
    """A share that may be used, or bytes that must stay free."""
    view = cluster(50, **{"cluster.routing.allocation.disk.watermark.low": said})
    assert view.reserve("low") == pytest.approx(reserve)


part_lists = st.lists(
    st.builds(Part, st.integers(1, 60), st.floats(0.01, 9), st.floats(0.005, 0.01), st.integers(1, 10**6)),
    min_size=1,
    max_size=8,
)


@given(part_lists, st.floats(1, 1e9), st.floats(0, 1))
def test_a_figure_lies_within_its_error(parts: list[Part], documents: float, spread: float) -> None:
    """Whatever the sample showed."""
    for estimate in (forecast.seconds_each(parts), forecast.size(parts, documents, spread)):
        assert 0 <= estimate.low <= estimate.value * (1 + 1e-9)
        assert estimate.value <= estimate.high * (1 + 1e-9)


@given(st.floats(0.82, 1.0), st.floats(100, 1e4), st.integers(301, 10**8))
def test_a_power_law_is_found_and_continued(exponent: float, unit: float, documents: int) -> None:
    """Sizes that follow one are forecast exactly, but for whole bytes."""
    parts = [Part(50, 1.0, 0.5, round(unit * count**exponent)) for count in range(50, 301, 50)]
    expected = unit * documents**exponent
    assert forecast.size(parts, documents, 0.0).value == pytest.approx(expected, rel=0.05)


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_share_lies_within_its_error(count: int, of: int) -> None:
    """Also near none and all."""
    low, high = forecast.share(min(count, of), of)[1:]
    assert 0 <= low <= min(count, of) / of <= high <= 1


def test_no_more_than_the_most_is_forecast() -> None:
    """A pace that was asked for is kept to."""
    parts = [Part(10, 1.0, 0.5)] * 6
    assert forecast.seconds_each(parts, 2.0) == (0.5, 0.5, 0.5)


def debian(data: Path, count: int) -> Iterator[Json]:
    """Debian's short descriptions."""
    with gzip.open(data / "debian" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in islice(lines, count):
            one = json.loads(line)
            yield {"_id": one["_id"], "title": one["title"], "body": one["text"]}


def test_the_sample_is_spread_over_all_that_was_written(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Over every shard and its whole history, each document once; a sample may be all there is."""
    make_old(client, index_name, 200)
    job = open_job(client, tmp_path, index_name, f"{index_name}-new")
    some = [int(document.id[1:]) for document in take(job, 40)]
    assert len(set(some)) == len(some)
    assert len(some) == 40
    for quarter in range(4):
        assert 5 <= sum(50 * quarter <= number < 50 * (quarter + 1) for number in some) <= 15
    assert len(take(job, 1000)) == 200


def test_the_size_comes_within_the_stated_error(
    client: OpenSearch, index_name: str, tmp_path: Path, collections_dir: Path
) -> None:
    """Forecast by 120 documents, then 600 are really brought over."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    fields = {"title": {"type": "text"}, "body": {"type": "text", "analyzer": "english"}}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=old, body={"settings": settings, "mappings": {"properties": fields}})
    helpers.bulk(client, ({"_index": old, **one} for one in debian(collections_dir, 600)), refresh=True)
    job = open_job(client, tmp_path, old, new)
    found = plan(job, sample=120)
    bring_over(job)
    client.indices.forcemerge(index=new, params={"max_num_segments": "1"})
    client.indices.refresh(index=new)
    [copy] = client.indices.segments(index=new)["indices"][new]["shards"]["0"]
    size = sum(one["size_in_bytes"] for one in copy["segments"].values() if one["search"])
    assert found.forecast is not None
    assert found.forecast.size is not None
    assert found.forecast.size.low * 0.95 <= size <= found.forecast.size.high * 1.05


def test_findings_come_with_the_gravest_first(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """And documents without text, or longer than the bundle reads, are counted in the sample."""
    make_old(client, index_name, 10)
    for number in range(10):
        client.index(index=index_name, id=f"w{number}", body={"id": number})
        client.index(index=index_name, id=f"l{number}", body={"body": "fox river " * 400})
    client.indices.refresh(index=index_name)
    job: Job = open_job(client, tmp_path, index_name, f"{index_name}-new")
    found = plan(job, sample=100)
    order = [("stop", "warn", "note").index(finding.severity) for finding in found.findings]
    assert order == sorted(order)
    said: dict[str, Finding] = {finding.what.partition(" (")[0]: finding for finding in found.findings}
    assert "10 of 30 documents of the sample" in said
    assert found.rehearsal is not None
    assert (found.rehearsal.wordless, found.rehearsal.truncated) == (10, 10)
