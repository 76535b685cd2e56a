"""Training state: everything that a run needs to go on after it was killed, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensearch_splade.errors import TrainingError

_FORMAT = 1


def save_state(path: Path, tensors: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Writes all or nothing: a reader finds this state or the one before."""
    from safetensors.torch import save_file

    draft = path.with_suffix(".part")
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, draft, {"format": str(_FORMAT), "values": json.dumps(values)})
    with draft.open("rb+") as stream:
        os.fsync(stream.fileno())
    draft.replace(path)


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and values.

    Raises:
        TrainingError: The file cannot be read; says what to do.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads(about["values"])
    except Exception as error:  # safetensors' own type has no public base
        raise TrainingError(f"{path} cannot be read ({error}); remove it to train from the beginning.") from error
