"""``osplade export``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.markup import escape

from opensearch_splade.cli import options
from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models.bundle import HeadForm, Precision
from opensearch_splade.onnx_models.checkpoint import Activation, Attention, Kind
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.types import Document


@click.command()
@click.argument("checkpoint")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--kind", type=click.Choice(["auto", *get_args(Kind)]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(get_args(Precision)), default="fp32", show_default=True)
@click.option(
    "--head",
    type=click.Choice(["auto", *get_args(HeadForm)]),
    default="auto",
    show_default=True,
    help="screened: fp32 on CPUs, where an int8 bound spares most of the products; tiled: GPUs.",
)
@click.option(
    "--max-length", type=click.IntRange(8), metavar="N", help="Tokens. [default: the checkpoint's, 512 at most]"
)
@click.option("--activation", type=click.Choice(get_args(Activation)), help="For checkpoints that do not state theirs.")
@click.option(
    "--attention",
    type=click.Choice(get_args(Attention)),
    help="Of decoders; says of one without modules.json that it is a sparse encoder.",
)
@click.option("--document-prefix", metavar="TEXT", help="Before documents, e.g. 'passage: '. [default: as stated]")
@click.option("--query-prefix", metavar="TEXT", help="Before questions, e.g. 'query: '. [default: as stated]")
@click.option("--no-special-tokens", is_flag=True, help="Leave out what the tokenizer adds to texts, such as <s>.")
@click.option(
    "--echo", metavar="TEMPLATE", help="Decoders: give the text twice and pool the second copy, e.g. '{text} {text}'."
)
@click.option(
    "--query-weights",
    metavar="TABLE",
    help="Makes the bundle inference-free: idf:COLLECTION (token idf over what ingest takes as SOURCE), "
    "bm25:COLLECTION (the same, but repeating a token weighs more), table:FILE (.json of token: weight; .txt "
    "with token, tab and weight on a line, or .safetensors) or binary (every token weighs 1).",
)
@options.text_fields
@click.option("--revision", help="Hub branch, tag or commit.")
@click.option("--name", help="Name of the bundle. [default: the checkpoint's]")
@click.option("--replace", is_flag=True, help="Replace an existing bundle.")
@options.as_json
def export(
    checkpoint: str,
    out: Path,
    *,
    query_weights: str | None,
    fields: FieldMap,
    revision: str | None,
    as_json: bool,
    no_special_tokens: bool,
    **how: Any,
) -> None:
    """Export CHECKPOINT (a folder or a hub id) to the bundle folder OUT.

    The graph is compared with torch on real text before anything is written. int8 suits CPUs, fp16 GPUs. `osplade
    families` lists what is understood.

    \b
    Example:
      osplade export naver/splade-v3 splade-v3 --precision int8 --max-length 256
      osplade export ./my-splade my-bundle --query-weights idf:corpus.jsonl
      osplade export ./laconic laconic --attention bidirectional --no-special-tokens --document-prefix "passage: "
    """
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    table = _query_table(query_weights, fields) if query_weights else None
    how_exactly = ExportOptions(**how, add_special_tokens=not no_special_tokens)
    with Console(stderr=True).status(f"exporting {escape(checkpoint)} ..."):
        bundle = export_bundle(checkpoint, out, how_exactly, revision=revision, query_weights=table)
    manifest = bundle.manifest
    if as_json:
        click.echo(manifest.model_dump_json())
        return
    click.echo(
        f"{out}: {manifest.kind} bundle, {manifest.precision}, {manifest.max_length} tokens, "
        f"fingerprint {manifest.fingerprint}\n"
        f"parity with torch on {manifest.parity.texts} texts: largest difference {manifest.parity.max_abs_error:.2g}, "
        f"smallest cosine {manifest.parity.min_cosine:.4f}"
    )
    if manifest.prompt:
        click.echo(f"{manifest.family} with prompt {manifest.prompt.model_dump_json(exclude_defaults=True)}")
    if not manifest.activation_stated:
        click.echo(
            "The checkpoint does not state its activation; log(1 + relu) of the SPLADE papers was taken, as "
            "sentence-transformers does. If its card says otherwise: --activation log1p_log1p.",
            err=True,
        )


def _query_table(text: str, fields: FieldMap) -> QueryTable:
    match text.partition(":"):
        case ("binary", "", ""):
            return QueryTable("binary")
        case ("table", ":", file) if file:
            return QueryTable("table", file=Path(file))
        case ("idf" | "bm25" as kind, ":", collection) if collection:
            return QueryTable(kind, texts=_passages(collection, fields))
    raise OspladeError(f"--query-weights {text}: write idf:COLLECTION, bm25:COLLECTION, table:FILE or binary.")


def _passages(collection: str, fields: FieldMap) -> Iterator[str]:
    return (record.passage for record in read_source(collection, fields) if isinstance(record, Document))
