"""Adapt: a bundle for one's own documents. Plan, train, export, compare."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError, ParityError, TrainingError
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.significance import confidence_intervals, randomisation_test
from opensearch_splade.onnx_models import Bundle, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import Precision, TableKind
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable, count_idf
from opensearch_splade.onnx_models.query_weights import write_table
from opensearch_splade.training.cluster_negatives import ClusterIndex
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.cross_encoder import pair_seconds
from opensearch_splade.training.gradient_cache import backward, cut
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lessons import Lessons, Material, lessons
from opensearch_splade.training.recipe import Recipe, TrainingPrecision
from opensearch_splade.training.scalar_head import add_scalar_head, has_scalar_head
from opensearch_splade.training.teacher_cache import BM25
from opensearch_splade.training.tied_head import add_tied_head, needs_head
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import StepReport, Trainer

RECIPE = "recipe.json"
WITH_HEAD = "with-head"
"""Folder of a checkpoint that was given a vocabulary head."""
_TEACHING, _SHORT = 0.01, 0.2
"""Seconds that a model costs a document, roughly, and the part of it that a question costs: a plan is no promise."""
_ASKED = 5
"""Terms that a question of a batch adds to its columns."""


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
        precision: Of the new bundle; fp32 all the same where what was trained does not bear it.
        device: Where bundles run and the training does.
        mine_from: An index whose rankings are learned from too.
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
        adds_head: What kind of head the checkpoint is given, if any.
    """

    documents: int
    questions: Mapping[str, int]
    held_back: int
    recipe: Recipe
    step_seconds: float
    seconds: float
    adds_head: Literal["vocabulary", "scalar"] | None = None


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


def make_plan(assignment: Assignment, materials: Sequence[Material]) -> Plan:
    """Measures a step here and says how long everything would take.

    Raises:
        TrainingError: Too few questions could be made.
        BundleError: The bundle does not say where its weights can be had.
    """
    for one in materials:
        if len(one.trained) < 2 or not one.held_back:
            count = len(one.trained) + len(one.held_back)
            raise TrainingError(
                f"{len(one.documents):,} documents gave {count} questions: too few to learn from and to watch."
            )
    recipe = _begun(assignment) or assignment.recipe
    adds_head = _lacks(checkpoint_of(assignment), recipe)
    with tempfile.TemporaryDirectory() as folder:
        speeds = {
            one: _step_seconds(
                _student(assignment, recipe.model_copy(update={"precision": one}), Path(folder)), recipe, materials
            )
            for one in _precisions(recipe)
        }
    precision = min(speeds, key=speeds.__getitem__)
    held = sum(len(one.held_back) for one in materials)
    documents = sum(len(one.documents) for one in materials)
    step = speeds[precision] + _cross_seconds(assignment, materials)
    watch = step * (4 * held + 1000 * len(materials)) / (3 * recipe.batch * (1 + recipe.neighbours))
    each = step + watch / recipe.watch_every
    steps = recipe.steps if assignment.seconds is None else max(1, int(assignment.seconds / each))
    recipe = recipe.model_copy(update={"precision": precision, "steps": steps})
    kinds = Counter[str](pair.kind for one in materials for pair in [*one.trained, *one.held_back])
    read = documents + _SHORT * kinds.total()
    preparing = _TEACHING * read * len(dict.fromkeys([assignment.bundle, *assignment.teachers, BM25]))
    return Plan(documents, dict(kinds), held, recipe, step, preparing + each * steps + _TEACHING * 8 * held, adds_head)


def _begun(assignment: Assignment) -> Recipe | None:
    """The recipe of a run that is gone on with, if it is this one: its steps and precision stay as they are."""
    kept = assignment.work / RECIPE
    if not kept.exists():
        return None
    began = Recipe.model_validate_json(kept.read_bytes())
    asked = assignment.recipe
    free = {"precision": asked.precision} | ({"steps": asked.steps} if assignment.seconds is not None else {})
    return began if began.model_copy(update=free) == asked else None


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
    student = _student(assignment, recipe, work)
    idfs = [count_idf(one.texts, student.tokenizer, student.vocabulary) for one in materials]
    idf = count_idf([text for one in materials for text in one.texts], student.tokenizer, student.vocabulary)
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
    trainer = Trainer(student, taught, idf, recipe, work)
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
        headed = _lacks(checkpoint_of(assignment), recipe) is not None
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


def _lacks(checkpoint: str, recipe: Recipe) -> Literal["vocabulary", "scalar"] | None:
    """The head that a recipe asks for and the checkpoint has not."""
    if recipe.head == "scalar":
        return None if has_scalar_head(checkpoint) else "scalar"
    return "vocabulary" if needs_head(checkpoint) else None


def _student(assignment: Assignment, recipe: Recipe, work: Path) -> TrainableEncoder:
    """The checkpoint to be trained; one without a head is given it in a folder of ``work``."""
    checkpoint = checkpoint_of(assignment)
    if lacks := _lacks(checkpoint, recipe):
        headed, draft = work / WITH_HEAD, work / f"{WITH_HEAD}.part"
        if not headed.exists():
            shutil.rmtree(draft, ignore_errors=True)
            (add_scalar_head if lacks == "scalar" else add_tied_head)(checkpoint, draft)
            draft.rename(headed)
        checkpoint = str(headed)
    return TrainableEncoder(
        checkpoint,
        recipe.max_length,
        activation=recipe.activation,
        lora=recipe.lora,
        seed=recipe.seed,
        device=assignment.device,
        precision=recipe.precision or "fp32",
    )


def _precisions(recipe: Recipe) -> Sequence[TrainingPrecision]:
    return (recipe.precision,) if recipe.precision else ("fp32", "bf16")


def _step_seconds(encoder: TrainableEncoder, recipe: Recipe, materials: Sequence[Material]) -> float:
    """Seconds of forward and backward, the best of three tries on texts of middling length."""
    texts = sorted((text for one in materials for text in one.texts), key=len)
    ids = encoder.tokenizer.encode([texts[len(texts) // 2]] * recipe.batch * (1 + recipe.neighbours))
    width = len(encoder.vocabulary.features)
    siamese = recipe.kind == "siamese" or recipe.columns is None
    count = None if siamese else _ASKED * recipe.questions + (recipe.columns or 0)
    columns = Columns.drawn([], width, count, np.random.default_rng(0)).ids.to(encoder.device)
    chunks = [partial(encoder, chunk, columns) for chunk in cut(ids, recipe.cached or len(ids))]
    taken: list[float] = []
    for _ in range(3):
        began = time.monotonic()
        backward(chunks, lambda vectors: vectors.mean(0).square().sum(), cached=recipe.cached is not None)
        taken.append(time.monotonic() - began)
    return 1.3 * min(taken)  # the optimizer, the teachers and the losses


def _cross_seconds(assignment: Assignment, materials: Sequence[Material]) -> float:
    """Seconds of a step for teachers that read every question of the batch with every document of it."""
    pairs = [(pair.query, one.documents[pair.document].passage) for one in materials for pair in one.trained]
    recipe = assignment.recipe
    each = pair_seconds(assignment.teachers, pairs, assignment.device)
    return each * recipe.questions * recipe.batch * (1 + recipe.neighbours)
