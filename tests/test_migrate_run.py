"""`osplade migrate run`: everything is brought over once, with its last state, whatever happens meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from migrations import bring_over, fill, make_old, open_job, record, sources

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError, TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.documents import theirs
from opensearch_splade.migration.job import Job
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.query import Feedback, Searcher
from opensearch_splade.types import DOT

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def require_same(client: OpenSearch, old: str, new: str, job: Job) -> None:
    """Both hold the same documents, and the new one a vector of each."""
    kept = job.rules.kept
    assert kept is not None
    before, after = sources(client, old), sources(client, new)
    assert {id_: theirs(source, kept) for id_, source in after.items()} == before
    for id_, source in after.items():
        assert source[job.meta.name("encoded")] == list(job.marker), id_
        assert source[job.meta.name("id")] == id_


def test_documents_stay_as_they_were_beside_our_fields(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Mapping, analyzers, nested fields, ids and numbers are kept; a field called like ours keeps its name."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 120)
    client.index(index=old, id="routed", body=record(500), params={"routing": "elsewhere"}, refresh=True)
    client.index(index=old, id="wordless", body={"id": 7, "price": 1.0}, refresh=True)
    job = open_job(client, tmp_path, old, new)
    copier = bring_over(job)
    assert (copier.copied.indexed, copier.copied.gap, copier.copied.dead) == (122, 0, 0)
    require_same(client, old, new, job)
    mapping = client.indices.get_mapping(index=new)[new]["mappings"]
    assert mapping["properties"]["body"] == job.source.mappings["properties"]["body"]
    assert mapping["properties"]["id"] == {"type": "long"}
    assert mapping["properties"]["osplade_id"]["type"] == "keyword"
    assert client.get(index=new, id="routed", params={"routing": "elsewhere"})["found"]
    assert sources(client, new)["wordless"]["sparse"] == {}


def test_the_new_index_is_asked_and_explained_like_any(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Every leg answers with ids, text and the rest of the document; explanations add up; ours stays out of sight."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 60)
    job = open_job(client, tmp_path, old, new, dense_bundle="minilm-l6")
    bring_over(job)
    client.indices.refresh(index=new)
    searcher = Searcher(client, new, capabilities=probe(client), sparse=job.sparse, dense=job.dense)
    for mode in ("bm25", "neural-sparse", "weighted-terms", "knn", "hybrid"):
        found = searcher.search("engine of the island", mode=mode, size=5, explain=True)
        assert len(found.hits) == 5, mode
        assert not found.notices, (mode, found.notices)
        for hit in found.hits:
            stored = record(int(hit.id[1:]))
            assert (hit.title, hit.text) == (stored["title"], stored["body"])
            assert hit.metadata == {name: stored[name] for name in ("id", "price", "tags", "parts")}
            assert sum(leg.contribution for leg in hit.legs) == pytest.approx(hit.score, rel=1e-5)
    pages = list(searcher.exhaust("engine of the island", mode="hybrid", page=20))
    assert len({hit.id for page in pages for hit in page.hits}) == 60
    expanded = searcher.search("engine", mode="neural-sparse", feedback=Feedback.parse("rm3:3:10:0.5"), explain=True)
    assert expanded.hits
    assert ["features added" in notice for notice in expanded.notices] == [True]
    [listed] = searcher.search_many(["engine"], mode="hybrid", ids_only=True)
    assert not isinstance(listed, Exception)
    assert all(hit.id.startswith("d") for hit in listed.hits)


def test_writes_updates_and_deletes_are_caught_up(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """A second round brings over what changed since the first, and nothing else."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 100)
    job = open_job(client, tmp_path, old, new)
    bring_over(job)
    fill(client, old, range(100, 110))
    client.update(index=old, id="d3", body={"doc": {"price": 99.5}})
    client.update(index=old, id="d4", body={"doc": {"body": "something else entirely"}})
    client.delete(index=old, id="d5")
    client.delete(index=old, id="d6")
    client.index(index=old, id="d6", body=record(600))
    copier = bring_over(job)
    assert (copier.copied.indexed, copier.copied.deleted) == (13, 1)
    require_same(client, old, new, job)
    assert bring_over(job).copied.read == 0


def test_what_a_killed_process_wrote_unnoted_does_not_stay(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Indexed, killed before it was noted, deleted by a user: no ledger knows it, and it goes all the same."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 30)
    job = open_job(client, tmp_path, old, new)
    bring_over(job)
    left = sources(client, new)["d1"]
    client.index(index=new, id="unnoted", body={**left, "osplade_id": "unnoted"})
    client.index(index=new, id="of-others", body=record(7), refresh=True)  # not ours to delete
    copier = bring_over(open_job(client, tmp_path, old, new))
    assert copier.copied.deleted == 1
    assert sources(client, new).keys() == {*sources(client, old), "of-others"}


def test_a_run_goes_on_where_it_was(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Positions and ledgers outlast the process: read again, nothing is encoded again."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 80)
    bring_over(open_job(client, tmp_path, old, new))
    job = open_job(client, tmp_path, old, new)
    begin(job)
    with Copier(job) as copier:
        copier.again()
        assert copier.round() == 0
    assert (copier.copied.read, copier.copied.unchanged, copier.copied.indexed) == (80, 80, 0)


def test_workers_share_the_shards(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """A second worker takes the shards that are free; one too many is told so."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 40)
    job = open_job(client, tmp_path, old, new)
    begin(job)
    job.state.ledger(0).parent.mkdir(exist_ok=True)
    from opensearch_splade.ingest.ledger import Ledger

    with Ledger(job.state.ledger(0)), Copier(job) as second:
        assert second.shards == (1,)
        second.round()
        with pytest.raises(MigrationError, match="as many workers as it has shards"), Copier(job):
            pass
    with Copier(job) as first:
        first.round()
    require_same(client, old, new, job)


def test_in_place_vectors_come_to_the_documents(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Nothing of a document changes but our fields; a second run writes nothing; what others write comes again."""
    old = f"{index_name}-old"
    make_old(client, old, 50)
    before = sources(client, old)
    job = open_job(client, tmp_path, old, old, way="in-place")
    first = bring_over(job)
    assert first.copied.indexed == 50
    kept = job.rules.kept
    assert kept is not None
    after = sources(client, old)
    assert {id_: theirs(source, kept) for id_, source in after.items()} == before
    assert all(source["encoded"] == list(job.marker) for source in after.values())
    client.index(index=old, id="d1", body=record(1))  # the same content, and so without a vector
    client.update(index=old, id="d2", body={"doc": {"body": "another text"}})
    again = bring_over(open_job(client, tmp_path, old, old, way="in-place"))
    assert again.copied.indexed == 2
    assert sources(client, old)["d1"]["sparse"] == after["d1"]["sparse"]
    assert sources(client, old)["d2"]["sparse"] != after["d2"]["sparse"]
    assert bring_over(open_job(client, tmp_path, old, old, way="in-place")).copied.indexed == 0


def test_a_run_that_ended_when_it_had_made_the_index_has_begun(
    client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Killed between the index and the note of it, the next run notes it: else nothing could ever be cut over."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 5)
    job = open_job(client, tmp_path, old, new)
    client.indices.create(index=new, body=job.body(job.state.record.ledger_name))
    assert begin(job) is False
    assert job.state.last("begun")


def test_in_place_a_newer_document_is_not_written_over(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """What changed after it was read keeps its new content, and gets its vector in the next round."""
    old = f"{index_name}-old"
    make_old(client, old, 20, shards=1)
    job = open_job(client, tmp_path, old, old, way="in-place")
    begin(job)

    def meanwhile(documents: Any) -> Any:
        held = list(documents)
        client.update(index=old, id="d7", body={"doc": {"body": "written meanwhile"}})
        return iter(held)

    with Copier(job, through=meanwhile) as copier:
        copier.round()
        assert copier.copied.superseded == 1
    stored = sources(client, old)["d7"]
    assert (stored["body"], "sparse" in stored) == ("written meanwhile", False)
    bring_over(job)
    assert sources(client, old)["d7"]["sparse"]


ELSER = {"the": 0.5, "__": 1.25, "____": 0.0, "##__": 0.75, "fox": 2.0}


def test_elser_tokens_are_copied_and_their_dots_told(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Vectors of another model come over as they are, its dots as ours; no model runs, zero weights are left out."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    mappings = {"properties": {"body": {"type": "text"}, "ml": {"properties": {"tokens": {"type": "rank_features"}}}}}
    client.indices.create(index=old, body={"mappings": mappings})
    without_zero = {token: weight for token, weight in ELSER.items() if weight}
    client.index(index=old, id="e1", body={"body": "the fox.", "ml": {"tokens": without_zero}})
    client.index(index=old, id="e2", body={"body": "no vector"}, refresh=True)
    job = open_job(client, tmp_path, old, new, way="vectors", vectors="ml.tokens", drop=("ml",))
    copier = bring_over(job)
    assert copier.copied.indexed == 2
    found = sources(client, new)
    assert found["e1"]["sparse"] == {"the": 0.5, DOT: 1.25, f"##{DOT}": 0.75, "fox": 2.0}
    assert found["e2"]["sparse"] == {}
    assert "ml" not in found["e1"]
    assert "ml" not in client.indices.get_mapping(index=new)[new]["mappings"]["properties"]


def test_vectors_of_a_foreign_model_keep_its_name(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Whoever asks must bring query weights of that model: a bundle of ours is refused."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    mappings = {"properties": {"body": {"type": "text"}, "tokens": {"type": "rank_features"}}}
    client.indices.create(index=old, body={"mappings": mappings})
    client.index(index=old, id="e1", body={"body": "the fox", "tokens": {"▁fox": 2.5}}, refresh=True)
    job = open_job(client, tmp_path, old, new, way="vectors", vectors="tokens", foreign="elser-2")
    bring_over(job)
    assert sources(client, new)["e1"]["sparse"] == {"▁fox": 2.5}
    with pytest.raises(TargetError, match="elser-2"):
        Searcher(client, new, capabilities=probe(client), sparse=job.sparse)


def test_rank_features_become_token_ids_and_back(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """``sparse_vector`` fields hold ids, ``rank_features`` names: both ways the same vector, without encoding."""
    first, second, third = (f"{index_name}-{name}" for name in ("names", "ids", "back"))
    make_old(client, f"{index_name}-old", 12, shards=1)
    bring_over(open_job(client, tmp_path / "1", f"{index_name}-old", first))
    there = open_job(
        client, tmp_path / "2", first, second, way="vectors", vectors="sparse", sparse_field="sparse_vector"
    )
    bring_over(there)
    bring_over(open_job(client, tmp_path / "3", second, third, way="vectors", vectors="sparse"))
    names, ids, back = (sources(client, index) for index in (first, second, third))
    token_ids = SparseEncoder.load("splade-tiny-idf").token_ids
    for id_, source in names.items():
        assert ids[id_]["sparse"] == {str(token_ids[name]): weight for name, weight in source["sparse"].items()}
        assert back[id_]["sparse"] == source["sparse"]
    assert IndexMeta.read(client, second).sparse == replace(
        IndexMeta.read(client, first).sparse or pytest.fail("no sparse field"), seismic=there.rules.seismic
    )


def test_query_weights_are_counted_over_the_documents(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Each document once, whatever came twice; what others keep in the mapping's ``_meta`` stays."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 40)
    client.indices.put_mapping(index=old, body={"_meta": {"owner": "search team"}})
    bring_over(open_job(client, tmp_path, old, new, bundle="splade-tiny", query_weights="idf"))
    fill(client, old, range(5))
    bring_over(open_job(client, tmp_path, old, new, bundle="splade-tiny", query_weights="idf"))
    assert client.indices.get_mapping(index=new)[new]["mappings"]["_meta"]["owner"] == "search team"
    place = IndexMeta.read(client, new).query_weights
    assert place is not None
    table = load_query_weights(client, place)
    holding = sum("fox" in f"{one['title']} {one['body']}".split() for one in map(record, range(40)))
    assert 0 < holding < 40
    assert table["fox"] == round(math.log1p((40 - holding + 0.5) / (holding + 0.5)), 4)


@pytest.mark.parametrize(
    ("mappings", "says"),
    [
        ({"_source": {"enabled": False}}, "keeps no _source"),
        ({"_source": {"excludes": ["secret"]}}, "what is left out would be lost"),
        ({"properties": {"price": {"type": "double"}}}, "no analyzed field of text"),
    ],
)
def test_what_cannot_be_moved_is_refused(
    client: OpenSearch, index_name: str, tmp_path: Path, mappings: Mapping[str, Any], says: str
) -> None:
    """With the reason, before anything is written."""
    old = f"{index_name}-old"
    client.indices.create(index=old, body={"mappings": mappings})
    with pytest.raises(MigrationError, match=says):
        begin(open_job(client, tmp_path, old, f"{index_name}-new"))
    assert not client.indices.exists(index=f"{index_name}-new")


def test_a_target_of_others_is_refused(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """An index that is there already is not written to."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 3)
    client.indices.create(index=new)
    with pytest.raises(MigrationError, match="this migration did not make it"):
        begin(open_job(client, tmp_path, old, new))


def test_several_indices_behind_a_name_are_refused(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """One at a time."""
    for place in "ab":
        make_old(client, f"{index_name}-{place}", 1, alias=f"{index_name}-both")
    with pytest.raises(MigrationError, match="stands for 2 indices"):
        open_job(client, tmp_path, f"{index_name}-both", f"{index_name}-new")


def test_an_index_of_ours_is_encoded_anew(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Its documents come by title, text and metadata, as ``osplade ingest`` writes them."""
    lines = "\n".join(f'{{"_id":"x{number}","title":"fox {number}","text":"dog","kind":"a"}}' for number in range(9))
    (tmp_path / "docs.jsonl").write_text(lines)
    first, second = f"{index_name}-first", f"{index_name}-second"
    url = client.transport.hosts[0]
    address = f"http://{url['host']}:{url['port']}"
    arguments = [
        str(tmp_path / "docs.jsonl"),
        "--index",
        first,
        "--url",
        address,
        "--dead-letters",
        str(tmp_path / "d"),
    ]
    assert CliRunner().invoke(main, ["ingest", *arguments, "--bundle", "splade-tiny-idf"]).exit_code == 0
    job = open_job(client, tmp_path, first, second, bundle="splade-tiny", prune="top_k:5")
    bring_over(job)
    before, after = sources(client, first), sources(client, second)
    for id_, source in after.items():
        assert {**source, "sparse": 0, "encoded": 0} == {**before[id_], "sparse": 0, "encoded": 0}
        assert len(source["sparse"]) == 5


def test_the_command_says_what_it_did(node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """As JSON for machines; a second call by its state alone has nothing to do."""
    old, new, state = f"{index_name}-old", f"{index_name}-new", str(tmp_path / "state")
    make_old(client, old, 30)
    config = tmp_path / "m.toml"
    config.write_text(f'source = "{old}"\ntarget = "{new}"\ntexts = ["body"]\ntitle = "title"\n')
    where = ["--url", node.url, "--state", state, "--json"]
    first = CliRunner().invoke(main, ["migrate", "run", "--config", str(config), *where])
    assert first.exit_code == 0, first.output
    assert orjson.loads(first.stdout)["indexed"] == 30
    second = orjson.loads(CliRunner().invoke(main, ["migrate", "run", *where]).stdout)
    assert (second["read"], second["gap"]) == (0, 0)
    other = CliRunner().invoke(main, ["migrate", "run", "--source", old, "--target", f"{new}2", *where])
    assert "belongs to a migration that was begun otherwise" in other.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('source = "a"', "target: is not said"),
        ('source = "a"\ntarget = "b"\nspeed = 3', "speed: there is no such value"),
        ('source = "a"\ntarget = "B"', "target: is no name of an index: lower case"),
        ('source = "a"\ntarget = "b"\nway = "vectors"', "go together"),
        ('source = "a"\ntarget = "b"\ntexts = "body"', "texts: is a list"),
        ('source = "a"\ntarget = "b"\nshards = "two"', "shards: is a whole number"),
        ('source = "a"\ntarget = "b"\nforeign = "x"', "foreign goes with way vectors"),
        ("source = ", "is not TOML"),
    ],
)
def test_a_wrong_config_is_told(tmp_path: Path, text: str, says: str) -> None:
    """With the value and what is wrong with it."""
    from opensearch_splade.migration.spec import MigrationSpec

    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(MigrationError, match=says):
        MigrationSpec.read(path)
