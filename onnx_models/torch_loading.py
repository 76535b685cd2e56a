"""Torch loading: weights and configs of a checkpoint folder. No code of the folder's is run, no pickle opened."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError, MissingExtraError
from opensearch_splade.onnx_models.checkpoint import Checkpoint
from opensearch_splade.onnx_models.term_layouts import backbone_config

# What Transformers raises for a config or weights that do not fit together; all mean "not a checkpoint of this kind".
_UNFIT = (ValueError, KeyError, OSError, RuntimeError, TypeError, AttributeError)


def _libraries() -> tuple[Any, Any]:
    """Transformers with torch; it looks at import whether scikit-learn is there: for one way of generating text.

    That way, with scipy and pandas, is 140 MB of a process that generates nothing, so it is not there for a moment.
    """
    hidden = not {"sklearn", "transformers"} & sys.modules.keys()
    if hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # Python's own way to say: not importable
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers with torch", "export") from error
    finally:
        if hidden:
            del sys.modules["sklearn"]
    return torch, transformers


def load_pretrained(auto_class: str, checkpoint: Checkpoint, folder: Path, *, traced: bool = True) -> Any:
    """A Transformers model with its weights, in evaluation mode and float32.

    Args:
        auto_class: Of Transformers.
        checkpoint: Whose weights they are.
        folder: Where they lie.
        traced: For export, attention is written out in plain operations; else it is the fastest there is.

    Raises:
        CheckpointError: Config and weights do not fit together, or code of the folder's own would be needed.
        MissingExtraError: torch is not installed.
    """
    torch, transformers = _libraries()
    require_safetensors(folder)
    try:
        # ModernBERT would compile itself where it can, which cannot be traced.
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        compiles = {"reference_compile": False} if hasattr(config, "reference_compile") else {}
        model = getattr(transformers, auto_class).from_pretrained(
            folder,
            attn_implementation="eager" if traced else None,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,  # unsaid, Transformers would ask, and a script might answer
            **compiles,
        )
    except _UNFIT as error:
        raise CheckpointError(f"{checkpoint.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.eval()


def make_from_config(auto_class: str, checkpoint: Checkpoint, folder: Path | str) -> Any:
    """A model of the shape that ``config.json`` states, to be filled."""
    torch, transformers = _libraries()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        made = getattr(transformers, auto_class).from_config(
            config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        )
    except _UNFIT as error:
        raise CheckpointError(
            f"{checkpoint.name}: its backbone's shape cannot be read from {folder}: {str(error).splitlines()[0]}"
        ) from error
    return made.eval()


def backbone_source(checkpoint: Checkpoint) -> Path | str:
    """Where the config of an LSR encoder's backbone lies: a folder or a hub id."""
    found = backbone_config(checkpoint.transformer)
    if found is None:
        raise CheckpointError(
            f"{checkpoint.transformer} does not say what its backbone is; put the backbone's config.json into "
            "its subfolder backbone/."
        )
    return found


def fill_weights(model: Any, tensors: Mapping[str, Any], prefix: str, checkpoint: Checkpoint) -> None:
    """Loads weights by name; every one that the model needs must be there."""
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        missing, _ = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a shape that the config does not state
        raise CheckpointError(f"{checkpoint.name}: {str(error).splitlines()[-1].strip()}") from error
    model.tie_weights()
    spared = (r"^pooler\.", *(getattr(model, "_tied_weights_keys", None) or ()))
    needed = [name for name in missing if not any(re.search(pattern, name) for pattern in spared)]
    if needed:
        raise CheckpointError(f"{checkpoint.name} lacks the weight {prefix}{needed[0]} ({len(needed)} in all).")


def one_row(tensors: Mapping[str, Any], name: str, checkpoint: Checkpoint) -> tuple[Any, Any]:
    """A linear layer to one number: weight ``(1, hidden)`` and bias."""
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    if weight is None or bias is None or weight.shape[0] != 1:
        raise CheckpointError(f"{checkpoint.name} must hold {name}.weight of one row and {name}.bias.")
    return weight, bias


def read_tensors(folder: Path, paths: list[Path] | None = None) -> dict[str, Any]:
    """All weights of a folder's safetensors files, in float32."""
    from safetensors.torch import load_file

    require_safetensors(folder)
    files = sorted(folder.glob("*.safetensors")) if paths is None else paths
    try:
        return {name: value.float() for path in files for name, value in load_file(path).items()}
    except Exception as error:  # safetensors' own type has no public base
        raise CheckpointError(f"The weights in {folder} cannot be read: {error}. Copy them again.") from error


def require_safetensors(folder: Path) -> None:
    """Refuses a folder whose weights are pickles only, with the line that converts them."""
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{folder} holds no *.safetensors. Pickled weights are not loaded; convert them once: "
            "safetensors.torch.save_file({name: value.clone().contiguous() for name, value in "
            "torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors', {'format': 'pt'})."
        )
