"""Checkpoint: a Hugging Face or sentence-transformers model folder, described without loading it.

Three layouts are read:

* a plain ``AutoModelForMaskedLM`` folder (``config.json`` at the root; an ``idf.json`` or
  ``query_token_weights.txt`` beside it makes it inference-free, as in the OpenSearch doc models);
* a sentence-transformers ``SparseEncoder`` folder (``modules.json``): ``SpladePooling`` states pooling and activation,
  a ``Router`` with ``SparseStaticEmbedding`` states the query weights;
* a dense sentence-transformers folder (``modules.json`` with ``Pooling`` and, maybe, ``Normalize``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from opensearch_splade.errors import CheckpointError, MissingExtraError

Kind = Literal["siamese", "inference-free", "dense"]
Activation = Literal["log1p", "log1p_log1p"]
Pooling = Literal["max", "sum", "mean", "cls"]

# sentence-transformers names the activation by what happens to the logits *before* its own log1p.
_ACTIVATIONS: dict[str, Activation] = {"relu": "log1p", "log1p_relu": "log1p_log1p"}
_TABLES = ("idf.json", "query_token_weights.txt")
_MASKED_LM = {"MLMTransformer", "Transformer"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint folder says of itself.

    Attributes:
        name: Hub id or folder name, for people.
        folder: The folder on disk.
        transformer: The folder that holds ``config.json``, the weights and the tokenizer.
        kind: ``siamese``, ``inference-free`` or ``dense``.
        pooling: ``max`` or ``sum`` over the sequence (sparse), ``mean`` or ``cls`` (dense).
        activation: ``log1p`` is ``log(1 + relu(x))`` (SPLADE v2, arXiv 2109.10086, eq. 6); ``log1p_log1p`` is
            ``log(1 + log(1 + relu(x)))`` (arXiv 2504.14839). ``None`` where the checkpoint does not say, and for dense.
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
    normalize: bool = False
    query_weights: Path | None = None
    max_length: int | None = None
    revision: str | None = None
    licence: str | None = None


def open_checkpoint(name: str, *, revision: str | None = None) -> Checkpoint:
    """Reads a checkpoint folder, or downloads a hub id into the Hugging Face cache first.

    Args:
        name: A folder or a hub id such as ``opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill``.
        revision: Hub branch, tag or commit.

    Raises:
        CheckpointError: The folder is not a checkpoint, or the hub id cannot be had.
    """
    folder = Path(name)
    if folder.is_dir():
        return replace(_describe(folder), name=folder.resolve().name)
    if folder.exists():
        raise CheckpointError(f"{name} is a file; a checkpoint is a folder with config.json or modules.json.")
    folder, commit = _download(name, revision)
    return replace(_describe(folder), name=name, revision=commit)


def _download(name: str, revision: str | None) -> tuple[Path, str]:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"There is no folder {name}.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "export") from error
    # Weights as safetensors only: a pickled checkpoint can run code when it is loaded.
    wanted = ["*.json", "*.txt", "*.safetensors", "*.model", "README.md"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the hub client raises dozens of types; all mean "not to be had"
        reason = str(error).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"There is no folder {name}, and as a hub id it cannot be downloaded: {reason}. "
            "Give a folder, or check the id and the connection."
        ) from error
    return folder, folder.name


def _describe(folder: Path) -> Checkpoint:
    modules = folder / "modules.json"
    try:
        found = _sentence_transformers(folder, modules) if modules.is_file() else _masked_lm(folder)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{modules} or what it names is not of sentence-transformers' layout ({error!r})."
        ) from error
    if not (found.transformer / "config.json").is_file():
        raise CheckpointError(f"{found.transformer} holds no config.json, so it is not a checkpoint.")
    if not (found.transformer / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{found.transformer} holds no tokenizer.json. Save the fast tokenizer once: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )
    return replace(found, max_length=_max_length(found.transformer), licence=_licence(folder))


def _masked_lm(folder: Path) -> Checkpoint:
    tables = [path for name in _TABLES if (path := folder / name).is_file()]
    return Checkpoint(
        name=folder.name,
        folder=folder,
        transformer=folder,
        kind="inference-free" if tables else "siamese",
        pooling="max",
        query_weights=tables[0] if tables else None,
    )


def _sentence_transformers(folder: Path, modules: Path) -> Checkpoint:
    chain = [(str(entry["type"]).rsplit(".", 1)[-1], folder / entry["path"]) for entry in _read(modules)]
    query_weights: Path | None = None
    if chain and chain[0][0] == "Router":
        chain, query_weights = _router(chain[0][1])
    by_type = dict(chain)
    if "SpladePooling" in by_type:
        return _sparse(folder, by_type, query_weights)
    if "Pooling" in by_type:
        return _dense(folder, by_type)
    raise CheckpointError(
        f"{modules} lists {', '.join(by_type) or 'nothing'}; a sparse encoder needs SpladePooling, a dense one Pooling."
    )


def _router(folder: Path) -> tuple[list[tuple[str, Path]], Path]:
    """The document route, and the query weights of an inference-free query route (arXiv 2411.04403)."""
    config = _read(folder / "router_config.json")
    types = {name: str(path).rsplit(".", 1)[-1] for name, path in config["types"].items()}
    routes: dict[str, list[str]] = config["structure"]
    query, document = routes.get("query", []), routes.get("document", [])
    if not document or [types[name] for name in query] != ["SparseStaticEmbedding"]:
        raise CheckpointError(
            f"{folder / 'router_config.json'}: only a Router with a SparseStaticEmbedding as its query route and a "
            f"document route is supported; found query={query}, document={document}."
        )
    static = folder / query[0]
    path = _read(static / "config.json").get("path") or "model.safetensors"
    weights = static / path
    if not weights.is_file():
        raise CheckpointError(f"{static} names {path} as its query weights, but that file is missing.")
    return [(types[name], folder / name) for name in document], weights


def _sparse(folder: Path, by_type: dict[str, Path], query_weights: Path | None) -> Checkpoint:
    config = _read(by_type["SpladePooling"] / "config.json")
    activation, pooling = config.get("activation_function", "relu"), config.get("pooling_strategy", "max")
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"SpladePooling activation {activation!r} is unknown; known: {', '.join(_ACTIVATIONS)}.")
    if pooling not in {"max", "sum"}:
        raise CheckpointError(f"SpladePooling strategy {pooling!r} is unknown; known: max, sum.")
    return Checkpoint(
        name=folder.name,
        folder=folder,
        transformer=_transformer(folder, by_type),
        kind="inference-free" if query_weights else "siamese",
        pooling=pooling,
        activation=_ACTIVATIONS[activation],
        query_weights=query_weights,
    )


def _dense(folder: Path, by_type: dict[str, Path]) -> Checkpoint:
    extra = set(by_type) - _MASKED_LM - {"Pooling", "Normalize"}
    if extra:
        raise CheckpointError(f"{folder}: dense modules {', '.join(sorted(extra))} are not supported.")
    config = _read(by_type["Pooling"] / "config.json")
    pooling = config.get("pooling_mode")
    if pooling is None:
        flags = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
        pooling = "+".join(name for name, flag in flags.items() if config.get(flag))
    if pooling not in {"mean", "cls"}:
        raise CheckpointError(
            f"{folder}: dense pooling {pooling or 'of this kind'!r} is not supported; mean and cls are."
        )
    return Checkpoint(
        name=folder.name,
        folder=folder,
        transformer=_transformer(folder, by_type),
        kind="dense",
        pooling=pooling,
        normalize="Normalize" in by_type,
    )


def _transformer(folder: Path, by_type: dict[str, Path]) -> Path:
    for name in _MASKED_LM:
        if name in by_type:
            return by_type[name]
    raise CheckpointError(f"{folder}: no transformer module among {', '.join(by_type)}.")


def _max_length(folder: Path) -> int | None:
    """The smallest limit that any of the three places states."""
    limits = [
        _optional(folder / "sentence_bert_config.json").get("max_seq_length"),
        _optional(folder / "tokenizer_config.json").get("model_max_length"),
        _optional(folder / "config.json").get("max_position_embeddings"),
    ]
    # Tokenizers without a limit state one of about 1e30.
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and limit < 1_000_000]
    return min(known, default=None)


def _licence(folder: Path) -> str | None:
    """The ``license:`` line of the model card's YAML header."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    header = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    found = [line.partition(":")[2].strip() for line in header if line.startswith("license:")]
    return found[0] if found else None


def _optional(path: Path) -> dict[str, Any]:
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
