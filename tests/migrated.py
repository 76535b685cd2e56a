"""A small index and its migration, for tests of what comes after the copying."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.running import catch_up
from opensearch_splade.migration.spec import MigrationSpec

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

COUNT = 200
MAPPING = {
    "settings": {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "1s"},
    "mappings": {
        "dynamic": "strict",
        "properties": {"id": {"type": "long"}, "title": {"type": "text"}, "body": {"type": "text"}},
    },
}
"""Its documents have an ``id`` of their own, so that ours is called ``osplade_id``."""


@dataclass
class Migrated:
    """Both indices, and the job between them."""

    client: OpenSearch
    old: str
    new: str
    job: Job

    def get(self, id_: str, index: str = "") -> dict[str, Any]:
        """The source of a document, of the new index unless said otherwise."""
        found: dict[str, Any] = self.client.get(index=index or self.new, id=id_)["_source"]
        return found

    def put(self, id_: str, source: dict[str, Any], index: str = "", **more: str) -> None:
        """Writes it."""
        self.client.index(index=index or self.new, id=id_, body=source, params={"refresh": "true", **more})

    def delete(self, id_: str, index: str = "") -> None:
        """Deletes it."""
        self.client.delete(index=index or self.new, id=id_, params={"refresh": "true"})


def migrated(client: OpenSearch, name: str, data: Path, folder: Path, count: int = COUNT, **spec: Any) -> Migrated:
    """Debian's short descriptions in an index, brought over to another."""
    old = f"{name}-old"
    client.indices.create(index=old, body=MAPPING)
    with gzip.open(data / "debian" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in islice(lines, count)]
    body: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        source = {"id": number, "title": record["_id"], "body": record["text"][:300]}
        body += [{"index": {"_id": f"d{number}"}}, source]
    assert not client.bulk(index=old, body=body, params={"refresh": "true"})["errors"]
    way = spec.get("way", "copy")
    wanted = MigrationSpec.read(None, source=old, target=old if way == "in-place" else f"{name}-new", **spec)
    job = Job.open(wanted, client, folder)
    begin(job)
    with Copier(job) as copier:
        catch_up(copier)
    return Migrated(client, old, wanted.target, job)
