"""Device: where a graph runs. One value decides providers and their options."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

from opensearch_splade.errors import DeviceError, MissingExtraError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True, slots=True)
class Device:
    """A place to run a graph.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``tensorrt``.
        index: Which GPU.
        threads: CPU cores to use, each for a batch of its own; 0 takes all that this process may use.
    """

    kind: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    index: int = 0
    threads: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Reads ``cpu``, ``cpu:4`` (threads), ``cuda``, ``cuda:1`` (which GPU) or ``tensorrt``.

        Raises:
            DeviceError: The text is none of these.
        """
        kind, _, number = text.partition(":")
        if kind not in _PROVIDERS or not (number.isdigit() or not number):
            raise DeviceError(f"{text!r} is not a device; choose cpu, cpu:THREADS, cuda, cuda:INDEX or tensorrt.")
        if kind == "cpu":
            return cls("cpu", threads=int(number or 0))
        return cls("cuda" if kind == "cuda" else "tensorrt", index=int(number or 0))

    @property
    def token_budget(self) -> int:
        """Tokens per batch, padding included, that keep the device busy and its caches warm.

        1,024 on CPU: a tile of scores stays in the cache. GPUs want more; not measured yet.
        """
        return 1024 if self.kind == "cpu" else 16_384

    @property
    def parallel_batches(self) -> int:
        """Batches that run at once.

        On CPU one per core, each on one thread: cores that share an operator wait for each other after every one of
        them, which costs 20 % on an idle machine and half of the speed on a busy one.
        """
        if self.kind != "cpu":
            return 1
        return self.threads or _usable_cores()

    def session(self, model: bytes) -> Any:
        """An ``onnxruntime.InferenceSession`` for this device.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            DeviceError: The installed ONNX Runtime lacks the provider.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "cpu", "gpu") from error
        if _PROVIDERS[self.kind] not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"The installed ONNX Runtime cannot run on {self.kind}; it offers "
                f"{', '.join(onnxruntime.get_available_providers())}. For NVIDIA GPUs: pip uninstall onnxruntime && "
                "pip install 'opensearch-splade[gpu]'."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # Without VNNI, x86 sums products of bytes in 16 bits and saturates; this asks for the exact, slower way.
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(model, options, providers=self._providers())
        if session.get_providers()[0] != _PROVIDERS[self.kind]:
            raise DeviceError(
                f"ONNX Runtime has {self.kind} built in but could not start it (driver, CUDA or cuDNN libraries?); it "
                f"fell back to {session.get_providers()[0]}. Use --device cpu, or mend the installation."
            )
        return session

    def _providers(self) -> list[Any]:
        if self.kind == "cpu":
            return [_PROVIDERS["cpu"]]
        return [(_PROVIDERS[self.kind], {"device_id": self.index}), _PROVIDERS["cpu"]]


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
