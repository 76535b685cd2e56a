"""A migration that is ready to be cut over, for the tests of cutover and rollback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrations import bring_over, open_job, sources
from mortal_client import DiedError, Life
from opensearchpy import helpers

from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.migration.documents import theirs
from opensearch_splade.migration.job import Job
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

MAPPINGS: Json = {
    "dynamic": "strict",
    "properties": {
        "title": {"type": "text"},
        "body": {"type": "text", "analyzer": "english"},
        "stamp": {"type": "long"},
        "group": {"type": "keyword"},
    },
}
_COLOURS = ("red", "green", "blue", "white", "black")


def written(number: int, said: str = "library") -> Json:
    """A document."""
    body = f"a {_COLOURS[number % 5]} {said} of {_COLOURS[number % 3]} engines {number}"
    return {"title": f"Package {number}", "body": body, "stamp": 0}


def make_live(client: OpenSearch, index: str, count: int, aliases: Json | None = None, **settings: Any) -> None:
    """An index of ``count`` documents with ids ``d0`` and so on."""
    body = {"settings": {"number_of_shards": 2, "number_of_replicas": 0, **settings}, "mappings": MAPPINGS}
    client.indices.create(index=index, body={**body, "aliases": aliases or {}})
    helpers.bulk(client, ({"_index": index, "_id": f"d{one}", **written(one)} for one in range(count)), refresh=True)


def ready(client: OpenSearch, folder: Path, old: str, new: str, **given: Any) -> Job:
    """Brought over, and taken for verified."""
    job = open_job(client, folder, old, new, **given)
    bring_over(job)
    prove(job)
    return job


def prove(job: Job) -> None:
    """What `osplade migrate verify` notes when it finds nothing."""
    job.state.note("verified", clean=True)


def bare(client: OpenSearch, index: str) -> dict[str, Json]:
    """Every document as applications wrote it."""
    mappings = client.indices.get_mapping(index=index)
    [about] = mappings.values()
    if "opensearch_splade" not in about["mappings"].get("_meta", {}):
        return sources(client, index)
    kept = IndexMeta.from_mappings(index, mappings).kept
    assert kept is not None
    return {id_: theirs(source, kept) for id_, source in sources(client, index).items()}


def served(client: OpenSearch, *names: str) -> list[str]:
    """Indices that aliases lead to."""
    return sorted(client.indices.get_alias(name=",".join(names)))


def blocked(client: OpenSearch, index: str) -> bool:
    """Whether an index refuses writes."""
    found = client.indices.get_settings(index=index, params={"flat_settings": "true"})
    [about] = found.values()
    return bool(about["settings"].get("index.blocks.write") == "true")


def same_job(job: Job, client: OpenSearch) -> Job:
    """As another process would open it."""
    return Job.open(job.spec, client, job.folder)


def die_at_each_request(url: str, step: Callable[[OpenSearch], object], *, answered: bool, most: int = 400) -> int:
    """Takes a step again and again, each time dying one request later, until it comes to its end.

    Returns:
        How many times it died.
    """
    for requests in range(most):
        life = Life(url, requests, answered=answered)
        try:
            step(life.client)
        except DiedError:
            continue
        finally:
            life.client.close()
        return requests
    raise AssertionError(f"not done after {most} requests")


def with_client(job: Job, client: OpenSearch) -> Job:
    """The same job of another process, whose bundles are loaded already."""
    return replace(job, client=client, source_client=client, _state=None)


def require_vectors(client: OpenSearch, index: str, ids: Mapping[str, object] | set[str], job: Job) -> None:
    """These documents are encoded."""
    found = sources(client, index)
    assert not [id_ for id_ in ids if tuple(found[id_].get(job.meta.name("encoded"), ())) != job.marker]
