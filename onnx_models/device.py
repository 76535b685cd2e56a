"""Device: where a graph runs. One value decides providers and their options."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from opensearch_splade.errors import DeviceError, MissingExtraError
from opensearch_splade.onnx_models.plan import Plan, default_plan, usable_cores

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True, slots=True)
class Device:
    """A place to run a graph.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``tensorrt``.
        index: Which GPU.
        threads: CPU cores to use, each for a batch of its own; 0 takes all that this process may use.
        others: Further devices to spread sparse documents over, a process each.
    """

    kind: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    index: int = 0
    threads: int = 0
    others: tuple[Device, ...] = ()

    def __str__(self) -> str:
        number = self.threads or "" if self.kind == "cpu" else self.index
        return ",".join([f"{self.kind}:{number}".rstrip(":"), *map(str, self.others)])

    @classmethod
    def parse(cls, text: str) -> Device:
        """Reads ``cpu``, ``cpu:4`` (threads), ``cuda``, ``cuda:1`` (which GPU), ``tensorrt``, or several with commas.

        Raises:
            DeviceError: The text is none of these.
        """
        if "," in text:
            first, *others = map(cls.parse, text.split(","))
            return replace(first, others=tuple(others))
        kind, _, number = text.partition(":")
        if kind not in _PROVIDERS or not (number.isdecimal() or not number):
            raise DeviceError(f"{text!r} is not a device; choose cpu, cpu:THREADS, cuda, cuda:INDEX or tensorrt.")
        if kind == "cpu":
            return cls("cpu", threads=int(number or 0))
        return cls("cuda" if kind == "cuda" else "tensorrt", index=int(number or 0))

    @property
    def each(self) -> list[Device]:
        """This device and the others, each by itself."""
        return [replace(self, others=()), *self.others]

    @property
    def cores(self) -> int:
        """CPU cores to use."""
        return self.threads or usable_cores()

    @property
    def default_plan(self) -> Plan:
        """Batches and threads where nothing was tuned."""
        return default_plan(self.kind, self.cores)

    def session(self, model: Path, threads: int) -> Any:
        """An ``onnxruntime.InferenceSession`` for this device, with so many threads for one batch.

        Raises:
            MissingExtraError: ONNX Runtime is not installed.
            DeviceError: The installed ONNX Runtime lacks the provider.
        """
        onnxruntime = load_onnxruntime()
        if _PROVIDERS[self.kind] not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"The installed ONNX Runtime cannot run on {self.kind}; it offers "
                f"{', '.join(onnxruntime.get_available_providers())}. For NVIDIA GPUs: pip uninstall onnxruntime && "
                "pip install 'opensearch-splade[gpu]'."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Lengths differ from batch to batch; a pattern kept for each would keep its memory too.
        options.enable_mem_pattern = self.kind != "cpu"
        if _saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        # On CPU the first is several times slower than addition and normalisation apart, the second not done in place.
        unfused = ["SkipLayerNormFusion", "BiasGeluFusion"] if self.kind == "cpu" else []
        session = onnxruntime.InferenceSession(
            str(model), options, providers=self._providers(), disabled_optimizers=unfused
        )
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


def load_onnxruntime() -> Any:
    """The module ``onnxruntime``, without its telemetry, which is on by default and writes into the home folder.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # only heard before the first import
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "cpu", "gpu") from error
    return onnxruntime


@cache
def _saturates() -> bool:
    """Whether this CPU adds products of unsigned and signed bytes in 16 bits, which overflow.

    x86 without VNNI does. ONNX Runtime then has an exact way at half the speed; both give the same vectors to the bit
    where both can be run.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    info = Path("/proc/cpuinfo")
    return not info.exists() or "vnni" not in info.read_text(encoding="utf-8", errors="replace")
