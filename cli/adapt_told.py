"""What ``osplade adapt`` tells: its plan, how it stands, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from opensearch_splade.ingest.sources import shown

if TYPE_CHECKING:
    from opensearch_splade.training.adapt import Adapted
    from opensearch_splade.training.comparison import Comparison
    from opensearch_splade.training.plan import Plan
    from opensearch_splade.training.trainer import StepReport


_ADDED: dict[str | None, str] = {
    None: "",
    "vocabulary": "the checkpoint has no vocabulary head: one tied to its word embeddings is added\n",
    "scalar": "the checkpoint's body is given a head of one weight per token of the text\n",
}


def plan_text(plan: Plan) -> str:
    """What would be done."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(plan.questions.items()))
    recipe = plan.recipe
    return (
        f"{_ADDED[plan.adds_head]}"
        f"{plan.documents:,} documents; questions: {kinds}; {plan.held_back:,} of them held back\n"
        f"{recipe.steps:,} steps of {recipe.batch * (1 + recipe.neighbours)} documents at {plan.step_seconds:.2f} s "
        f"({recipe.precision}), {recipe.max_length} tokens of each: about {plan.seconds / 60:.0f} min in all"
    )


def outcome_text(done: Adapted, sources: Sequence[str], out: Path, terms: float) -> str:
    """What came of it, and what to do next."""
    best = done.collection or done.held_back
    table = " --query-weights idf" if done.bundle.manifest.kind == "inference-free" else ""
    advice = (
        f"next, for a new index: osplade ingest {shown(sources[0])} --index NEW --bundle {out}{table}\n"
        f"or for one that is in use: osplade migrate plan --source OLD --target NEW --bundle {out}"
        if best.interval[0] > 0
        else "It is not proven to be better on these documents: keep the old one, or train longer (--steps, --budget)."
    )
    said = [_compared(one) for one in (done.held_back, done.collection) if one]
    manifest = done.bundle.manifest
    exact = ["int8 would differ too much from what was trained, so it is fp32"] if manifest.precision == "fp32" else []
    return "\n".join(
        (
            *exact,
            f"{out}: {manifest.precision}, {best.new.bytes / 1e6:.1f} MB, {best.old.bytes / 1e6:.1f} before",
            f"fingerprint {manifest.fingerprint}, {done.steps:,} steps",
            *said,
            f"--prune top_k:{terms:.0f} holds each document to its strongest terms",
            advice,
        )
    )


def _compared(one: Comparison) -> str:
    (low, high), old, new = one.interval, one.old, one.new
    change = f"{new.ndcg - old.ndcg:+.3f}, 95 % {low:+.3f} to {high:+.3f}, p {one.p_value:.3f}"
    return (
        f"{one.name}, nDCG@10 of {one.questions:,}: {old.ndcg:.3f} before, {new.ndcg:.3f} now ({change})\n"
        f"  terms of a document {old.terms:.0f}, {new.terms:.0f}; "
        f"documents/s {old.documents_per_second:.0f}, {new.documents_per_second:.0f}"
    )


def plan_values(plan: Plan) -> dict[str, object]:
    """The plan for machines."""
    return {**asdict(plan), "recipe": plan.recipe.model_dump()}


def result_values(done: Adapted) -> dict[str, object]:
    """What came of it, for machines."""
    return {
        "bundle": str(done.bundle.folder),
        "fingerprint": done.bundle.manifest.fingerprint,
        "steps": done.steps,
        **asdict(done.held_back),
        "collection": asdict(done.collection) if done.collection else None,
    }


@contextmanager
def progress(total: int, console: Console) -> Iterator[Callable[[StepReport], None]]:
    """A bar that takes reports of steps."""
    columns = (
        TextColumn("[bold]training"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=total, said="preparing teachers")

        def tell(report: StepReport) -> None:
            held = "" if report.held_back is None else f", held-back {report.held_back:.3f} (best {report.best:.3f})"
            said = f"loss {report.loss:.2f}, {report.terms:.0f} terms{held}"
            bar.update(task, completed=report.step, total=report.steps, said=said)

        yield tell
