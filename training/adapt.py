"""Adapt: a bundle for one's own documents. Plan, train, export, compare."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from opensearch_splade.errors import BundleError, TrainingError
from opensearch_splade.evaluation.significance import confidence_intervals, randomisation_test
from opensearch_splade.onnx_models import Bundle, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import Precision, TableKind
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable, count_idf
from opensearch_splade.onnx_models.query_weights import write_table
from opensearch_splade.training.cluster_negatives import ClusterIndex
from opensearch_splade.training.cross_encoder import pair_seconds
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lessons import MINED, Material, lessons
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import StepReport, Trainer

RECIPE = "recipe.json"
_TEACHING = 0.02
"""Seconds that teachers and negatives cost a text, roughly: a plan is no promise."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is to be adapted, and how.

    Attributes:
        bundle: The bundle that it begins with, and is compared with.
        checkpoint: Its weights as a checkpoint folder or hub id; ``None`` takes where the bundle says it comes from.
        out: The new bundle's folder.
        work: Folder of states and teachers' vectors; kept, so that an interrupted run goes on.
        teachers: ``bm25`` or a bundle, to its weight.
        recipe: How.
        seconds: Wall-clock budget of the training.
        precision: Of the new bundle.
        device: Where bundles run; the training itself is on the CPU.
        mine_from: An index whose rankings give hard negatives too.
    """

    bundle: str
    checkpoint: str | None
    out: Path
    work: Path
    teachers: Mapping[str, float]
    recipe: Recipe
    seconds: float | None = None
    precision: Precision = "int8"
    device: Device = field(default_factory=Device)
    mine_from: ClusterIndex | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        documents: How many are read.
        questions: How many are made, by kind; held-back ones included.
        held_back: How many of them are watched.
        recipe: With as many steps as the budget allows.
        step_seconds: Of one step here.
        seconds: Of everything, about.
    """

    documents: int
    questions: Mapping[str, int]
    held_back: int
    recipe: Recipe
    step_seconds: float
    seconds: float


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


def make_plan(assignment: Assignment, material: Material) -> Plan:
    """Measures a step here and says how long everything would take.

    Raises:
        TrainingError: Too few questions could be made.
        BundleError: The bundle does not say where its weights can be had.
    """
    recipe, pairs = assignment.recipe, [*material.trained, *material.held_back]
    if len(material.trained) < 2 or not material.held_back:
        raise TrainingError(
            f"{len(material.documents):,} documents gave {len(pairs)} questions: too few to learn from and to watch."
        )
    kept = assignment.work / RECIPE
    step = _step_seconds(checkpoint_of(assignment), recipe, material) + _cross_seconds(assignment, material)
    watch = step * (len(material.held_back) + 300) / (3 * recipe.batch * (1 + recipe.negatives))
    each = step + watch / recipe.watch_every
    if assignment.seconds is not None:
        recipe = recipe.model_copy(update={"steps": max(1, min(recipe.steps, int(assignment.seconds / each)))})
    if kept.exists():  # a run goes on with the steps that it began with
        began = Recipe.model_validate_json(kept.read_bytes())
        if began.model_copy(update={"steps": recipe.steps}) == recipe:
            recipe = began
    preparing = _TEACHING * (len(material.documents) + len(pairs)) * max(1, len(assignment.teachers) - 1)
    kinds = Counter[str](pair.kind for pair in pairs)
    total = preparing + each * recipe.steps + _TEACHING * 2 * len(material.held_back)
    return Plan(len(material.documents), dict(kinds), len(material.held_back), recipe, step, total)


def adapt(
    assignment: Assignment, material: Material, recipe: Recipe, on_step: Callable[[StepReport], None] = lambda _: None
) -> Adapted:
    """Trains, exports and compares.

    Args:
        assignment: What.
        material: Documents and questions.
        recipe: Of the plan.
        on_step: Called after each step.

    Raises:
        OspladeError: Something is missing or does not fit; says what to do.
    """
    work = assignment.work
    work.mkdir(parents=True, exist_ok=True)
    (work / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    student = _student(checkpoint_of(assignment), recipe)
    idf = count_idf(material.texts, student.tokenizer, student.vocabulary)
    lesson, held = lessons(
        material,
        assignment.teachers,
        assignment.bundle,
        work / "teachers",
        assignment.device,
        mined=MINED if recipe.negatives else 0,
        language=recipe.language,
        cluster=assignment.mine_from,
    )
    trainer = Trainer(student, idf, lesson, held, recipe, work)
    trainer.run(on_step, assignment.seconds)
    bundle = _exported(assignment, trainer, work)
    if recipe.kind == "siamese":
        old = SparseEncoder.load(assignment.bundle, assignment.device)
    else:
        old = SparseEncoder.load(assignment.bundle, assignment.device, idf, table_kind="idf")
    new = SparseEncoder.load(bundle.folder, assignment.device)
    sides = [measured(encoder, held) for encoder in (old, new)]
    differences = np.array(sides[1][1]) - np.array(sides[0][1])
    [interval] = confidence_intervals(differences[:, None])
    return Adapted(bundle, sides[0][0], sides[1][0], interval, randomisation_test(differences), trainer.step)


def measured(encoder: SparseEncoder, held: HeldBack) -> tuple[Side, list[float]]:
    """A bundle on held-back questions, and each question's nDCG@10."""
    documents = encoder.encode_documents(held.texts)
    found = held.ndcg(encoder.encode_queries([pair.query for pair in held.pairs]), documents)
    terms = len(documents.weights) / max(1, len(documents))
    return Side(sum(found) / max(1, len(found)), terms, encoder.bundle.size), found


def checkpoint_of(assignment: Assignment) -> str:
    """Where the weights to begin with lie. A bundle holds a graph, which cannot be trained.

    Raises:
        BundleError: Nobody says so.
    """
    if assignment.checkpoint:
        return assignment.checkpoint
    origin = Bundle.open(assignment.bundle).manifest.origin.checkpoint
    if Path(origin).is_dir() or (origin.count("/") == 1 and " " not in origin):
        return origin
    raise BundleError(
        f"{assignment.bundle} is a graph, and its weights come from {origin!r}, which is no folder here and no hub id. "
        "Give the checkpoint it was exported from: --checkpoint FOLDER."
    )


def _exported(assignment: Assignment, trainer: Trainer, work: Path) -> Bundle:
    before, recipe = Bundle.open(assignment.bundle).manifest, trainer.recipe
    with tempfile.TemporaryDirectory(dir=work) as folder:
        checkpoint, table = Path(folder) / "checkpoint", Path(folder) / "query_weights.json"
        trainer.encoder.save(checkpoint)
        write_table(table, trainer.query_weights())
        how = ExportOptions(
            kind=recipe.kind,
            precision=assignment.precision,
            max_length=before.max_length,
            activation=recipe.activation,
            name=assignment.out.resolve().name,
            origin=f"{before.origin.checkpoint}, adapted by osplade adapt",
            licence=before.origin.licence,
            replace=True,
        )
        kind: TableKind = "table" if recipe.learned_queries else "idf"
        weights = QueryTable(kind, file=table) if recipe.kind == "inference-free" else None
        return export_bundle(str(checkpoint), assignment.out, how, query_weights=weights)


def _student(checkpoint: str, recipe: Recipe) -> TrainableEncoder:
    return TrainableEncoder(checkpoint, recipe.max_length, activation=recipe.activation)


def _cross_seconds(assignment: Assignment, material: Material) -> float:
    """Seconds of a step for teachers that read every question of the batch with every document of it."""
    pairs = [(pair.query, material.documents[pair.document].passage) for pair in material.trained]
    recipe = assignment.recipe
    each = pair_seconds(assignment.teachers, pairs, assignment.device)
    return each * recipe.batch**2 * (1 + recipe.negatives)


def _step_seconds(checkpoint: str, recipe: Recipe, material: Material) -> float:
    """Seconds of forward and backward, the better of two tries on texts of middling length."""
    encoder = _student(checkpoint, recipe)
    texts = sorted((pair.text for pair in material.trained), key=len)
    ids = encoder.tokenizer.encode([texts[len(texts) // 2]] * recipe.batch * (1 + recipe.negatives))
    taken: list[float] = []
    for _ in range(2):
        began = time.monotonic()
        encoder(ids).mean(0).square().sum().backward()
        taken.append(time.monotonic() - began)
    return 1.15 * min(taken)  # the optimizer and the losses
