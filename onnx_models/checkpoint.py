"""Checkpoint: a Hugging Face or sentence-transformers model folder, described without loading it.

How a folder is recognised stands in ``families``, how it is read in ``layouts`` and ``term_layouts``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.prompt import NO_PROMPT, Prompt

Kind = Literal["siamese", "inference-free", "dense"]
Activation = Literal["log1p", "log1p_log1p", "relu", "softplus", "log1p_softplus"]
Pooling = Literal["max", "sum", "mean", "cls"]
Attention = Literal["causal", "bidirectional"]


@dataclass(frozen=True, slots=True)
class Gate:
    """Which terms a document may have, decided apart from how much they weigh (SparTerm, arXiv 2010.00768).

    Attributes:
        expands: Whether terms that are not in the text may pass; else the text's own tokens are the gate.
        threshold: Probability above which a term that is not in the text passes.
    """

    expands: bool
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint folder says of itself.

    Attributes:
        name: Hub id or folder name, for people.
        folder: The folder on disk.
        transformer: The folder that holds ``config.json`` and the weights.
        kind: ``siamese``, ``inference-free`` or ``dense``.
        pooling: ``max`` or ``sum`` over the sequence (sparse), ``mean`` or ``cls`` (dense).
        activation: ``log1p`` is ``log(1 + relu(x))`` (SPLADE v2, arXiv 2109.10086, eq. 6); ``log1p_log1p`` is
            ``log(1 + log(1 + relu(x)))`` (arXiv 2504.14839); ``relu`` and ``softplus`` are those functions alone, and
            ``log1p_softplus`` is ``log(1 + softplus(x))``. ``None`` where the checkpoint does not say, and for dense.
        family: Name of its row in ``families``.
        tokenizer: The folder that holds ``tokenizer.json``; ``None`` where that is ``transformer``.
        pools_special: Whether positions of special tokens take part in pooling.
        attention: Of decoders; ``None`` where the checkpoint does not say, and for encoders.
        gate: Of gated checkpoints.
        prompt: What it wants around texts.
        normalize: Whether dense vectors are scaled to length 1.
        query_weights: ``idf.json``, ``query_token_weights.txt`` or a ``SparseStaticEmbedding``'s safetensors file.
        max_length: The checkpoint's own limit in tokens, special tokens included; ``None`` where it does not say.
        revision: Hub commit where known.
        licence: SPDX-like name from the model card where known.
    """

    name: str
    folder: Path
    transformer: Path
    kind: Kind
    pooling: Pooling
    activation: Activation | None = None
    family: str = "masked-lm"
    tokenizer: Path | None = None
    pools_special: bool = True
    attention: Attention | None = None
    gate: Gate | None = None
    prompt: Prompt = NO_PROMPT
    normalize: bool = False
    query_weights: Path | None = None
    max_length: int | None = None
    revision: str | None = None
    licence: str | None = None

    @property
    def tokenizer_folder(self) -> Path:
        """The folder that holds ``tokenizer.json``."""
        return self.tokenizer or self.transformer


def read_optional(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object.")
    return found


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
