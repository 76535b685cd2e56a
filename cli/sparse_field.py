"""The sparse field of an ingest: its options, what it is to be, and how it ended up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, get_args

import click
from rich.console import Console

from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.index_meta import IndexMeta, SeismicMeta, SparseField
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.seismic import (
    SAMPLE,
    THRESHOLD,
    FieldOptions,
    check_seismic,
    choose,
    field_of,
    heap_bytes,
    is_ever_used,
    sampled,
)
from opensearch_splade.ingest.sources import count_records
from opensearch_splade.plugin.segments import force_merge, segment_sizes
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearch_splade.cli.ingesting import IngestJob

_Decorated = Callable[..., Any]
_ABOVE_ZERO = click.FloatRange(0, min_open=True)


def field_options(function: _Decorated) -> _Decorated:
    """``--sparse-field`` and what belongs to ``sparse_vector``, as one ``sparse_field``."""

    @wraps(function)
    def with_field(
        *arguments: Any,
        sparse_field: SparseField | None,
        seismic_threshold: int | None,
        seismic_ceiling_ingest: float | None,
        seismic_ceiling_search: float | None,
        seismic_sample: int | None,
        **more: Any,
    ) -> Any:
        given = (seismic_threshold, seismic_ceiling_ingest, seismic_ceiling_search, seismic_sample)
        if sparse_field != "sparse_vector" and any(one is not None for one in given):
            raise click.UsageError("The --seismic options go with --sparse-field sparse_vector.")
        wanted = FieldOptions(
            sparse_field,
            seismic_threshold,
            seismic_ceiling_ingest,
            seismic_ceiling_search,
            seismic_sample or SAMPLE,
        )
        return function(*arguments, sparse_field=wanted, **more)

    made: _Decorated = with_field
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_OPTIONS = (
    click.option(
        "--sparse-field",
        type=click.Choice(get_args(SparseField)),
        help="Kind of the sparse field of a new index: rank_features is exact and any server has it; sparse_vector is "
        "searched approximately by SEISMIC, for millions of documents, and needs OpenSearch 3.3 with neural-search. "
        "[default: what the index has; rank_features for a new one]",
    ),
    click.option(
        "--seismic-threshold",
        type=click.IntRange(0),
        help=f"Documents of a segment from which on SEISMIC searches it; below it is exact. [default: {THRESHOLD:,}]",
    ),
    click.option(
        "--seismic-ceiling-ingest",
        type=_ABOVE_ZERO,
        metavar="WEIGHT",
        help="Largest weight of documents; more is cut. [default: the sample's largest and a tenth]",
    ),
    click.option(
        "--seismic-ceiling-search",
        type=_ABOVE_ZERO,
        metavar="WEIGHT",
        help="Largest weight of questions. [default: from the sample's titles, or the table of query weights]",
    ),
    click.option(
        "--seismic-sample",
        type=click.IntRange(1),
        metavar="DOCUMENTS",
        help=f"First documents to encode ahead for the ceilings. [default: {SAMPLE}]",
    ),
)

merge_option = click.option(
    "--force-merge",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=1,
    metavar="[SEGMENTS]",
    help="When all is written, merge each shard to so many segments, one if no number is given. Makes searches faster, "
    "and takes hours for millions of documents.",
)


def settle_field(
    cluster: Cluster, job: IngestJob, records: Iterator[Document | DeadLetter], console: Console
) -> tuple[IngestJob, Iterator[Document | DeadLetter]]:
    """The job with the kind of field that its index has or will have, and its records, of which none is lost."""
    with asking(job.index):
        exists = cluster.client.indices.exists(index=job.index)
    if exists:
        found = IndexMeta.read(cluster.client, job.index)
        return _with_field(job, field_of(job.index, found, job.sparse_field)), records
    if job.sparse_field.kind != "sparse_vector":
        return job, records
    check_seismic(job.sparse, job.dense, cluster.capabilities)
    documents: list[Document] = []
    if job.sparse_field.needs_sample:
        documents, records = sampled(records, job.sparse_field.sample)
    seismic = choose(job.sparse, job.sparse_field, documents)
    told = f"Ceilings of the sparse_vector field: {seismic.ceiling_ingest:g} for documents, "
    told += f"{seismic.ceiling_search:g} for questions."
    known = len(job.letters) if job.letters else count_records(job.source)
    if known is not None:
        told += f" {never_used(seismic, known, job.options.shards)}"
    console.print(told.rstrip(), highlight=False, markup=False)
    return _with_field(job, seismic), records


def never_used(seismic: SeismicMeta, documents: int, shards: int) -> str:
    """The sentence that tells that no segment will be searched by SEISMIC; empty where one may."""
    if is_ever_used(seismic, documents, shards):
        return ""
    each = f"{documents:,} documents" if shards == 1 else f"{documents:,} documents on {shards} shards"
    return (
        f"SEISMIC will not be used: it begins with segments of {seismic.threshold:,} documents, and there are {each}. "
        "Smaller ones are scored exactly; give --seismic-threshold for a new index to begin earlier."
    )


def forecast_field(seismic: SeismicMeta, documents: int, shards: int) -> dict[str, Any]:
    """What a dry run tells of a ``sparse_vector`` field."""
    cached, needed = heap_bytes(documents)
    return {
        "seismic_is_used": is_ever_used(seismic, documents, shards),
        "note": never_used(seismic, documents, shards),
        "heap_bytes_of_seismic": cached,
        "heap_bytes_of_all_nodes_at_least": needed,
    }


def merge(cluster: Cluster, job: IngestJob, console: Console) -> None:
    """The force-merge of a job, if it wants one, with a line that says how far it is."""
    if job.force_merge is None:
        return
    with console.status(f"merging to {job.force_merge} segments a shard ...") as status:
        count = len(segment_sizes(cluster.client, job.index))

        def show(seconds: float) -> None:
            status.update(f"merging {count} segments to {job.force_merge} a shard: {seconds:,.0f} s ...")

        force_merge(cluster.client, job.index, job.force_merge, show)


def tell_field(cluster: Cluster, job: IngestJob, console: Console) -> None:
    """Which part of an index SEISMIC searches, after its documents were written."""
    seismic = job.rules.seismic
    if seismic is None:
        return
    sizes = segment_sizes(cluster.client, job.index)
    large = sum(size for size in sizes if size >= seismic.threshold)
    told = (
        f"SEISMIC searches {large:,} of {sum(sizes):,} documents: those in segments of {seismic.threshold:,} and more; "
        "the others are scored exactly."
    )
    console.print(told, highlight=False, markup=False)


def _with_field(job: IngestJob, seismic: SeismicMeta | None) -> IngestJob:
    return replace(job, rules=replace(job.rules, seismic=seismic))
