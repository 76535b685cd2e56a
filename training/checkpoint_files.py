"""Checkpoint files: a trained model back into a folder of the layout that it came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opensearch_splade.onnx_models.checkpoint import Checkpoint, read_optional

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


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a transformer's folder, in order."""
    return sorted(folder.glob("*.safetensors"))


def rewrite(paths: Sequence[Path], folder: Path, tensors: Mapping[str, Any]) -> None:
    """Safetensors files in another folder, with the values of ``tensors`` where a name is among them."""
    from safetensors.torch import load_file

    for path in paths:
        write_tensors(folder / path.name, {name: tensors.get(name, value) for name, value in load_file(path).items()})
        for index in path.parent.glob("*.safetensors.index.json"):
            shutil.copyfile(index, folder / index.name)


def copy_tokenizer(source: Checkpoint, folder: Path) -> None:
    """The tokenizer with the checkpoint's own limit of tokens, and the model card, which says the licence."""
    for path in [*source.tokenizer_folder.glob("*token*"), *source.tokenizer_folder.glob("vocab*")]:
        shutil.copyfile(path, folder / path.name)
    if (source.folder / "README.md").is_file():
        shutil.copyfile(source.folder / "README.md", folder / "README.md")
    said = read_optional(folder / "tokenizer_config.json")
    if source.max_length:
        said["model_max_length"] = source.max_length
    (folder / "tokenizer_config.json").write_text(json.dumps(said, indent=2), encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """One safetensors file."""
    from safetensors.torch import save_file

    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(plain, path, {"format": "pt"})
