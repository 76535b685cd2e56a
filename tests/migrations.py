"""A small live index of others' making, and the migration of it, for the tests of `osplade migrate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensearchpy import helpers

from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.running import catch_up
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

WORDS = [
    "fox",
    "dog",
    "bird",
    "river",
    "stone",
    "cloud",
    "winter",
    "engine",
    "paper",
    "market",
    "doctor",
    "island",
    "music",
    "bridge",
]

MAPPINGS: Json = {
    "dynamic": "strict",
    "properties": {
        "id": {"type": "long"},
        "title": {"type": "text"},
        "body": {"type": "text", "analyzer": "english", "fields": {"raw": {"type": "keyword", "ignore_above": 200}}},
        "price": {"type": "double"},
        "tags": {"type": "keyword"},
        "parts": {"type": "nested", "properties": {"name": {"type": "keyword"}}},
    },
}


def record(number: int, words: int = 5) -> Json:
    """A document that says something else for each number."""
    said = [WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(words)]
    title = f"{said[0]} {number}"
    return {
        "id": number,
        "title": title,
        "body": " ".join(said),
        "price": number / 8,
        "tags": said[:2],
        "parts": [{"name": said[0]}],
    }


def make_old(client: OpenSearch, index: str, count: int = 200, *, shards: int = 2, alias: str = "") -> None:
    """An index of ``count`` documents with ids ``d0`` and so on."""
    settings = {"index": {"number_of_shards": shards, "number_of_replicas": 0}}
    aliases: Json = {alias: {}} if alias else {}
    client.indices.create(index=index, body={"settings": settings, "mappings": MAPPINGS, "aliases": aliases})
    fill(client, index, range(count))


def fill(client: OpenSearch, index: str, numbers: Sequence[int]) -> None:
    """Writes documents, so that they can be seen."""
    helpers.bulk(client, ({"_index": index, "_id": f"d{number}", **record(number)} for number in numbers), refresh=True)


def open_job(client: OpenSearch, folder: Path, source: str, target: str, **given: Any) -> Job:
    """The job of a migration with its state below ``folder``."""
    return Job.open(MigrationSpec(source=source, target=target, **given), client, folder / "state")


def bring_over(job: Job) -> Copier:
    """Begins, and catches up."""
    begin(job)
    with Copier(job) as copier:
        catch_up(copier)
    return copier


def sources(client: OpenSearch, index: str) -> dict[str, Json]:
    """Every document, as it is."""
    client.indices.refresh(index=index)
    return {hit["_id"]: hit["_source"] for hit in _hits(client, index)}


def _hits(client: OpenSearch, index: str) -> Iterator[Json]:
    yield from helpers.scan(client, index=index, query={"query": {"match_all": {}}})
