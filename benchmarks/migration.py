"""The forecast of `osplade migrate plan` against the migration itself.

    python benchmarks/migration.py
    python benchmarks/migration.py --collection scifact --documents 2000 --sample 300 --json

An index of a collection's documents is made, planned and really brought over on the cluster of ``OPENSEARCH_URL``, and
all of it deleted again. Size is that of the new index as the migration leaves it, and merged into one segment.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
import uuid
from itertools import islice
from pathlib import Path
from typing import Any

import click
from corpora import SHARED
from opensearchpy import OpenSearch, helpers

from opensearch_splade.ingest.sources import read_source
from opensearch_splade.migration.copying import Copier, begin
from opensearch_splade.migration.forecast import Estimate
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.plan import SAMPLE, plan
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.plugin.client import connect
from opensearch_splade.types import Document

MAPPINGS = {"properties": {"title": {"type": "text"}, "text": {"type": "text", "analyzer": "english"}}}


def fill(client: OpenSearch, index: str, collection: Path, count: int) -> None:
    """An index as others make it."""
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=index, body={"settings": settings, "mappings": MAPPINGS})
    documents = (one for one in read_source(str(collection)) if isinstance(one, Document))
    records = ({"_id": one.id, "title": one.title, "text": one.text} for one in islice(documents, count))
    helpers.bulk(client, ({"_index": index, **one} for one in records), refresh=True)


def size(client: OpenSearch, index: str) -> int:
    """Bytes of its segments that are searched."""
    client.indices.refresh(index=index)
    [copy] = client.indices.segments(index=index)["indices"][index]["shards"]["0"]
    return sum(one["size_in_bytes"] for one in copy["segments"].values() if one["search"])


def measure(client: OpenSearch, name: str, collection: Path, documents: int, sample: int) -> dict[str, Any]:
    """Forecast and truth."""
    old, new = f"{name}-old", f"{name}-new"
    try:
        fill(client, old, collection, documents)
        with tempfile.TemporaryDirectory() as folder:
            job = Job.open(MigrationSpec(source=old, target=new), client, Path(folder) / "state")
            forecast = plan(job, sample=sample).forecast
            if forecast is None or forecast.size is None:
                raise click.ClickException(f"nothing to forecast by: are there documents in {collection}?")
            begin(job)
            start = time.monotonic()
            with Copier(job) as copier:
                copier.round()
            seconds = time.monotonic() - start
        left = size(client, new)
        client.indices.forcemerge(index=new, params={"max_num_segments": "1"})
        merged = size(client, new)
    finally:
        client.indices.delete(index=f"{old},{new}", ignore_unavailable=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": (forecast.seconds, seconds),
        "bytes": (forecast.size, left),
        "bytes, merged": (forecast.size, merged),
        "memory": (forecast.memory, peak),
    }


@click.command()
@click.option("--collection", default="debian", show_default=True, help="Below the shared data.")
@click.option("--documents", default=2000, show_default=True)
@click.option("--sample", default=SAMPLE, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(collection: str, documents: int, sample: int, as_json: bool) -> None:
    """See the module."""
    folder = SHARED / "data" / collection
    with connect() as client:
        found = measure(client, f"bench-{uuid.uuid4().hex[:8]}", folder, documents, sample)
    if as_json:
        click.echo(json.dumps({name: [*told, real] for name, (told, real) in found.items()}))
        return
    for name, (told, real) in found.items():
        click.echo(f"{name:<14} {_line(told, real)}")


def _line(told: Estimate, real: float) -> str:
    off, within = told.value / real - 1, told.low <= real <= told.high
    word = "within" if within else "outside"
    return f"forecast {told.value:,.4g} ({told.low:,.4g} to {told.high:,.4g}), was {real:,.4g}: {off:+.0%}, {word}"


if __name__ == "__main__":
    main()
