"""Checkpoint to ONNX graph.

The transformer body is exported without its vocabulary projection (by optimum where it knows the architecture, and then
fused by ONNX Runtime's transformer optimizer), and gets our own end: a sparse head, or pooling to one dense vector.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.bundle import HeadForm, Precision
from opensearch_splade.onnx_models.checkpoint import Activation, Checkpoint
from opensearch_splade.onnx_models.device import load_onnxruntime
from opensearch_splade.onnx_models.families import family_of
from opensearch_splade.onnx_models.gated_head import append_gated
from opensearch_splade.onnx_models.head import Head, append_head
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import add_domain, to_fp16, to_int8
from opensearch_splade.onnx_models.term_head import append_terms
from opensearch_splade.onnx_models.torch_models import Loaded, Output
from opensearch_splade.onnx_models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""The newest that the ONNX Runtime inside ML Commons (1.16.3) takes with IR version 8."""
_IR_VERSION = 8

_HEADS: dict[Output, Callable[..., None]] = {
    "vocabulary": append_head,
    "terms": append_terms,
    "gated": append_gated,
}

# Architectures whose attention ONNX Runtime's optimizer fuses; the others run as exported.
_FUSED = {"bert": "bert", "distilbert": "bert", "roberta": "bert", "xlm-roberta": "bert", "mpnet": "bert"}


def sparse_graph(
    checkpoint: Checkpoint, activation: Activation, precision: Precision, vocabulary: Vocabulary, form: HeadForm
) -> onnx.ModelProto:
    """``input_ids, attention_mask (batch, length) -> weights (batch, vocabulary)``, and the sparse outputs."""
    with quiet():
        loaded = family_of(checkpoint).load(checkpoint)
        graph = _export(loaded)
    if precision == "int8":
        to_int8(graph)
    head = Head(
        loaded.weight,
        loaded.bias,
        checkpoint.pooling,
        activation,
        vocabulary.dropped_ids,
        vocabulary=loaded.vocabulary,
        pools_special=checkpoint.pools_special,
        softcap=loaded.softcap,
        gate=checkpoint.gate,
        gate_projection=loaded.gate,
    )
    _HEADS[loaded.output](graph, head, int8=precision == "int8", form=form)
    return to_fp16(graph) if precision == "fp16" else graph


def dense_graph(checkpoint: Checkpoint, precision: Precision) -> tuple[onnx.ModelProto, int]:
    """``input_ids, attention_mask (batch, length) -> embedding (batch, dimension)``, and the dimension."""
    with quiet():
        loaded = family_of(checkpoint).load(checkpoint)
        graph = _export(loaded)
    if precision == "int8":
        to_int8(graph)
    write = NodeWriter(graph.graph, "pool")
    states = write.take_output()
    pooled = _mean(write, states) if checkpoint.pooling == "mean" else _first(write, states)
    if checkpoint.normalize:
        pooled = write.node("LpNormalization", pooled, axis=-1, p=2)
    write.output(pooled, "embedding", loaded.vocabulary)
    return (to_fp16(graph) if precision == "fp16" else graph), loaded.vocabulary


def _export(loaded: Loaded) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "body.onnx"
        graph = _trace(loaded.body(), path) if loaded.task is None else _by_optimum(loaded.body(), loaded.task, path)
    _drop_token_types(graph)
    add_domain(graph)
    graph.ir_version = _IR_VERSION
    return graph


def _trace(module: Any, path: Path) -> onnx.ModelProto:
    """The exporter of torch itself, for what optimum does not know."""
    import onnx
    import torch

    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    names = ["input_ids", "attention_mask"]
    axes = {0: "batch", 1: "length"}
    with torch.no_grad():
        torch.onnx.export(
            module,
            (mask * 2, mask),
            str(path),
            input_names=names,
            output_names=["states"],
            dynamic_axes=dict.fromkeys([*names, "states"], axes),
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load(path)


def _by_optimum(model: Any, task: str, path: Path) -> onnx.ModelProto:
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
    export(model, constructor(config), path, opset=OPSET)
    return _fuse(path, config) if config.model_type in _FUSED else onnx.load(path)


def _fuse(path: Path, config: Any) -> onnx.ModelProto:
    load_onnxruntime()
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.use_multi_head_attention = True  # keeps the three projections apart, so that int8 can take them
    options.enable_skip_layer_norm = False  # the fused operator is several times slower than addition and normalisation
    options.enable_bias_skip_layer_norm = False
    options.enable_bias_gelu = False  # addition and Gelu apart work in place: 100 MB less for 32 texts of BERT-base
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
def quiet() -> Iterator[None]:
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
