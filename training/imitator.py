"""Imitator: from documents and a sparse teacher to a dense bundle that ranks like it. Questions, training, export."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import TrainingError
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.onnx_models.export import ExportOptions
from opensearch_splade.training.dense_imitation import imitate, overlap
from opensearch_splade.training.exporting import export_trained
from opensearch_splade.training.gradient_cache import cut
from opensearch_splade.training.lessons import Material
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.training.teachers import SparseTeacher
from opensearch_splade.training.trainable_dense import TrainableDense

_READ = 192
"""Tokens of a text, unless the recipe says so."""
_WATCHED = 1000
"""Documents, at most, among which the overlap of both rankings is measured."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Imitated:
    """What came of it.

    Attributes:
        bundle: The dense one.
        before: Share of the teacher's ten best documents that the student had among its ten best, of held-back
            questions, before training.
        after: The same with what was exported from.
        questions: Held-back ones.
    """

    bundle: Bundle
    before: float
    after: float
    questions: int


def make_imitator(
    checkpoint: str,
    teacher: str,
    material: Material,
    out: Path,
    recipe: Recipe,
    device: Device,
    on_step: Callable[[int, float], None] = lambda _, __: None,
) -> Imitated:
    """Trains a dense checkpoint to rank as a sparse teacher does, and exports it.

    Args:
        checkpoint: A dense sentence-transformers folder or hub id.
        teacher: ``bm25`` or a sparse bundle.
        material: Documents and questions.
        out: The new bundle's folder.
        recipe: See ``imitate``.
        device: Where the teacher runs and the training does.
        on_step: Called after each step with its number and loss.

    Raises:
        OspladeError: Something is missing or does not fit; says what to do.
    """
    if len(material.trained) < 2 or not material.held_back:
        raise TrainingError(f"{len(material.documents):,} documents gave too few questions to learn from and to watch.")
    student = TrainableDense(
        checkpoint,
        recipe.max_length or _READ,
        lora=recipe.lora,
        seed=recipe.seed,
        device=device,
        precision=recipe.precision or "fp32",
    )
    texts, shown = material.texts, material.texts[:_WATCHED]
    asked, held = ([pair.query for pair in one] for one in (material.trained, material.held_back))
    with tempfile.TemporaryDirectory() as folder:
        taught, watched = (
            _sparse(teacher, one, some, Path(folder), device) for one, some in ((asked, texts), (held, shown))
        )
        before = overlap(_scores(student, held, shown), watched)
        imitate(student, taught, asked, texts, recipe, on_step)
        after = overlap(_scores(student, held, shown), watched)
        student.save(Path(folder) / "checkpoint")
        name = Path(checkpoint).name if Path(checkpoint).is_dir() else checkpoint
        origin = f"{name}, trained by osplade imitate to rank as {teacher}"
        options = ExportOptions(
            kind="dense",
            precision="int8",
            name=out.resolve().name,
            origin=origin,
            licence=student.licence,
            replace=True,
        )
        bundle = export_trained(Path(folder) / "checkpoint", out, options)
    return Imitated(bundle, before, after, len(held))


def _sparse(name: str, asked: Sequence[str], texts: Sequence[str], cache: Path, device: Device) -> SparseTeacher:
    found = load_teacher(name, 1.0, asked, texts, cache, device)
    if not isinstance(found, SparseTeacher):
        raise TrainingError(f"{name} is not sparse; the teacher of an imitator is bm25 or a sparse bundle.")
    return found


def _scores(student: TrainableDense, asked: Sequence[str], texts: Sequence[str]) -> npt.NDArray[np.float32]:
    import torch

    encode = student.tokenizer.encode
    with torch.no_grad():
        questions, documents = (
            torch.cat([student(chunk) for chunk in cut(ids, _AT_ONCE)])
            for ids in (encode(asked, query=True), encode(texts))
        )
        found: npt.NDArray[np.float32] = (questions @ documents.T).cpu().numpy()
    return found
