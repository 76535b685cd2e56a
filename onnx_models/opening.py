"""Opening: a folder or a hub id to a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opensearch_splade.errors import CheckpointError, MissingExtraError
from opensearch_splade.onnx_models.checkpoint import Checkpoint, read_optional
from opensearch_splade.onnx_models.families import recognise
from opensearch_splade.onnx_models.look import Look
from opensearch_splade.onnx_models.term_layouts import SPARSE_LINEAR_PICKLE, backbone_config

# Architectures whose first position is numbered pad + 1 = 2, so that two of the stated positions cannot be used.
_OFFSET = {"roberta", "xlm-roberta", "camembert", "mpnet"}


def open_checkpoint(name: str, *, revision: str | None = None, dense: bool = False) -> Checkpoint:
    """Reads a checkpoint folder, or downloads a hub id into the Hugging Face cache first.

    Args:
        name: A folder or a hub id such as ``opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill``.
        revision: Hub branch, tag or commit.
        dense: Whether the dense side is wanted of a checkpoint that has both.

    Raises:
        CheckpointError: The folder is not a checkpoint, or the hub id cannot be had.
    """
    folder = Path(name)
    if folder.is_dir():
        return replace(_describe(folder, dense=dense), name=folder.resolve().name)
    if folder.exists():
        raise CheckpointError(f"{name} is a file; a checkpoint is a folder with config.json or modules.json.")
    folder, commit = _download(name, revision)
    return replace(_describe(folder, dense=dense), name=name, revision=commit)


def _download(name: str, revision: str | None) -> tuple[Path, str]:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"There is no folder {name}.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "export") from error
    # Weights as safetensors only: a pickled checkpoint can run code when it is loaded. The one pickle is fetched (a few
    # kilobytes, never opened) because nothing else tells BGE-M3 from a dense model.
    wanted = ["*.json", "*.txt", "*.safetensors", "*.model", "README.md", SPARSE_LINEAR_PICKLE]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the hub client raises dozens of types; all mean "not to be had"
        reason = str(error).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"There is no folder {name}, and as a hub id it cannot be downloaded: {reason}. "
            "Give a folder, or check the id and the connection."
        ) from error
    return folder, folder.name


def _describe(folder: Path, *, dense: bool) -> Checkpoint:
    try:
        found = recognise(Look(folder, dense=dense))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'modules.json'} or what it names is not of sentence-transformers' layout ({error!r})."
            if (folder / "modules.json").exists()
            else f"{folder}: what its files say of the model is of no layout that `osplade families` lists ({error!r})."
        ) from error
    if not (found.transformer / "config.json").is_file():
        raise CheckpointError(f"{found.transformer} holds no config.json, so it is not a checkpoint.")
    if not (found.tokenizer_folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{found.tokenizer_folder} holds no tokenizer.json. Save the fast tokenizer once: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )
    return replace(found, max_length=_max_length(found), licence=_licence(folder))


def _max_length(checkpoint: Checkpoint) -> int | None:
    """The smallest limit that any of the places states."""
    backbone = backbone_config(checkpoint.transformer)
    limits = [
        read_optional(checkpoint.transformer / "sentence_bert_config.json").get("max_seq_length"),
        read_optional(checkpoint.tokenizer_folder / "tokenizer_config.json").get("model_max_length"),
        _positions(checkpoint.transformer),
        _positions(backbone) if isinstance(backbone, Path) else None,
        _window(checkpoint),
    ]
    # Tokenizers without a limit state one of about 1e30.
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and limit < 1_000_000]
    return min(known, default=None)


def _positions(folder: Path) -> int | None:
    config = read_optional(folder / "config.json")
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    return positions - 2 if config.get("model_type") in _OFFSET else positions


def _window(checkpoint: Checkpoint) -> int | None:
    """Tokens that each position of a decoder with a sliding window sees; the graph has no windows."""
    config = read_optional(checkpoint.transformer / "config.json")
    window = config.get("sliding_window")
    slides = checkpoint.family == "decoder" and config.get("use_sliding_window", True)
    return window if slides and isinstance(window, int) else None


def _licence(folder: Path) -> str | None:
    """The ``license:`` line of the model card's YAML header."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    header = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    found = [line.partition(":")[2].strip() for line in header if line.startswith("license:")]
    return found[0] if found else None
