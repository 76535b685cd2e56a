"""``osplade make-questions``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from opensearch_splade.cli import options
from opensearch_splade.cli.wiring import open_cluster
from opensearch_splade.evaluation.made_collection import make_collection
from opensearch_splade.evaluation.made_questions import JUDGED_BY, Kind


@click.command("make-questions")
@click.argument("index")
@click.option("--kind", required=True, type=click.Choice(["known-item", "pseudo"]), help="How questions are made.")
@click.option(
    "--known-by",
    type=click.Choice(["terms", "title"]),
    default="terms",
    show_default=True,
    help="A known item's question: some words of its body, or its title, which finds itself.",
)
@click.option("--count", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Questions wanted.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one draws other documents.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="A new folder.")
@options.cluster
def make_questions(
    index: str,
    *,
    kind: str,
    known_by: Kind,
    count: int,
    seed: int,
    out: Path,
    url: str | None,
    insecure: bool,
) -> None:
    """Make questions of the documents of INDEX, where nobody has judged any, for `osplade eval FOLDER`.

    known-item draws documents and some telling words of each; pseudo takes the most telling sentence of each. The
    folder says that no person judged them: compare systems with them, and do not take the figures for those of real
    questions.

    \b
    Example:
      osplade make-questions docs --kind known-item --count 300 --out known
      osplade make-questions docs --kind pseudo --seed 7 --out pseudo
    """
    chosen: Kind = known_by if kind == "known-item" else "pseudo"
    cluster = open_cluster(url, insecure=insecure)
    with Console(stderr=True).status(f"reading {escape(index)} ..."):
        made = make_collection(cluster.client, index, chosen, count, seed, out)
    copies = sum(len(one.documents) > 1 for one in made)
    click.echo(
        f"wrote {out}: {len(made):,} questions, judged by {JUDGED_BY[chosen]}; {copies:,} have copies as answers"
    )
    if len(made) < count:
        click.echo(f"note: {count:,} were wanted; no more documents gave one", err=True)
    click.echo(f"next: osplade eval {out} --index {index}")
