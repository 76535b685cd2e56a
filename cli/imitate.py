"""``osplade imitate``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from opensearch_splade.cli import options
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source, shown
from opensearch_splade.onnx_models import Device
from opensearch_splade.types import Document


@click.command()
@click.argument("source")
@click.option("--checkpoint", required=True, metavar="FOLDER", help="A dense sentence-transformers folder or hub id.")
@click.option("--teacher", default="splade-tiny-idf", show_default=True, help="bm25 or a sparse bundle.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The new bundle's folder.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Steps.")
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True, help="Questions of a step.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="At its highest."
)
@click.option("--lora", type=click.IntRange(1), metavar="RANK", help="Train adapters of that rank; for large models.")
@click.option("--documents", type=click.IntRange(10), default=5_000, show_default=True, help="Read so many at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one trains another model.")
@options.device
@options.text_fields
@options.as_json
def imitate(
    source: str,
    *,
    checkpoint: str,
    teacher: str,
    out: Path,
    steps: int,
    batch: int,
    learning_rate: float,
    lora: int | None,
    documents: int,
    seed: int,
    device: Device,
    fields: FieldMap,
    as_json: bool,
) -> None:
    """Train a dense bundle to rank the documents of SOURCE as a sparse model does (SPAR).

    For an index of vectors alone that should find exact words too. SOURCE is what `osplade ingest` takes. Questions
    are made of the documents; a tenth of the documents is held back to tell how near both rankings came. An
    interrupted run begins anew. Needs the [train] extra.

    \b
    Example:
      osplade imitate corpus.jsonl --checkpoint ./all-MiniLM-L6-v2 --teacher splade-tiny-idf --out lexical-minilm
    """
    from opensearch_splade.training.imitator import make_imitator
    from opensearch_splade.training.lessons import gather
    from opensearch_splade.training.recipe import Recipe

    found = (one for one in read_source(source, fields) if isinstance(one, Document))
    read = [one for one, _ in zip(found, range(documents), strict=False)]
    recipe = Recipe(steps=steps, batch=batch, learning_rate=learning_rate, lora=lora, cached=batch, seed=seed)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=steps)

        def tell(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"training, loss {loss:.2f}")

        done = make_imitator(checkpoint, teacher, gather(read, None, None, seed), out, recipe, device, tell)
    if as_json:
        told = {"bundle": str(done.bundle.folder), "fingerprint": done.bundle.manifest.fingerprint}
        click.echo(orjson.dumps(told | {"before": done.before, "after": done.after, "questions": done.questions}))
        return
    click.echo(
        f"{out}: {done.bundle.manifest.precision}, {done.bundle.size / 1e6:.1f} MB, fingerprint "
        f"{done.bundle.manifest.fingerprint}\n"
        f"of {teacher}'s ten best documents it has {done.before:.0%} before and {done.after:.0%} now among its own ten "
        f"best ({done.questions} held-back questions)\n"
        f"next: osplade ingest {shown(source)} --index NEW --bundle BUNDLE --dense-bundle {out}"
    )
