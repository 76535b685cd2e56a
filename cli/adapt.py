"""``osplade adapt``."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import orjson
from click.core import ParameterSource
from rich.console import Console

from opensearch_splade.cli import adapt_options, options
from opensearch_splade.cli.adapt_told import outcome_text, plan_text, plan_values, progress, result_values
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.onnx_models import Device
    from opensearch_splade.training.recipe import Recipe

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found:
        raise click.BadParameter(f"{text!r}: a number and s, m or h, such as 30m.")
    return float(found[1]) * _UNITS[found[2]]


def _weighted(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _colon, weight = text.partition("=")
        try:
            found[name] = float(weight or 1)
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: a teacher, or one and its weight: minilm-l6=2.") from error
        if not found[name] > 0:
            raise click.BadParameter(f"{text!r}: a weight is above 0.")
    return found


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--bundle", required=True, type=options.BUNDLE, help="The sparse bundle to begin with and compare with.")
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Its weights as it was exported from, or any encoder to be given a head. [default: as it says]",
)
@click.option(
    "--kind",
    type=click.Choice(["inference-free", "siamese"]),
    default="inference-free",
    show_default=True,
    help="Whether questions are looked up in a table or encoded by the model that encodes documents.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The new bundle's folder.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="NAME[=WEIGHT]",
    default=("bm25", "minilm-l6"),
    callback=_weighted,
    help="bm25, a dense or sparse bundle, or cross-encoder:FOLDER (or hub id); repeatable. [default: bm25 and "
    "minilm-l6]",
)
@click.option("--judged", metavar="FOLDER", help="Judged questions to learn from too: their split `train`.")
@adapt_options.data
@click.option(
    "--collection",
    metavar="FOLDER",
    help="Judged: both bundles are measured on it, and none of its questions is learned.",
)
@click.option(
    "--terms", type=click.FloatRange(1), default=200, show_default=True, help="Terms of a document, on average."
)
@click.option(
    "--max-length",
    type=click.IntRange(8),
    metavar="TOKENS",
    help="Of a text that are read, in training and by the new bundle. [default: as 19 of 20 documents have, up to 512]",
)
@click.option("--spare", type=click.FloatRange(1), help="Documents of at most so many terms pay no penalty (l0 mask).")
@click.option(
    "--activation",
    type=click.Choice(["log1p", "log1p_log1p"]),
    help="Of a checkpoint that does not state its own. [default: log1p]",
)
@click.option(
    "--head",
    type=click.Choice(["vocabulary", "scalar"]),
    default="vocabulary",
    show_default=True,
    help="scalar: one weight per token of the text, no expansion (uniCOIL).",
)
@click.option("--steps", type=click.IntRange(1), help="Steps, without --budget. [default: 1500]")
@click.option("--batch", type=click.IntRange(1), help="Neighbourhoods of a step, of a few documents each. [default: 6]")
@click.option("--lora", type=click.IntRange(1), metavar="RANK", help="Train adapters of that rank; for large models.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At its highest. [default: 0.001]")
@click.option(
    "--cached", type=click.IntRange(1), metavar="TEXTS", help="Encode so many at once: large batches, small memory."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Of the model's body. [default: bf16 on a GPU, else the faster one]",
)
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="recipe.json of another run; options that are given as well come first.",
)
@click.option("--budget", callback=_seconds, metavar="TIME", help="Of the training, such as 30m: as many steps as fit.")
@click.option("--documents", type=click.IntRange(10), default=20_000, show_default=True, help="Read so many at most.")
@click.option("--learned-queries", is_flag=True, help="Learn the query weights too, beginning with the idf.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one trains another model.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="States. [default: OUT.training]")
@click.option("--dry-run", is_flag=True, help="Say what would be done and how long it takes.")
@options.device
@options.text_fields
@options.as_json
@click.pass_context
def adapt(
    context: click.Context,
    sources: tuple[str, ...],
    *,
    bundle: str,
    checkpoint: str | None,
    kind: Literal["inference-free", "siamese"],
    out: Path,
    teachers: dict[str, float],
    judged: str | None,
    data: adapt_options.Data,
    collection: str | None,
    terms: float,
    max_length: int | None,
    spare: float | None,
    activation: Literal["log1p", "log1p_log1p"] | None,
    head: Literal["vocabulary", "scalar"],
    steps: int | None,
    batch: int | None,
    lora: int | None,
    learning_rate: float | None,
    cached: int | None,
    precision: Literal["fp32", "bf16"] | None,
    recipe_file: Path | None,
    budget: float | None,
    documents: int,
    learned_queries: bool,
    seed: int,
    work: Path | None,
    dry_run: bool,
    device: Device,
    fields: FieldMap,
    as_json: bool,
) -> None:
    """Train a sparse bundle on the documents of SOURCE, without labels.

    SOURCE is what `osplade ingest` takes, index:NAME included. Questions are made of the documents, teachers say which
    documents answer them, and a tenth of the documents is held back to tell whether it helps. Run the same command
    again to go on after an interruption. Needs the [train] extra.

    \b
    Example:
      osplade adapt corpus.jsonl --bundle splade-tiny-idf --checkpoint ./splade-tiny --out mine --budget 30m
      osplade adapt index:products --bundle splade-tiny-idf --checkpoint ./splade-tiny --out mine --dry-run
    """
    from opensearch_splade.training.adapt import adapt as run
    from opensearch_splade.training.assignment import Assignment
    from opensearch_splade.training.lessons import gather
    from opensearch_splade.training.plan import make_plan

    console = Console(stderr=True)
    if learned_queries and kind == "siamese":
        raise click.UsageError("--learned-queries is for --kind inference-free: a siamese model has no table.")
    said: dict[str, Any] = {
        "kind": kind,
        "steps": steps,
        "batch": batch,
        "lora": lora,
        "learning_rate": learning_rate,
        "cached": cached,
        "precision": precision or (None if device.kind == "cpu" else "bf16"),
        "terms": terms,
        "max_length": max_length,
        "seed": seed,
        "learned_queries": learned_queries,
        "spared": spare,
        "activation": activation,
        "head": head,
        "language": data.language,
    }
    recipe = _recipe(context, said, recipe_file)
    where = work or out.with_name(f"{out.name}.training")
    index = data.mined(fields, [bundle, *teachers])
    if index:
        console.print(f"hard negatives of index {index.index!r} too, by {', '.join(index.legs)}")
    measured = load_collection(collection) if collection else None
    job = Assignment(
        bundle,
        checkpoint,
        out,
        where,
        teachers,
        recipe,
        budget,
        device=device,
        collection=measured,
        mine_from=index,
    )
    with console.status("reading documents and making questions of them ..."):
        client = data.client(*sources)
        read = [_read(source, fields, documents, seed, client) for source in sources]
        learned = load_collection(judged, "train") if judged else None
        materials = [
            gather(one, learned, measured, seed, data.pairs(one, seed, None if dry_run else where)) for one in read
        ]
        plan = make_plan(job, materials)
    if dry_run:
        click.echo(orjson.dumps(plan_values(plan)) if as_json else plan_text(plan))
        return
    if not as_json:
        click.echo(plan_text(plan))
    with progress(plan.recipe.steps, console) as tell:
        done = run(job, materials, plan.recipe, tell)
    if as_json:
        click.echo(orjson.dumps(result_values(done)))
        return
    click.echo(outcome_text(done, sources, out, terms))


def _recipe(context: click.Context, said: Mapping[str, Any], file: Path | None) -> Recipe:
    """What the file says, and of the options those that were really given; without a file all of them."""
    from opensearch_splade.training.recipe import Recipe

    if file is None:
        return Recipe(**{name: value for name, value in said.items() if value is not None or name == "language"})
    named = {"spare": "spared"}
    given = {
        named.get(name, name): said[named.get(name, name)]
        for name in context.params
        if named.get(name, name) in said and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    try:
        return Recipe.model_validate({**orjson.loads(file.read_bytes()), **given})
    except ValueError as error:
        raise click.BadParameter(f"{file} is no recipe: {error}", param_hint="--recipe") from error


def _read(source: str, fields: FieldMap, most: int, seed: int, client: OpenSearch | None) -> list[Document]:
    """As many documents as are wanted, drawn by the hash of seed and id, in a fixed order."""
    found = (record for record in read_source(source, fields, client) if isinstance(record, Document))
    return heapq.nsmallest(
        most, found, key=lambda one: (blake2b(f"{seed} {one.id}".encode()).digest(), one.text, one.title)
    )
