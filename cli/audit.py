"""``osplade audit``."""

from __future__ import annotations

from dataclasses import asdict

import click
import orjson
from rich.console import Console
from rich.markup import escape

from opensearch_splade.cli import options
from opensearch_splade.cli.wiring import open_cluster
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.audit import DIFFERENCES
from opensearch_splade.ingest.audit import audit as compare
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source, shown
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.plugin.scan import scan

DIFFERENT = 3


@click.command()
@click.argument("source")
@options.index
@click.option("--bundle", required=True, type=options.BUNDLE, help="Sparse bundle that encoded the index.")
@click.option("--dense-bundle", type=options.BUNDLE, help="Dense bundle. [default: the one the index names]")
@options.fields
@options.cluster
@options.as_json
def audit(
    source: str,
    *,
    index: str,
    bundle: str,
    dense_bundle: str | None,
    fields: FieldMap,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Prove that an index holds exactly the documents of SOURCE, as they are now, encoded by this bundle.

    Every document of the index is read back (id, content hash and fingerprints, no texts) and compared with the source.
    Exit code 0: no difference. Exit code 3: some, by count and first examples.

    \b
    Example:
      osplade audit corpus.jsonl --index docs --bundle splade-tiny-idf
    """
    cluster = open_cluster(url, insecure=insecure)
    records = read_source(source, fields, cluster.client)
    meta = IndexMeta.read(cluster.client, index)
    sparse = Bundle.open(bundle).manifest.fingerprint
    dense = Bundle.open(dense_bundle).manifest.fingerprint if dense_bundle else None
    meta.check_fingerprints(index, sparse=sparse, dense=dense)
    named = meta.dense.fingerprint if meta.dense else None
    marker = frozenset(filter(None, [sparse, dense or named]))
    with Console(stderr=True).status(f"comparing {escape(shown(source))} with {escape(index)} ..."):
        report = compare(records, scan(cluster.client, index, cluster.capabilities), marker)
    if as_json:
        click.echo(orjson.dumps({"clean": report.is_clean, **asdict(report)}))
    else:
        click.echo(f"{report.source:,} documents in the source, {report.stored:,} in {index!r}")
        if report.unreadable:
            click.echo(f"{report.unreadable:,} records of the source are no documents")
        for kind, meaning in DIFFERENCES.items():
            if count := report.counts[kind]:
                click.echo(f"{count:,} {kind.replace('_', ' ')} ({meaning}): {', '.join(report.examples[kind])}")
        if report.is_clean:
            click.echo("no difference: every document is there once, with its content and the vectors of this bundle")
    if not report.is_clean:
        raise click.exceptions.Exit(DIFFERENT)
