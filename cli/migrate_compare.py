"""``osplade migrate compare``."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from opensearch_splade.cli import migration_options, options
from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection_qrels import read_qrels
from opensearch_splade.evaluation.questions import Question, drawn, from_logs, read_questions
from opensearch_splade.evaluation.results import Latency
from opensearch_splade.evaluation.summary import p_value, signed
from opensearch_splade.evaluation.templates import Template
from opensearch_splade.migration import compare as comparison
from opensearch_splade.migration.compare_page import SHOWN, render_html

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MOST = 500


@click.command()
@migration_options.state
@click.option(
    "--queries", type=_FILE, help="Questions: one a line; or with ids, as JSON lines, .tsv, .csv or TREC topics."
)
@click.option(
    "--log", "logs", type=_FILE, multiple=True, help="Questions out of search slow logs or search bodies; repeatable."
)
@click.option(
    "--questions", "most", type=click.IntRange(min=1), default=MOST, show_default=True, help="Ask so many at most."
)
@click.option("--old-template", type=_FILE, help="JSON search body with {{query}} in it: how the old index is asked.")
@click.option(
    "--mode", default="hybrid", show_default=True, help="How the new index is asked, as osplade search has it."
)
@click.option("--top", "depth", type=click.IntRange(1, 100), default=comparison.DEPTH, show_default=True, help="Hits.")
@click.option("--qrels", type=_FILE, help="Judgements of the questions: nDCG@10 of both, and whether it may be chance.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page for people to judge by.")
@click.option("--shown", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="Questions on it to judge.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn by chance.")
@options.cluster
@options.as_json
def compare(
    url: str | None,
    *,
    insecure: bool,
    folder: Path | None,
    queries: Path | None,
    logs: tuple[Path, ...],
    most: int,
    old_template: Path | None,
    mode: str,
    depth: int,
    qrels: Path | None,
    html: Path | None,
    shown: int,
    seed: int,
    as_json: bool,
) -> None:
    """Ask both indices your users' questions, and see what changes: hits, latency, and quality where it was judged.

    Questions come from a file or from logs; what was asked more often is drawn more often and weighs more. The page of
    --html shows both answers side by side without saying which is which, keeps judgements, and saves them as JSON.

    \b
    Example:
      osplade migrate compare --queries queries.txt --html compare.html
      osplade migrate compare --log opensearch_index_search_slowlog.json --old-template search.json --html compare.html
      osplade migrate compare --queries topics.tsv --qrels judged.tsv
    """
    if (queries is None) == (not logs):
        raise click.UsageError("Say where the questions come from: --queries FILE, or --log FILE.")
    console = Console(stderr=True)
    questions = drawn(_questions(queries, logs, console), most, seed)
    template = Template.load(str(old_template)) if old_template else None
    judged = read_qrels(qrels) if qrels else None
    job = migration_options.open_job(url, insecure=insecure, folder=folder)
    with Progress(console=console) as bar:
        task = bar.add_task("asking", total=len(questions))
        found = comparison.compare(
            job,
            questions,
            template=template,
            mode=mode,
            depth=depth,
            qrels=judged,
            tell=lambda count: bar.update(task, completed=count),
        )
    if html:
        old, new = job.source.name, job.spec.target
        _write(html, render_html(found, old=old, new=new, shown=shown, seed=seed, date=date.today().isoformat()))
    click.echo(orjson.dumps(found.to_json()) if as_json else told(found))


def _questions(queries: Path | None, logs: tuple[Path, ...], console: Console) -> list[Question]:
    if queries:
        return read_questions(queries)
    found, log = from_logs(logs)
    without = f", {log.without:,} without a question" if log.without else ""
    console.print(f"{len(found):,} questions in {log.lines:,} lines{without}", highlight=False)
    return found


def _write(path: Path, html: str) -> None:
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}.") from error


def told(found: comparison.Compared) -> str:
    """What was found, in a few lines."""
    share, rbo = found.mean(lambda each: each.overlap), found.mean(lambda each: each.rbo)
    alike = f"of the first {found.depth} hits {share:.0%} are in both, rank-biased overlap {rbo:.3f}"
    lines = [
        f"{len(found.answers):,} questions; {alike}",
        f"old ({found.old_way}): {_ms(found.latency(comparison.old_side))}",
        f"new ({found.new_way}): {_ms(found.latency(comparison.new_side))}",
    ]
    if judged := found.judged:
        one = judged.comparison
        sure = f"95 % interval {signed(one.low)} to {signed(one.high)}, p {p_value(one.p)}"
        values = f"old {judged.old:.4f}, new {judged.new:.4f}, {signed(one.difference)} ({sure})"
        lines.append(f"{comparison.MEASURE} of {judged.questions:,} judged questions: {values}")
    if found.failed:
        id_, side, reason = found.failed[0]
        lines.append(f"{len(found.failed):,} left out, such as question {id_}, refused by the {side} index: {reason}")
    return "\n".join(lines)


def _ms(latency: Latency) -> str:
    return f"p50 {latency.client_p50:.1f} ms, p95 {latency.client_p95:.1f} ms (server p50 {latency.server_p50:.1f} ms)"
