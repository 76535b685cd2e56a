"""``osplade migrate verify``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.console import Console

from opensearch_splade.cli import migration_options, options
from opensearch_splade.migration import verify as proof
from opensearch_splade.migration.differences import KINDS
from opensearch_splade.migration.verification import Verification

DIFFERENT = 3


@click.command()
@migration_options.state
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=proof.SAMPLE,
    show_default=True,
    metavar="N",
    help="Encode so many documents anew; more than there are: all.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option("--repair", is_flag=True, help="Bring over again what is lost or wrong; then verify again.")
@options.cluster
@options.as_json
def verify(
    url: str | None, *, insecure: bool, folder: Path | None, sample: int, seed: int, repair: bool, as_json: bool
) -> None:
    """Prove that the new index holds every document of the old one, once, with its last state and vector.

    All documents of both are read and compared; a random sample is encoded anew and compared with the stored vectors;
    the server's scores are compared with the exact product. What differs because it is written just now is brought over
    and looked at again. Exit code 0: no difference. Exit code 3: some, by count and first examples.

    \b
    Example:
      osplade migrate verify
      osplade migrate verify --state osplade-migration-products-sparse --sample 2000 --json
    """
    job = migration_options.open_job(url, insecure=insecure, folder=folder)
    with Console(stderr=True).status("comparing ...") as status:

        def tell(doing: str, count: int) -> None:
            status.update(f"{doing} ... {count:,}" if count else f"{doing} ...")

        found = proof.verify(job, sample, seed, tell, repair=repair)
    click.echo(orjson.dumps(found.to_json()) if as_json else told(found))
    if not found.is_clean:
        raise click.exceptions.Exit(DIFFERENT)


def told(found: Verification) -> str:
    """What was found, a line for each thing."""
    lines = [f"{found.old:,} documents in the old index, {found.new:,} in the new one"]
    sampled = f"{found.sampled:,} of them encoded anew"
    if found.unproved and not found.counts["vector"]:
        sampled += f" (with 95 % confidence at most {found.unproved:.2%} of the vectors are wrong)"
    lines += [sampled, f"{found.scores:,} scores of {found.questions:,} questions held against the exact product"]
    if found.pending:
        lines.append(
            f"{found.pending:,} documents are written too often to be compared: the last round brings them over"
        )
    for kind, meaning in KINDS.items():
        if count := found.counts[kind]:
            lines.append(f"{count:,} {kind} ({meaning}):")
            lines += [f"  {one.id}{f': {one.what}' if one.what else ''}" for one in found.examples if one.kind == kind]
    if found.is_clean:
        lines.append("no difference: every document is there once, with its last state and the vectors of its bundles")
        lines.append("next: osplade migrate compare, or osplade migrate cutover")
    else:
        lines.append(_next(found))
    return "\n".join(lines)


def _next(found: Verification) -> str:
    if found.repaired:
        return f"{found.repaired:,} brought over again; next: osplade migrate verify"
    if found.repairable:
        return "next: osplade migrate verify --repair brings these over again, except what the new index refuses"
    return "next: find out who wrote to the new index; what is in it and not in the old one is not deleted by itself"
