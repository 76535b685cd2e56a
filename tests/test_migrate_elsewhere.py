"""An index on another cluster: OpenSearch 2.19, followed from here, whatever happens to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from migrations import bring_over, open_job, record, sources
from opensearchpy.exceptions import AuthorizationException
from second_node import second_node, start

from opensearch_splade.cli.main import main
from opensearch_splade.errors import CapabilityError, TargetError
from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.documents import theirs
from opensearch_splade.migration.job import Job
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.node_state import LocalNode
from opensearch_splade.query import Searcher
from opensearch_splade.types import Document, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

pytestmark = pytest.mark.filterwarnings("ignore:.*store.hybrid.mmap.extensions")  # as 2.19 itself says of it

MAPPINGS: Json = {
    "dynamic": "false",
    "properties": {
        "title": {"type": "text", "analyzer": "short"},
        "body": {"type": "text", "fields": {"raw": {"type": "keyword", "normalizer": "plain"}}},
        "extra": {"type": "flat_object"},
        "labels": {"type": "object", "dynamic": "true"},
        "parts": {"type": "nested", "properties": {"name": {"type": "keyword"}}},
        "price": {"type": "scaled_float", "scaling_factor": 8},
        "serial": {"type": "unsigned_long"},
        "sku": {"type": "wildcard", "doc_values": True},
        "tags": {"type": "keyword"},
        "named": {"type": "alias", "path": "tags"},
        "boost": {"type": "rank_feature"},
        "kind": {"type": "constant_keyword", "value": "book"},
    },
}
SETTINGS: Json = {
    "number_of_shards": 1,
    "number_of_replicas": 0,
    "analysis": {
        "analyzer": {"short": {"type": "standard", "max_token_length": 20, "stopwords": ["the"]}},
        "normalizer": {"plain": {"type": "custom", "filter": []}},
    },
    "max_ngram_diff": 3,
    "merge.policy.max_merge_at_once": 20,
    "refresh_interval": "7s",
    "search.slowlog.threshold.query.warn": "10s",
    "store.hybrid.mmap.extensions": ["nvd", "dvd"],
    "translog.durability": "async",
}


@pytest.fixture(scope="module")
def older(node: RunningNode, open_folder: Path) -> Iterator[LocalNode]:
    assert node.url
    with second_node(open_folder / "older") as running:
        yield running


@pytest.fixture(scope="module")
def there(older: LocalNode) -> Iterator[OpenSearch]:
    with connect(older.url) as client:
        yield client


def at(older: LocalNode, index: str) -> str:
    """The source as an engineer names it."""
    return f"{older.url}/{index}"


def require_same(job: Job) -> dict[str, Json]:
    """Both clusters hold the same documents, and the new one a vector of each."""
    kept = job.rules.kept
    assert kept is not None
    before, after = sources(job.source_client, job.source.name), sources(job.client, job.spec.target)
    assert {id_: theirs(source, kept) for id_, source in after.items()} == before
    assert all(source[job.meta.name("encoded")] == list(job.marker) for source in after.values())
    return after


def as_here(number: int) -> Json:
    """A document with a value for each field of ``MAPPINGS``."""
    return {
        **{name: value for name, value in record(number).items() if name != "id"},
        "extra": {"color": {"deep": ["red", number]}},
        "labels": {"new": str(number)},
        "serial": 2**64 - 1 - number,
        "sku": f"sku-{number}",
        "boost": number + 1,
        "unmapped": [1, "x", None],
    }


def test_all_of_an_index_comes_over(
    there: OpenSearch, older: LocalNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Split, closed and opened again there: its documents, mapping and useful settings are those of the new index."""
    there.indices.create(index=f"{index_name}-whole", body={"settings": SETTINGS, "mappings": MAPPINGS})
    for number in range(60):
        there.index(index=f"{index_name}-whole", id=f"d{number}", body=as_here(number))
    there.index(index=f"{index_name}-whole", id="routed", body=as_here(60), params={"routing": "elsewhere"})
    there.indices.put_settings(index=f"{index_name}-whole", body={"index.blocks.write": True})
    old, new = f"{index_name}-old", f"{index_name}-new"
    there.indices.split(
        index=f"{index_name}-whole",
        target=old,
        body={"settings": {"index.number_of_shards": 2, "index.number_of_replicas": 0}},
    )
    there.cluster.health(index=old, params={"wait_for_status": "green"})
    there.indices.put_settings(index=old, body={"index.blocks.write": None})
    there.indices.close(index=old)
    there.indices.open(index=old)
    there.cluster.health(index=old, params={"wait_for_status": "green"})
    there.indices.put_settings(index=old, body={"index.default_pipeline": "clean"})
    job = open_job(client, tmp_path, at(older, old), new)
    copier = bring_over(job)
    assert (copier.copied.indexed, copier.copied.dead, copier.copied.gap) == (61, 0, 0)
    require_same(job)
    assert client.get(index=new, id="routed", params={"routing": "elsewhere"})["found"]
    made = client.indices.get(index=new)[new]
    assert job.source.mappings["properties"].items() <= made["mappings"]["properties"].items()
    assert made["mappings"]["dynamic"] == "false"
    settings = made["settings"]["index"]
    assert settings["number_of_shards"] == "2"
    for name in ("analysis", "max_ngram_diff", "refresh_interval", "search", "translog", "merge"):
        assert settings[name] == job.source.settings[name]
    assert not {"default_pipeline", "resize", "store"} & set(settings)
    assert [note.split()[0] for note in job.source.notes] == ["default_pipeline", "the"]


def test_changes_are_caught_up(
    there: OpenSearch, older: LocalNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Updates, deletes and new documents of the other cluster; a third round finds nothing."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_here(there, old, 50)
    bring_over(open_job(client, tmp_path, at(older, old), new))
    for number in range(50, 55):
        there.index(index=old, id=f"d{number}", body=as_here(number))
    there.update(index=old, id="d3", body={"doc": {"price": 99.5}})
    there.delete(index=old, id="d5")
    there.delete(index=old, id="d6")
    there.index(index=old, id="d6", body=as_here(600))
    job = open_job(client, tmp_path, at(older, old), new)
    copier = bring_over(job)
    assert (copier.copied.indexed, copier.copied.deleted) == (7, 1)
    assert "d5" not in require_same(job)
    assert bring_over(job).copied.read == 0


def make_here(there: OpenSearch, index: str, count: int) -> None:
    """An index of 2.19, which has no English analyzer without its modules."""
    there.indices.create(index=index, body={"settings": SETTINGS, "mappings": MAPPINGS})
    for number in range(count):
        there.index(index=index, id=f"d{number}", body=as_here(number))


def test_a_restart_of_the_other_cluster_is_survived(
    older: LocalNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """In the middle of a round it goes away and comes back: the round waits and loses nothing."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    with connect(older.url) as there:
        make_here(there, old, 40)
    job = open_job(client, tmp_path, at(older, old), new)
    begin(job)
    port = int(older.url.rpartition(":")[2])
    restarts: list[str] = []

    def restarting(documents: Iterator[Document]) -> Iterator[Document]:
        for place, document in enumerate(documents):
            if place == 20 and not restarts:
                local.stop(older.home)
                restarts.append(start(older.home, port).url)
            yield document

    with Copier(job, through=restarting) as copier:
        with connect(older.url) as there:
            there.delete(index=old, id="d39")
            there.indices.refresh(index=old)
        copier.round()
        with connect(older.url) as there:
            there.index(index=old, id="d41", body=as_here(41))
            there.delete(index=old, id="d0")
        assert copier.round() == 0
    assert restarts == [older.url]
    assert {"d39", "d0"}.isdisjoint(require_same(job))


def test_the_other_cluster_may_be_away_when_a_page_is_asked_for(
    older: LocalNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """The page is asked for again until it is back."""
    from threading import Thread

    old = f"{index_name}-old"
    with connect(older.url) as there:
        make_here(there, old, 30)
    job = open_job(client, tmp_path, at(older, old), f"{index_name}-new")
    history = job.history(0)
    upto = history.checkpoint()
    pages = history.read(-1, upto, page=10)
    first = next(pages)
    local.stop(older.home)
    back = Thread(target=start, args=(older.home, int(older.url.rpartition(":")[2])))
    back.start()
    rest = [hit for page in pages for hit in page]
    back.join()
    assert [hit["_seq_no"] for hit in [*first, *rest]] == list(range(30))
    assert history.checkpoint() == upto


def test_the_whole_way_and_back(there: OpenSearch, older: LocalNode, node: RunningNode, index_name: str) -> None:
    """Verified, cut over and rolled back: what was written here meanwhile is there, which took no writes till then."""
    old, new, alias = (f"{index_name}-{name}" for name in ("old", "new", "alias"))
    make_here(there, old, 20)
    before = sources(there, old)

    def step(name: str, *given: str, code: int = 0) -> str:
        where = ["--url", node.url, "--state", str(older.home / f"state-{index_name}")]
        ran = CliRunner().invoke(main, ["migrate", name, *given, *where])
        assert ran.exit_code == code, ran.output
        return ran.output

    step("run", "--source", at(older, old), "--target", new)
    step("verify")
    assert "Say --aliases A,B" in step("cutover", "--yes", code=1)
    step("cutover", "--yes", "--aliases", alias)
    with pytest.raises(AuthorizationException):
        there.index(index=old, id="d0", body=as_here(0))
    with connect(node.url) as client:
        assert list(client.indices.get_alias(name=alias)) == [new]
        client.index(index=alias, id="d20", body=as_here(20))
        client.update(index=alias, id="d1", body={"doc": {"price": 7.5}})
        client.delete(index=alias, id="d2")
        step("rollback", "--yes")
        assert not client.indices.exists_alias(name=alias)
    del before["d2"]
    assert sources(there, old) == before | {"d20": as_here(20), "d1": before["d1"] | {"price": 7.5}}
    there.index(index=old, id="d0", body=as_here(0))


def test_an_older_server_is_asked(there: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """Without any plugin it has BM25 and weighted terms, explained; all else is refused with what is missing."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_here(there, old, 40)
    job = open_job(there, tmp_path, old, new)
    bring_over(job)
    there.indices.refresh(index=new)
    capabilities = probe(there)
    assert capabilities.version == (2, 19, 5)
    assert capabilities.plugins == {"mapper-extras", "transport-netty4"}
    searcher = Searcher(there, new, capabilities=capabilities, sparse=job.sparse)
    for mode in ("bm25", "weighted-terms"):
        found = searcher.search("engine of the island", mode=mode, size=5, explain=True)
        assert len(found.hits) == 5, mode
        for hit in found.hits:
            assert sum(leg.contribution for leg in hit.legs) == pytest.approx(hit.score, rel=1e-5)
    with pytest.raises(CapabilityError, match="neural-search"):
        searcher.search("engine", mode="neural-sparse", size=5)
    with pytest.raises(CapabilityError, match=r"knn|neural-search"):
        begin(open_job(there, tmp_path / "dense", old, f"{new}-dense", dense_bundle="minilm-l6"))


def test_an_index_of_ours_moves_between_versions(
    there: OpenSearch, older: LocalNode, client: OpenSearch, index_name: str, tmp_path: Path
) -> None:
    """Its vectors are copied as they are, from the older cluster to the newer one."""
    old, middle, new = (f"{index_name}-{name}" for name in ("old", "middle", "new"))
    make_here(there, old, 20)
    bring_over(open_job(there, tmp_path / "1", old, middle))
    job = open_job(client, tmp_path / "2", at(older, middle), new, way="vectors", vectors="sparse")
    bring_over(job)
    before, after = sources(there, middle), sources(client, new)
    assert {id_: source["sparse"] for id_, source in after.items()} == {
        id_: source["sparse"] for id_, source in before.items()
    }


def test_an_index_that_is_not_there(older: LocalNode, client: OpenSearch, tmp_path: Path) -> None:
    """Is told before anything is made."""
    with pytest.raises(TargetError, match="no index or alias 'nothing'"):
        open_job(client, tmp_path, at(older, "nothing"), "melse-nothing")
    assert not (tmp_path / "state").exists()
