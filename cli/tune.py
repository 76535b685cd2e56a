"""``osplade tune``."""

from __future__ import annotations

from itertools import islice

import click
import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from opensearch_splade.cli import options
from opensearch_splade.cli.rendering import printer
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.onnx_models.plan import save_plan
from opensearch_splade.onnx_models.tuning import Trial, confirmed
from opensearch_splade.onnx_models.tuning import tune as run_tuning
from opensearch_splade.types import Document


@click.command()
@click.argument("bundle", type=options.BUNDLE)
@options.device
@click.option("--source", default="pydoc:", show_default=True, help="Texts like yours: what ingest takes as SOURCE.")
@options.text_fields
@click.option("--documents", type=click.IntRange(1), default=400, show_default=True, help="Texts of it to tune with.")
@click.option("--rounds", type=click.IntRange(2), default=5, show_default=True, help="Runs of each plan.")
@click.option("--dry-run", is_flag=True, help="Measure, keep nothing.")
@options.as_json
def tune(
    bundle: str,
    *,
    device: Device,
    source: str,
    fields: FieldMap,
    documents: int,
    rounds: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find how BUNDLE runs fastest on this machine, and keep that for later runs.

    Every plan (batches at once, threads a batch, tokens a batch) runs in every round. A plan replaces the default only
    if it was faster in each of them, and again in each of some fresh rounds: less is noise. About a minute on two
    cores.

    \b
    Example:
      osplade tune splade-tiny
      osplade tune my-bundle --source corpus.jsonl --rounds 9
    """
    opened = Bundle.open(bundle)
    records = (record.passage for record in read_source(source, fields) if isinstance(record, Document))
    texts = list(islice(records, documents))
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("tuning", total=None)
        trials = run_tuning(
            opened, device, texts, rounds, lambda done, of: progress.update(task, completed=done, total=of)
        )
        progress.update(task, description="confirming", total=None)
        best = confirmed(opened, device, texts, trials, max(5, rounds))
    if not as_json:
        _show(trials, best)
    where = None if dry_run else save_plan(best.plan, opened.manifest.fingerprint, device.kind, device.cores)
    if as_json:
        click.echo(
            orjson.dumps({"plan": best.plan.model_dump(), "kept": where and str(where), "trials": trials}, _plain)
        )
        return
    lead = f"{best.ratio:.2f} times the default" if best is not trials[0] else "the default; none was faster every time"
    click.echo(f"fastest: {best.plan} ({lead})" + (f"; kept in {where}" if where else "; nothing kept (--dry-run)"))


def _plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump()
    raise TypeError


def _show(trials: list[Trial], best: Trial) -> None:
    table = Table("plan", "documents/s", "of the default", "over the rounds", "")
    for trial in sorted(trials, key=lambda trial: -trial.ratio):
        low, high = min(trial.ratios), max(trial.ratios)
        mark = "kept" if trial is best else "default" if trial is trials[0] else ""
        table.add_row(str(trial.plan), f"{trial.rate:.1f}", f"{trial.ratio:.2f}", f"{low:.2f} to {high:.2f}", mark)
    printer().print(table)
