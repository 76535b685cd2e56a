"""Checkpoint files: a trained model back into a folder of the layout that it came from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opensearch_splade.onnx_models.checkpoint import Checkpoint

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.safetensors.index.json")


def save_checkpoint(source: Checkpoint, folder: Path, write: Callable[[Path], None]) -> None:
    """Copies a checkpoint, and has ``write`` put the weights of its transformer where they belong.

    What else the folder holds stays, such as the tables of a sentence-transformers ``Router``.
    """
    unwanted = shutil.ignore_patterns(*_WEIGHTS)
    hidden = shutil.ignore_patterns("onnx", "openvino", ".*")

    def ignored(place: str, names: list[str]) -> set[str]:
        left_out = set(hidden(place, names))
        return left_out | set(unwanted(place, names)) if Path(place) == source.transformer else left_out

    shutil.copytree(source.folder, folder, ignore=ignored)
    write(folder / source.transformer.relative_to(source.folder))


def save_model(model: Any, folder: Path) -> None:
    """A Transformers model, as Transformers writes it."""
    model.save_pretrained(folder, safe_serialization=True)


def rewrite(source: Path, folder: Path, tensors: Mapping[str, Any]) -> None:
    """The safetensors files of ``source`` in ``folder``, with the values of ``tensors`` under the names they have."""
    from safetensors.torch import load_file

    for path in sorted(source.glob("*.safetensors")):
        write_tensors(folder / path.name, {name: tensors.get(name, value) for name, value in load_file(path).items()})
    for path in source.glob("*.safetensors.index.json"):
        shutil.copyfile(path, folder / path.name)


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """One safetensors file."""
    from safetensors.torch import save_file

    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(plain, path, {"format": "pt"})
