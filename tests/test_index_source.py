"""The documents of an index as a source: each once, with its id, from OpenSearch and in the words of Elasticsearch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from opensearchpy import OpenSearch, exceptions

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError
from opensearch_splade.ingest import index_source
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Document

COUNT = 2300
SHARDS = 3


@pytest.fixture
def filled(client: OpenSearch, index_name: str) -> str:
    """An index of several shards and segments, with documents that were deleted and replaced."""
    settings = {"number_of_shards": SHARDS, "number_of_replicas": 0, "refresh_interval": "-1"}
    client.indices.create(index=index_name, body={"settings": settings})
    write(client, index_name, [(f"d{n}", {"title": f"t{n}", "text": f"old {n}", "n": n}) for n in range(COUNT)])
    write(client, index_name, [(f"d{n}", {"title": f"t{n}", "text": f"text {n}", "n": n}) for n in range(COUNT)])
    write(client, index_name, [("gone", {"text": "x"})])
    client.delete(index=index_name, id="gone", params={"refresh": "true"})
    return index_name


def write(client: OpenSearch, index: str, documents: list[tuple[str, dict[str, Any]]]) -> None:
    """Documents of an id each, as a segment of their own."""
    lines = [part for id_, source in documents for part in ({"index": {"_id": id_}}, source)]
    client.bulk(index=index, body=lines, params={"refresh": "true"})


def expected(count: int = COUNT) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """What `filled` holds, by id."""
    return {f"d{n}": (f"t{n}", f"text {n}", {"n": n}) for n in range(count)}


def by_id(records: Iterator[Document | DeadLetter]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Documents by id; a dead letter, such as an id that comes twice, fails the test."""
    found = {}
    for record in records:
        assert isinstance(record, Document), record
        found[record.id] = (record.title, record.text, dict(record.metadata))
    return found


def open_contexts(client: OpenSearch, index: str) -> int:
    """Points in time and scrolls that the node holds of an index."""
    found: int = client.indices.stats(index=index, metric="search")["_all"]["total"]["search"]["open_contexts"]
    return found


@pytest.mark.server
def test_every_document_comes_once(client: OpenSearch, node: RunningNode, filled: str) -> None:
    """Over pages, shards and segments; by name on the given cluster, and by URL."""
    assert by_id(read_source(f"index:{filled}", client=client)) == expected()
    assert by_id(read_source(f"index:{node.url}/{filled}")) == expected()
    assert open_contexts(client, filled) == 0


@pytest.mark.server
def test_what_is_written_meanwhile_is_not_seen(client: OpenSearch, filled: str) -> None:
    """A shard is read as it was when its turn came, whatever is written, merged and deleted since."""
    with closing(cast("Any", read_source(f"index:{filled}", client=client))) as records:
        found = [next(records)]
        assert open_contexts(client, filled) > 0
        shard = {hit["_id"] for hit in shard_of(client, filled, found[0].id)}
        client.delete_by_query(index=filled, body={"query": {"match_all": {}}}, params={"refresh": "true"})
        client.indices.forcemerge(index=filled, params={"max_num_segments": 1})
        found += records
    assert {record.id for record in found} == shard
    assert open_contexts(client, filled) == 0


def shard_of(client: OpenSearch, index: str, id_: str) -> list[dict[str, Any]]:
    """The documents that lie in the same shard as one."""
    for shard in range(SHARDS):
        hits = client.search(index=index, body={"size": 10_000}, params={"preference": f"_shards:{shard}"})["hits"]
        if any(hit["_id"] == id_ for hit in hits["hits"]):
            return list(hits["hits"])
    raise AssertionError(id_)


@pytest.mark.server
def test_a_reader_that_stops_holds_nothing(client: OpenSearch, filled: str) -> None:
    """Its point in time is given back."""
    records = read_source(f"index:{filled}", client=client)
    next(records)
    cast("Any", records).close()
    assert open_contexts(client, filled) == 0


@pytest.mark.server
def test_fields_and_metadata(client: OpenSearch, index_name: str) -> None:
    """Only what is named is asked for; odd values and other shapes are told, and stop nothing."""
    good = {"headline": "h", "body": "b", "abstract": "a", "year": 1, "other": [1]}
    write(client, index_name, [("1", good), ("2", {"body": 7}), ("3", {"headline": "only"})])
    fields = FieldMap(title="headline", texts=("abstract", "body"), keep=("year",))
    found = {record.id: record for record in read_source(f"index:{index_name}", fields, client)}
    assert found["1"] == Document("1", "a\n\nb", "h", {"year": 1})
    assert found["3"] == Document("3", "", "only", {})
    letter = found["2"]
    assert isinstance(letter, DeadLetter)
    assert (letter.place, letter.reason) == (f"{index_name}/2", "'body' must be a string, not a JSON number.")
    by_headline = read_source(f"index:{index_name}", FieldMap(id="headline", texts=("abstract",)), client)
    assert [record.metadata["_id"] for record in by_headline if isinstance(record, Document)] == ["1"]


@pytest.mark.server
def test_an_alias_and_its_filter(client: OpenSearch, index_name: str) -> None:
    """An alias stands for all of its indices, and hides what its filter hides."""
    for part in ("a", "b"):
        write(client, f"{index_name}-{part}", [(f"{part}{n}", {"text": f"x{n}", "n": n}) for n in range(4)])
        about = {"filter": {"range": {"n": {"gte": 2}}}} if part == "b" else {}
        client.indices.put_alias(index=f"{index_name}-{part}", name=f"{index_name}-all", body=about)
    found = by_id(read_source(f"index:{index_name}-all", client=client))
    assert sorted(found) == ["a0", "a1", "a2", "a3", "b2", "b3"]
    assert sorted(by_id(read_source(f"index:{index_name}-*", client=client))) == sorted([*found, "b0", "b1"])


@pytest.mark.server
def test_an_index_that_keeps_no_source(client: OpenSearch, index_name: str) -> None:
    """It is told with the first document."""
    client.indices.create(index=index_name, body={"mappings": {"_source": {"enabled": False}}})
    write(client, index_name, [("1", {"text": "x"})])
    with pytest.raises(SourceError, match="keeps no _source"):
        next(read_source(f"index:{index_name}", client=client))


@pytest.mark.server
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "index:no-such-index",
            r"index 'no-such-index' on http://.* cannot be read to its end: there is no such index",
        ),
        ("index:no-such-*", r"No index matches 'no-such-\*'"),
        ("index:", "names no index: write index:NAME or index:https://host:9200/NAME"),
        ("index:a/b", "index:a/b names no index"),
    ],
)
def test_an_index_that_is_none(client: OpenSearch, source: str, message: str) -> None:
    """Each is named, with what to write."""
    with pytest.raises(SourceError, match=message):
        next(read_source(source, client=client))


@pytest.mark.server
def test_an_index_becomes_another(client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path) -> None:
    """An index of ours is encoded anew from itself: the same documents, without the vectors of the first bundle."""
    corpus = tmp_path / "corpus.jsonl"
    documents = [{"_id": "fox", "title": "The fox", "text": "A fox runs.", "year": 1}, {"_id": "dog", "text": "A dog."}]
    corpus.write_text("\n".join(map(json.dumps, documents)))
    first, second = f"{index_name}-1", f"{index_name}-2"
    for source, index in ((str(corpus), first), (f"index:{first}", second)):
        where = ["--index", index, "--bundle", "splade-tiny-idf", "--dead-letters", str(tmp_path / "dead.jsonl")]
        result = CliRunner().invoke(main, ["ingest", source, "--url", node.url, *where])
        assert result.exit_code == 0, result.output
    stored = [
        {hit["_id"]: hit["_source"] for hit in client.search(index=index)["hits"]["hits"]} for index in (first, second)
    ]
    assert stored[0] == stored[1]
    assert stored[1]["fox"]["metadata"] == {"year": 1}


class Changed:
    """A client whose cluster answers some requests otherwise."""

    def __init__(self, client: OpenSearch, **answers: Callable[..., Any]) -> None:
        self._client, self._answers = client, answers
        self.transport = client.transport

    def __getattr__(self, name: str) -> Any:
        return self._answers.get(name) or getattr(self._client, name)


class OldTransport:
    """A cluster without points in time."""

    def __init__(self, client: OpenSearch) -> None:
        self._transport = client.transport
        self.hosts = client.transport.hosts

    def perform_request(self, method: str, path: str, **more: Any) -> Any:
        """Refuses to make one."""
        if method == "POST":
            raise exceptions.RequestError(400, "no handler found", {})
        return self._transport.perform_request(method, path, **more)


@pytest.mark.server
@pytest.mark.parametrize("shards", [True, False])
def test_scrolling_where_there_are_no_points_in_time(client: OpenSearch, filled: str, shards: bool) -> None:
    """The same documents, also where a user may not ask for the shards."""

    def refuse(**_: Any) -> Any:
        raise exceptions.AuthorizationException(403, "forbidden", {})

    old = Changed(client, **({} if shards else {"search_shards": refuse}))
    old.transport = cast("Any", OldTransport(client))
    assert by_id(read_source(f"index:{filled}", client=cast("Any", old))) == expected()
    assert open_contexts(client, filled) == 0


@pytest.mark.server
def test_pages_are_asked_for_again(client: OpenSearch, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cluster is busy or away for a moment, nothing is lost or doubled; where it stays away, that is told."""
    calls = 0

    def search(**more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise exceptions.ConnectionError("N/A", "away", None) if calls % 4 == 1 else busy()
        return client.search(**more)

    def busy() -> Exception:
        return exceptions.TransportError(429, "busy", {})

    monkeypatch.setattr(index_source.tenacity, "wait_random_exponential", lambda *_: index_source.tenacity.wait_none())
    flaky = cast("Any", Changed(client, search=search))
    assert by_id(read_source(f"index:{filled}", client=flaky)) == expected()
    monkeypatch.setattr(index_source, "PATIENCE", 0.05)

    def away(**_: Any) -> Any:
        raise exceptions.ConnectionError("N/A", "away", None)

    with pytest.raises(SourceError, match=r"cannot be read to its end: OpenSearch did not answer"):
        list(read_source(f"index:{filled}", client=cast("Any", Changed(client, search=away))))


@pytest.mark.server
@pytest.mark.parametrize("fault", ["shard", "lost"])
def test_answers_that_are_not_whole(client: OpenSearch, filled: str, fault: str) -> None:
    """A server may answer 200 with what it has; what is missing is noticed, in a page or in the sum."""

    def search(**more: Any) -> Any:
        page = client.search(**more)
        if fault == "shard":
            page["_shards"]["failed"] = 1
        elif "search_after" not in more["body"]:
            del page["hits"]["hits"][3]
        return page

    message = "a shard did not answer" if fault == "shard" else r"\d+ of \d+ documents of .* came"
    with pytest.raises(SourceError, match=message):
        list(read_source(f"index:{filled}", client=cast("Any", Changed(client, search=search))))


def test_in_the_words_of_elasticsearch() -> None:
    """Another path makes the point in time, its name may change from page to page, and it is given back by that."""
    pages = [[{"_index": "i", "_id": "1", "_source": {"text": "x"}, "sort": [0]}], []]
    said: list[tuple[str, str, Any]] = []

    class Transport:
        hosts = ({"host": "elastic", "port": 9200},)

        def perform_request(self, method: str, path: str, params: Any = None, body: Any = None) -> Any:
            said.append((method, path, body or params["preference"]))
            if "point_in_time" in path:
                raise exceptions.RequestError(405, "method not allowed", {})
            return {"id": "first"}

    class Indices:
        def get_mapping(self, index: str) -> Any:
            return {index: {"mappings": {}}}

    class Elasticsearch:
        transport, indices = Transport(), Indices()

        def search_shards(self, index: str) -> Any:
            return {"shards": [[{"index": index, "shard": 0}, {"index": index, "shard": 0}]], "indices": {index: {}}}

        def search(self, body: Any) -> Any:
            said.append(("search", body["pit"]["id"], body.get("search_after")))
            hits = {"total": {"value": 1, "relation": "eq"}, "hits": pages.pop(0)}
            return {"pit_id": f"renamed {len(said)}", "timed_out": False, "_shards": {"failed": 0}, "hits": hits}

    (record,) = read_source("index:i", client=cast("Any", Elasticsearch()))
    assert record == Document("1", "x")
    assert said == [
        ("POST", "/i/_search/point_in_time", "_shards:0"),
        ("POST", "/i/_pit", "_shards:0"),
        ("search", "first", None),
        ("search", "renamed 3", [0]),
        ("DELETE", "/_pit", {"id": "renamed 4"}),
    ]
