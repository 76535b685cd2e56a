"""Checkpoint to ONNX graph. The only module, with ``parity``, where torch and transformers are imported.

The transformer body is exported by optimum without its vocabulary projection, fused by ONNX Runtime's transformer
optimizer, and gets our own end: the tiled sparse head, or pooling to one dense vector.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opensearch_splade.errors import CheckpointError, MissingExtraError
from opensearch_splade.onnx_models.bundle import HeadForm, Precision
from opensearch_splade.onnx_models.checkpoint import Activation, Checkpoint
from opensearch_splade.onnx_models.device import load_onnxruntime
from opensearch_splade.onnx_models.head import Head, append_head
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import add_domain, to_fp16, to_int8
from opensearch_splade.onnx_models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""The newest that the ONNX Runtime inside ML Commons (1.16.3) takes with IR version 8."""
_IR_VERSION = 8

# Families whose attention ONNX Runtime's optimizer fuses; the others run as exported.
_FUSED = {"bert": "bert", "distilbert": "bert", "roberta": "bert", "xlm-roberta": "bert", "mpnet": "bert"}


def sparse_graph(
    checkpoint: Checkpoint, activation: Activation, precision: Precision, vocabulary: Vocabulary, form: HeadForm
) -> onnx.ModelProto:
    """``input_ids, attention_mask (batch, length) -> weights (batch, vocabulary)``, and the sparse outputs."""
    with _quiet():
        model = load_masked_lm(checkpoint)
        decoder = model.get_output_embeddings()
        if decoder is None or getattr(decoder, "weight", None) is None:
            raise CheckpointError(f"{checkpoint.name}: {type(model).__name__} has no vocabulary projection.")
        weight = decoder.weight.detach().numpy().copy()
        bias = np.zeros(len(weight), np.float32) if decoder.bias is None else decoder.bias.detach().numpy().copy()
        _take_off(model, decoder)
        graph = _export_body(model, task="fill-mask")
    if precision == "int8":
        to_int8(graph)
    head = Head(weight, bias, checkpoint.pooling, activation, vocabulary.dropped_ids)
    append_head(graph, head, int8=precision == "int8", form=form)
    return to_fp16(graph) if precision == "fp16" else graph


def dense_graph(checkpoint: Checkpoint, precision: Precision) -> tuple[onnx.ModelProto, int]:
    """``input_ids, attention_mask (batch, length) -> embedding (batch, dimension)``, and the dimension."""
    with _quiet():
        model = load_encoder(checkpoint)
        graph = _export_body(model, task="feature-extraction")
    if precision == "int8":
        to_int8(graph)
    dimension = int(model.config.hidden_size)
    write = NodeWriter(graph.graph, "pool")
    states = write.take_output()
    pooled = _mean(write, states) if checkpoint.pooling == "mean" else _first(write, states)
    if checkpoint.normalize:
        pooled = write.node("LpNormalization", pooled, axis=-1, p=2)
    write.output(pooled, "embedding", dimension)
    return (to_fp16(graph) if precision == "fp16" else graph), dimension


def load_masked_lm(checkpoint: Checkpoint) -> Any:
    """The torch model, in evaluation mode and float32."""
    return _load("AutoModelForMaskedLM", checkpoint)


def load_encoder(checkpoint: Checkpoint) -> Any:
    """The torch model without a head, in evaluation mode and float32."""
    return _load("AutoModel", checkpoint)


def _load(auto_class: str, checkpoint: Checkpoint) -> Any:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers with torch", "export") from error
    if not list(checkpoint.transformer.glob("*.safetensors")):
        raise CheckpointError(
            f"{checkpoint.transformer} holds no *.safetensors. Pickled weights are not loaded; convert them once with "
            "model.save_pretrained(folder, safe_serialization=True)."
        )
    try:
        model = getattr(transformers, auto_class).from_pretrained(
            checkpoint.transformer, attn_implementation="eager", dtype=torch.float32, use_safetensors=True
        )
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{checkpoint.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    return model.eval()


def _take_off(model: Any, decoder: Any) -> None:
    """Puts the identity where the vocabulary projection was, so that the model's output is what goes into it."""
    import torch

    name = next(name for name, module in model.named_modules() if module is decoder)
    model.set_submodule(name, torch.nn.Identity())


def _export_body(model: Any, task: str) -> onnx.ModelProto:
    import onnx
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    config = model.config
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task=task, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"optimum has no ONNX export for {config.model_type} ({task}).") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "body.onnx"
        export(model, constructor(config), path, opset=OPSET)
        graph = _fuse(path, config) if config.model_type in _FUSED else onnx.load(path)
    _drop_token_types(graph)
    add_domain(graph)
    graph.ir_version = _IR_VERSION
    return graph


def _fuse(path: Path, config: Any) -> onnx.ModelProto:
    load_onnxruntime()
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.use_multi_head_attention = True  # keeps the three projections apart, so that int8 can take them
    options.enable_skip_layer_norm = False  # the fused operator is several times slower than addition and normalisation
    options.enable_bias_skip_layer_norm = False
    options.enable_embed_layer_norm = False  # keeps the embedding table an initializer that the head can share
    optimized = optimize_model(
        str(path),
        model_type=_FUSED[config.model_type],
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
        opt_level=0,
    )
    return optimized.model


def _drop_token_types(model: onnx.ModelProto) -> None:
    """Makes ``token_type_ids`` zeros of the shape of ``input_ids``: one text is one segment."""
    from onnx import helper

    graph = model.graph
    for place, value in enumerate(graph.input):
        if value.name == "token_type_ids":
            del graph.input[place]
            graph.node.insert(0, helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"], "token_types"))
            return


def _mean(write: NodeWriter, states: str) -> str:
    axes = write.constant(np.array([1]))
    mask = write.node("Cast", write.node("Unsqueeze", "attention_mask", write.constant(np.array([2]))), to=1)
    total = write.node("ReduceSum", write.node("Mul", states, mask), axes, keepdims=0)
    return write.node("Div", total, write.node("ReduceSum", mask, axes, keepdims=0))


def _first(write: NodeWriter, states: str) -> str:
    return write.node("Gather", states, write.constant(np.array(0)), axis=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing prints a page of warnings that say nothing to who exports; what matters is checked by parity."""
    names = ("onnxruntime.transformers", "optimum", "transformers", "torch.onnx", "fusion_base", "onnx_model")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
