"""Dual writes: after the switch the new index may have the newer version of a document, which must not be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from opensearch_splade.ingest.content import content_hash
from opensearch_splade.migration.documents import documents
from opensearch_splade.migration.job import Job
from opensearch_splade.transport import asking
from opensearch_splade.types import Document, Json

_AT_ONCE = 100


def newer_left_out(job: Job) -> Callable[[Iterator[Document]], Iterator[Document]]:
    """Hands on documents of the old index that the new one lacks, or has encoded, or has just so without vectors.

    One that the new index has otherwise and without vectors was written there by an application, later perhaps. If it
    was not, the application writes the later one to the old index too, and that comes next. What is handed on replaces
    just the version that was looked at.
    """

    def left_out(given: Iterator[Document]) -> Iterator[Document]:
        while some := list(islice(given, _AT_ONCE)):
            there = _there(job, some)
            for document in some:
                hit = there.get((document.id, document.routing))
                if hit is None:
                    yield document
                elif _may_replace(job, hit, document):
                    yield replace(document, version=(hit["_seq_no"], hit["_primary_term"]))

    return left_out


def _may_replace(job: Job, hit: Json, document: Document) -> bool:
    is_ours = tuple(hit["_source"].get(job.meta.name("encoded"), ())) == job.marker
    [there] = documents([hit], job.rules.kept)
    return is_ours or content_hash(there) == content_hash(document)


def _there(job: Job, some: list[Document]) -> dict[tuple[str, str], Json]:
    asked = [{"_id": one.id, **({"routing": one.routing} if one.routing else {})} for one in some]
    vectors = [job.meta.name(field) for field in ("sparse", "dense", "passages")]
    with asking(job.spec.target):
        found = job.client.mget(
            index=job.spec.target, body={"docs": asked}, params={"_source_excludes": ",".join(vectors)}
        )
    return {(one["_id"], one.get("_routing", "")): one for one in found["docs"] if one.get("found")}
