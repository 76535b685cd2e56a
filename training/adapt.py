"""Adapt: a bundle for one's own documents. Train, export, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import ParityError
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.significance import confidence_intervals, randomisation_test
from opensearch_splade.onnx_models import Bundle, SparseEncoder
from opensearch_splade.onnx_models.bundle import TableKind
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable, count_idf
from opensearch_splade.onnx_models.query_weights import write_table
from opensearch_splade.training.assignment import RECIPE, Assignment, checkpoint_of, lacks_head, student
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lessons import Lessons, Material, lessons
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.trainer import StepReport, Trainer


@dataclass(frozen=True, slots=True)
class Side:
    """A bundle as measured on held-back questions: nDCG@10 and terms of a document."""

    ndcg: float
    terms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it.

    Attributes:
        bundle: The new one.
        old: The one it began with, with the corpus' idf as well.
        new: The new one.
        interval: 95 % of the difference of nDCG@10.
        p_value: Of the paired randomisation test.
        steps: Done.
    """

    bundle: Bundle
    old: Side
    new: Side
    interval: tuple[float, float]
    p_value: float
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
    sides, differences = _compared(assignment, bundle, taught)
    [interval] = confidence_intervals(differences[:, None])
    return Adapted(bundle, *sides, interval, randomisation_test(differences), trainer.step)


def _compared(
    assignment: Assignment, bundle: Bundle, taught: Sequence[Lessons]
) -> tuple[tuple[Side, Side], npt.NDArray[np.float64]]:
    """Both bundles on all held-back questions, with the idf of each source, and the differences of nDCG@10."""
    found: list[list[tuple[Side, list[float]]]] = [[], []]
    for one in taught:
        for place, name in enumerate((assignment.bundle, str(bundle.folder))):
            encoder = SparseEncoder.load(name, assignment.device)
            if encoder.query_side == "inference-free" and encoder.bundle.manifest.query_weights != "table":
                texts = [document.passage for document in one.documents]
                idf = count_idf(texts, encoder.tokenizer, encoder.vocabulary)  # the old one may have other words
                encoder = SparseEncoder.load(name, assignment.device, idf, table_kind="idf")
            found[place].append(measured(encoder, one.held))
    scores = [np.concatenate([each for _, each in side]) for side in found]
    sides = [
        Side(float(each.mean()), float(np.mean([one.terms for one, _ in side])), side[0][0].bytes)
        for side, each in zip(found, scores, strict=True)
    ]
    return (sides[0], sides[1]), scores[1] - scores[0]


def measured(encoder: SparseEncoder, held: HeldBack) -> tuple[Side, list[float]]:
    """A bundle on held-back questions, and each question's nDCG@10."""
    documents = encoder.encode_documents(held.texts)
    index = ExactIndex([""] * len(held.texts), documents)
    asked = encoder.encode_queries([pair.query for pair in held.pairs])
    found = held.ndcg(np.array([index.scores(*row) for row in asked]))
    terms = len(documents.weights) / max(1, len(documents))
    return Side(sum(found) / max(1, len(found)), terms, encoder.bundle.size), found


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
            max_length=min(before.max_length, trainer.encoder.longest or before.max_length),
            activation=recipe.activation,
            name=assignment.out.resolve().name,
            origin=f"{origin}, adapted by osplade adapt",
            licence=None if headed else before.origin.licence,
            replace=True,
        )
        kind: TableKind = "table" if recipe.learned_queries else "idf"
        weights = QueryTable(kind, file=table) if recipe.kind == "inference-free" else None
        try:
            return export_bundle(str(checkpoint), assignment.out, how, query_weights=weights)
        except ParityError:
            if how.precision == "fp32":
                raise
            # What was trained for an hour is not thrown away because it cannot be quantised.
            return export_bundle(str(checkpoint), assignment.out, replace(how, precision="fp32"), query_weights=weights)
