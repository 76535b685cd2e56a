"""Adapt: a bundle for one's own documents. Train, export, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.bundle import TableKind
from opensearch_splade.onnx_models.export import ExportOptions
from opensearch_splade.onnx_models.query_tables import QueryTable, count_idf
from opensearch_splade.onnx_models.query_weights import write_table
from opensearch_splade.training.assignment import RECIPE, Assignment, checkpoint_of, lacks_head, student
from opensearch_splade.training.comparison import Comparison, on_collection, on_held_back
from opensearch_splade.training.exporting import export_trained
from opensearch_splade.training.lessons import Material, lessons
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.trainer import StepReport, Trainer


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it.

    Attributes:
        bundle: The new one.
        held_back: Old and new on the held-back questions.
        collection: Old and new on a judged collection, if one was given.
        steps: Done.
    """

    bundle: Bundle
    held_back: Comparison
    collection: Comparison | None
    steps: int


def adapt(
    assignment: Assignment,
    materials: Sequence[Material],
    recipe: Recipe,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Adapted:
    """Trains, exports and compares.

    Args:
        assignment: What.
        materials: Documents and questions of each source.
        recipe: Of the plan.
        on_step: Called after each step.

    Raises:
        OspladeError: Something is missing or does not fit; says what to do.
    """
    work = assignment.work
    work.mkdir(parents=True, exist_ok=True)
    (work / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    encoder = student(assignment, recipe, work)
    idfs = [count_idf(one.texts, encoder.tokenizer, encoder.vocabulary) for one in materials]
    idf = idfs[0]
    if len(materials) > 1:
        idf = count_idf([text for one in materials for text in one.texts], encoder.tokenizer, encoder.vocabulary)
    taught = [
        lessons(
            one,
            assignment.teachers,
            assignment.bundle,
            own,
            work / "teachers",
            assignment.device,
            recipe,
            assignment.mine_from,
        )
        for one, own in zip(materials, idfs, strict=True)
    ]
    trainer = Trainer(encoder, taught, idf, recipe, work)
    trainer.run(on_step, assignment.seconds)
    bundle = _exported(assignment, trainer, work)
    both, device = (assignment.bundle, str(bundle.folder)), assignment.device
    measured = assignment.collection
    judged = on_collection(both, measured, device, recipe.terms) if measured else None
    return Adapted(bundle, on_held_back(both, taught, device), judged, trainer.step)


def _exported(assignment: Assignment, trainer: Trainer, work: Path) -> Bundle:
    before, recipe = Bundle.open(assignment.bundle).manifest, trainer.recipe
    with tempfile.TemporaryDirectory(dir=work) as folder:
        checkpoint, table = Path(folder) / "checkpoint", Path(folder) / "query_weights.json"
        trainer.encoder.save(checkpoint)
        headed = lacks_head(checkpoint_of(assignment), recipe) is not None
        origin = f"{Path(checkpoint_of(assignment)).name} with a head added" if headed else before.origin.checkpoint
        write_table(table, trainer.query_weights())
        how = ExportOptions(
            kind=recipe.kind,
            precision=assignment.precision,
            max_length=trainer.encoder.length,
            activation=recipe.activation,
            name=assignment.out.resolve().name,
            origin=f"{origin}, adapted by osplade adapt",
            licence=None if headed else before.origin.licence,
            replace=True,
        )
        kind: TableKind = "table" if recipe.learned_queries else "idf"
        weights = QueryTable(kind, file=table) if recipe.kind == "inference-free" else None
        return export_trained(checkpoint, assignment.out, how, weights)
