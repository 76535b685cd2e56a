"""Look: what can be seen of a checkpoint folder without loading its weights. Families are recognised by it."""

from __future__ import annotations

import json
import struct
from functools import cached_property
from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import read_json, read_optional

TRANSFORMERS = ("MLMTransformer", "Transformer")
"""What sentence-transformers calls a module that holds a Hugging Face model."""

Chain = list[tuple[str, Path]]
"""Modules of sentence-transformers in order: type and folder."""


class Look:
    """A checkpoint folder; each file is read when it is first asked for.

    Args:
        folder: The folder.
        dense: Whether a dense encoder is wanted: some checkpoints are both.
    """

    def __init__(self, folder: Path, *, dense: bool = False) -> None:
        self.folder = folder
        self.dense = dense

    def has(self, *names: str) -> bool:
        """Whether all these files or folders are there."""
        return all((self.folder / name).exists() for name in names)

    @cached_property
    def chain(self) -> Chain:
        """The modules of ``modules.json``; empty without that file."""
        path = self.folder / "modules.json"
        if not path.is_file():
            return []
        return [(str(entry["type"]).rsplit(".", 1)[-1], self.folder / entry["path"]) for entry in read_json(path)]

    @cached_property
    def routes(self) -> dict[str, Chain]:
        """The routes of a ``Router``, such as ``query`` and ``document``; empty without one."""
        if not self.chain or self.chain[0][0] != "Router":
            return {}
        folder = self.chain[0][1]
        config = read_json(folder / "router_config.json")
        types = {name: str(path).rsplit(".", 1)[-1] for name, path in config["types"].items()}
        return {route: [(types[name], folder / name) for name in names] for route, names in config["structure"].items()}

    @cached_property
    def document_chain(self) -> Chain:
        """The modules that encode documents."""
        return self.routes.get("document", []) if self.routes else self.chain

    def is_dense(self) -> bool:
        """Whether it is a dense sentence-transformers folder."""
        return "Pooling" in dict(self.document_chain)

    @cached_property
    def transformer(self) -> Path:
        """The folder of the Hugging Face model."""
        return next((path for name, path in self.document_chain if name in TRANSFORMERS), self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The Hugging Face model's ``config.json``."""
        return read_optional(self.transformer / "config.json")

    @property
    def model_type(self) -> str:
        """What Transformers calls the architecture, such as ``bert``."""
        return str(self.config.get("model_type", ""))

    @property
    def architecture(self) -> str:
        """The class that was saved, such as ``BertForMaskedLM``."""
        named = self.config.get("architectures") or [""]
        return str(named[0])

    @cached_property
    def tensors(self) -> frozenset[str]:
        """Names of all weights in the folder's safetensors files, read from their headers alone."""
        return frozenset(name for path in sorted(self.transformer.glob("*.safetensors")) for name in _names(path))


def _names(path: Path) -> list[str]:
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length) if length < 100_000_000 else b"")
    except (OSError, ValueError, struct.error) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}.") from error
    return [name for name in header if name != "__metadata__"]
