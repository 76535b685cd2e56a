"""``osplade exhaust``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from opensearch_splade.cli import options
from opensearch_splade.cli.wiring import QUERY_SIDES, QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import SourceError
from opensearch_splade.query import (
    Estimate,
    ExhaustOptions,
    QueryPruning,
    Review,
    SearchResult,
    SeismicSearch,
    score_knee,
)
from opensearch_splade.types import Hit


@click.command()
@click.argument("question")
@options.index
@click.option("--mode", default="hybrid", show_default=True, help="As `osplade search` takes it.")
@click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True)
@click.option(
    "--filter", "filter_", metavar="JSON", help='A query that hits must match, e.g. {"term":{"metadata.kind":"class"}}.'
)
@click.option("--depth", type=click.IntRange(1), help="End after so many documents. [default: all that match]")
@click.option("--page", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Hits of a request.")
@click.option("--keep-alive", default="5m", show_default=True, help="How long the cluster keeps the place, e.g. 1h.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the hits there, one JSON object a line."
)
@click.option("--ids-only", is_flag=True, help="Write rank, id and score only.")
@click.option(
    "--judged",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What was read so far, as lines ID 1 (relevant) or ID 0: says how many relevant ones may be unseen.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the relevant documents that is enough.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the estimate.",
)
@click.option("--dry-run", is_flag=True, help="Print the first request of each ranking and send nothing.")
@options.query_encoders
@options.cluster
@options.as_json
def exhaust(
    question: str,
    *,
    index: str,
    mode: str,
    query_side: str,
    filter_: str | None,
    depth: int | None,
    page: int,
    keep_alive: str,
    out: Path | None,
    ids_only: bool,
    judged: Path | None,
    recall: float,
    confidence: float,
    dry_run: bool,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Read the whole ranking of QUESTION, and say when reading it is enough.

    Each document comes once, from one point in time. With --judged, the ranking is compared with what was read of it up
    to the first document without a judgement: at most so many relevant ones are still unseen.

    \b
    Example:
      osplade exhaust "vitamin d and bone density" --index papers --out hits.jsonl
      osplade exhaust "vitamin d and bone density" --index papers --judged read.txt --recall 0.9
    """
    cluster = open_cluster(url, insecure=insecure)
    bundles = QueryBundles(bundle, dense_bundle, query_prune, seismic)
    searcher = next(iter(open_searchers(cluster, index, bundles, query_side).values()))
    asked: ExhaustOptions = {
        "mode": mode,
        "filter": options.json_filter(filter_),
        "depth": depth,
        "page": page,
        "keep_alive": keep_alive,
        "ids_only": ids_only or out is None,
    }
    if dry_run:
        click.echo(orjson.dumps(searcher.exhaust_bodies(question, **asked), option=orjson.OPT_INDENT_2))
        return
    if out and out.is_file():
        raise SourceError(f"{out} exists, and nothing is overwritten. Name another file.")
    grades = _grades(judged) if judged else {}
    read = _Read()
    with ExitStack() as stack:
        lines = stack.enter_context(out.open("wb")) if out else None
        for hit in read.hits(searcher.exhaust(question, **asked), depth):
            if lines:
                lines.write(orjson.dumps(_line(read.count, hit, ids_only=ids_only), option=orjson.OPT_APPEND_NEWLINE))
    # Where it was cut, what lies behind counts as well: as passages, where only these were counted.
    total = read.count if depth is None or read.count < depth else max(read.count, read.total)
    estimate = _estimate(read.ids, grades, total, confidence) if judged else None
    if as_json:
        said = {**asdict(estimate), "recall_at_least": estimate.recall_at_least} if estimate else None
        click.echo(orjson.dumps({"hits": read.count, "total": total, "notices": read.notices, "estimate": said}))
        return
    click.echo(f"{read.count:,} documents" + (f" are in {out}" if out else ""))
    for notice in read.notices:
        click.echo(f"note: {notice}", err=True)
    click.echo(_advice(estimate, recall, confidence) if estimate else _hint(read.scores))


class _Read:
    """What came of the ranking."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.scores: list[float] = []
        self.notices: tuple[str, ...] = ()
        self.total = 0

    @property
    def count(self) -> int:
        """Documents so far."""
        return len(self.ids)

    def hits(self, pages: Iterable[SearchResult], depth: int | None) -> Iterator[Hit]:
        """Each hit, while a bar shows how far it is."""
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("reading", total=depth)
            for page in pages:
                self.total, self.notices = page.total or 0, page.notices
                for hit in page.hits:
                    self.ids.append(hit.id)
                    self.scores.append(hit.score)
                    yield hit
                bar.update(task, total=min(self.total, depth or self.total), completed=self.count)


def _line(rank: int, hit: Hit, *, ids_only: bool) -> dict[str, object]:
    head: dict[str, object] = {"rank": rank, "id": hit.id, "score": hit.score}
    return head if ids_only else {**head, "title": hit.title, "text": hit.text, "metadata": dict(hit.metadata)}


def _grades(path: Path) -> dict[str, bool]:
    grades: dict[str, bool] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        identity, _, grade = line.strip().replace("\t", " ").rpartition(" ")
        if not identity or grade not in {"0", "1"}:
            raise SourceError(f"{path}:{number}: a line is ID 1 for a relevant document, or ID 0 for another.")
        grades[identity.strip()] = grade == "1"
    return grades


def _estimate(ids: Iterable[str], grades: Mapping[str, bool], total: int, confidence: float) -> Estimate:
    review = Review(total, confidence)
    for identity in ids:
        if identity not in grades:
            break
        review.judge(grades[identity])
    return review.estimate()


def _advice(estimate: Estimate, recall: float, confidence: float) -> str:
    enough = estimate.recall_at_least >= recall
    return (
        f"judged {estimate.seen:,}: {estimate.found:,} relevant; unseen at most {estimate.unseen_at_most:,} "
        f"({confidence:.0%} confidence), so recall is at least {estimate.recall_at_least:.2f}: "
        + (f"enough for {recall:.2f}" if enough else f"not enough for {recall:.2f}; read on")
    )


def _hint(scores: list[float]) -> str:
    return (
        f"the scores bend after rank {score_knee(scores):,}: a hint and no estimate, which takes judgements "
        "(--judged FILE)"
    )
