"""Layouts: how a plain Transformers folder and a sentence-transformers folder are read.

* a plain folder (``config.json`` at the root; an ``idf.json`` or ``query_token_weights.txt`` beside it makes it
  inference-free, as in the OpenSearch doc models);
* a sentence-transformers ``SparseEncoder`` folder (``modules.json``): ``SpladePooling`` states pooling and activation,
  a ``Router`` with ``SparseStaticEmbedding`` states the query weights;
* a dense sentence-transformers folder (``modules.json`` with ``Pooling`` and, maybe, ``Normalize``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Activation, Attention, Checkpoint, read_json, read_optional
from opensearch_splade.onnx_models.look import TRANSFORMERS, Chain, Look
from opensearch_splade.onnx_models.prompt import Prompt

# sentence-transformers names the activation by what happens to the logits *before* its own log1p.
_ACTIVATIONS: dict[str, Activation] = {"relu": "log1p", "log1p_relu": "log1p_log1p"}
_TABLES = ("idf.json", "query_token_weights.txt")
_STATIC = "SparseStaticEmbedding"


def read_sparse(look: Look) -> Checkpoint:
    """A plain folder or a ``SparseEncoder`` folder: one score per token of the vocabulary at each position."""
    return _sparse_encoder(look) if look.chain or look.has("modules.json") else _plain(look)


def read_decoder(look: Look) -> Checkpoint:
    """The same with a decoder; ``is_causal`` in its ``config.json`` states the attention where it is there."""
    is_causal = look.config.get("is_causal")
    attention: Attention | None = None if is_causal is None else "causal" if is_causal else "bidirectional"
    if attention is None and look.chain:
        attention = "causal"  # as sentence-transformers runs it
    return replace(read_sparse(look), attention=attention)


def _plain(look: Look) -> Checkpoint:
    tables = [path for name in _TABLES if (path := look.folder / name).is_file()]
    return Checkpoint(
        name=look.folder.name,
        folder=look.folder,
        transformer=look.folder,
        kind="inference-free" if tables else "siamese",
        pooling="max",
        query_weights=tables[0] if tables else None,
    )


def _sparse_encoder(look: Look) -> Checkpoint:
    modules = look.folder / "modules.json"
    query_weights = _query_weights(look) if look.routes or dict(look.chain).get("Router") else None
    by_type = dict(look.document_chain)
    if "SpladePooling" not in by_type:
        raise CheckpointError(
            f"{modules} lists {', '.join(by_type) or 'nothing'}; a sparse encoder needs SpladePooling, a dense one "
            "Pooling."
        )
    config = read_json(by_type["SpladePooling"] / "config.json")
    activation, pooling = config.get("activation_function", "relu"), config.get("pooling_strategy", "max")
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"SpladePooling activation {activation!r} is unknown; known: {', '.join(_ACTIVATIONS)}.")
    if pooling not in {"max", "sum"}:
        raise CheckpointError(f"SpladePooling strategy {pooling!r} is unknown; known: max, sum.")
    return Checkpoint(
        name=look.folder.name,
        folder=look.folder,
        transformer=_transformer(look, by_type),
        kind="inference-free" if query_weights else "siamese",
        pooling=pooling,
        activation=_ACTIVATIONS[activation],
        query_weights=query_weights,
        prompt=_prompt(look.folder),
    )


def _query_weights(look: Look) -> Path:
    """The query weights of an inference-free query route (arXiv 2411.04403)."""
    query, document = look.routes.get("query", []), look.routes.get("document", [])
    if not document or _types(query) != [_STATIC]:
        raise CheckpointError(
            f"{look.chain[0][1] / 'router_config.json'}: only a Router with a {_STATIC} as its query route and a "
            f"document route is supported; found query={_types(query)}, document={_types(document)}."
        )
    static = query[0][1]
    path = read_json(static / "config.json").get("path") or "model.safetensors"
    weights = static / path
    if not weights.is_file():
        raise CheckpointError(f"{static} names {path} as its query weights, but that file is missing.")
    return weights


def read_dense(look: Look) -> Checkpoint:
    """A dense sentence-transformers folder."""
    folder, by_type = look.folder, dict(look.document_chain)
    extra = set(by_type) - set(TRANSFORMERS) - {"Pooling", "Normalize"}
    if extra:
        raise CheckpointError(f"{folder}: dense modules {', '.join(sorted(extra))} are not supported.")
    config = read_json(by_type["Pooling"] / "config.json")
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
        transformer=_transformer(look, by_type),
        kind="dense",
        pooling=pooling,
        normalize="Normalize" in by_type,
    )


def _transformer(look: Look, by_type: dict[str, Path]) -> Path:
    if not set(by_type) & set(TRANSFORMERS):
        raise CheckpointError(f"{look.folder}: no transformer module among {', '.join(by_type)}.")
    return look.transformer


def _prompt(folder: Path) -> Prompt:
    """What sentence-transformers puts before texts: its ``query`` prompt, and the first of three for documents."""
    prompts = read_optional(folder / "config_sentence_transformers.json").get("prompts") or {}
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    return Prompt(document=document or "", query=prompts.get("query") or "")


def two_encoders(look: Look) -> bool:
    """Whether questions have a model of their own (Efficient SPLADE)."""
    query = _types(look.routes.get("query", []))
    return len(query) == 2 and query[0] in TRANSFORMERS


def lexical_queries(look: Look) -> bool:
    """Whether questions are encoded by the model and then cut to their own tokens (SPLADE-v3-Lexical)."""
    query = _types(look.routes.get("query", []))
    return len(query) == 3 and query[0] in TRANSFORMERS and query[2] == _STATIC


def _types(chain: Chain) -> list[str]:
    return [name for name, _ in chain]
