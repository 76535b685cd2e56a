"""Torch device: where a model is trained, by the same word as where bundles run."""

from __future__ import annotations

from typing import Any

from opensearch_splade.errors import DeviceError
from opensearch_splade.onnx_models.device import Device


def torch_device(device: Device) -> Any:
    """``cpu``, or the GPU of that number; of several devices the first.

    Raises:
        DeviceError: torch has no such GPU.
    """
    import torch

    if device.kind == "cpu":
        return torch.device("cpu")
    if not (torch.cuda.is_available() and device.index < torch.cuda.device_count()):
        raise DeviceError(
            f"torch cannot train on {device}: it sees {torch.cuda.device_count()} GPUs. Give --device cpu, or install "
            "a torch with CUDA."
        )
    return torch.device("cuda", device.index)
