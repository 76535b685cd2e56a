"""Checkpoint to ONNX bundle to encoder. No OpenSearch here; torch only inside export."""

from opensearch_splade.onnx_models.bundle import Bundle, Manifest, shipped, shipped_with
from opensearch_splade.onnx_models.dense_encoder import DenseEncoder
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.encoder import SparseEncoder

__all__ = ["Bundle", "DenseEncoder", "Device", "Manifest", "SparseEncoder", "shipped", "shipped_with"]
