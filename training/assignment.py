"""Assignment: what is to be adapted, from which weights, and how."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from opensearch_splade.errors import BundleError
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.onnx_models.bundle import Precision
from opensearch_splade.training.cluster_negatives import ClusterIndex
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.scalar_head import add_scalar_head, has_scalar_head
from opensearch_splade.training.tied_head import add_tied_head, needs_head
from opensearch_splade.training.trainable import TrainableEncoder

RECIPE = "recipe.json"
WITH_HEAD = "with-head"
"""Folder of a checkpoint that was given a vocabulary head."""


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
        collection: Judged questions that both bundles are measured on at the end.
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
    collection: Collection | None = None
    mine_from: ClusterIndex | None = None


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


def lacks_head(checkpoint: str, recipe: Recipe) -> Literal["vocabulary", "scalar"] | None:
    """The head that a recipe asks for and the checkpoint has not."""
    if recipe.head == "scalar":
        return None if has_scalar_head(checkpoint) else "scalar"
    return "vocabulary" if needs_head(checkpoint) else None


def student(assignment: Assignment, recipe: Recipe, work: Path) -> TrainableEncoder:
    """The checkpoint to be trained; one without a head is given it in a folder of ``work``."""
    checkpoint = checkpoint_of(assignment)
    if lacks := lacks_head(checkpoint, recipe):
        headed, draft = work / WITH_HEAD, work / f"{WITH_HEAD}.part"
        if not headed.exists():
            shutil.rmtree(draft, ignore_errors=True)
            (add_scalar_head if lacks == "scalar" else add_tied_head)(checkpoint, draft)
            draft.rename(headed)
        checkpoint = str(headed)
    return TrainableEncoder(
        checkpoint,
        recipe.max_length or Bundle.open(assignment.bundle).manifest.max_length,
        activation=recipe.activation,
        lora=recipe.lora,
        seed=recipe.seed,
        device=assignment.device,
        precision=recipe.precision or "fp32",
    )
