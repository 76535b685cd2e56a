"""Session: a bundle's graph on a device, fed with token ids, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError, DeviceError, OspladeError
from opensearch_splade.onnx_models.batches import Tokens, pad
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.long_texts import Span, places
from opensearch_splade.onnx_models.passage_graph import PASSAGES
from opensearch_splade.onnx_models.plan import Plan, load_plan
from opensearch_splade.onnx_models.stream import in_order

Arrays = tuple[npt.NDArray[Any], ...]
_OUT_OF_MEMORY = (
    "out of memory",
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "cuda_error_out_of_memory",
)

Options = Mapping[str, npt.NDArray[Any]]
_NONE: Options = MappingProxyType({})


class Session:
    """Runs one graph.

    Args:
        model: ``model.onnx``.
        device: Where it runs.
        plan: Batches and threads; the device's own by default.

    Raises:
        BundleError: ONNX Runtime cannot read the graph.
    """

    def __init__(self, model: Path, device: Device, plan: Plan | None = None) -> None:
        self.device = device
        self.plan = plan or device.default_plan
        self.token_budget = self.plan.token_budget
        try:
            self._session = device.session(model, self.plan.threads)
        except OspladeError:
            raise
        except Exception as error:  # onnxruntime raises a dozen types with no base of their own
            raise BundleError(f"{model} cannot be run: {error}.") from error

    @classmethod
    def of(cls, bundle: Bundle, device: Device, plan: Plan | None = None) -> Session:
        """A bundle's graph, by the plan given, else by the one tuned for it here, else by the device's own."""
        return cls(bundle.model, device, plan or cls.plan_of(bundle, device))

    @staticmethod
    def plan_of(bundle: Bundle, device: Device) -> Plan:
        """The plan that was tuned for a bundle here, else the device's own."""
        return load_plan(bundle.manifest.fingerprint, device.kind, device.cores) or device.default_plan

    @cached_property
    def takes_passages(self) -> bool:
        """Whether the graph has the optional input for them."""
        return any(one.name == PASSAGES for one in self._session.get_overridable_initializers())

    def replanned(self, plan: Plan) -> Session:
        """The same loaded graph with other batches; the threads of a batch cannot change."""
        other = copy(self)
        other.plan, other.token_budget = plan, plan.token_budget
        return other

    def run(
        self,
        token_ids: Sequence[Tokens],
        outputs: Sequence[str],
        options: Options = _NONE,
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> Arrays:
        """The named outputs of one batch, each with one row per text, or one per span.

        Where the device's memory does not suffice, the batch is halved, and so is the budget of later ones.

        Args:
            token_ids: Texts, each of at least one token.
            outputs: Names of the graph's outputs.
            options: Values of the graph's optional inputs.
            spans: Passages of each text, at least one, each of at least one token.

        Raises:
            DeviceError: A single text does not fit into the device's memory.
        """
        ids, mask = pad(token_ids, self.plan.multiple)
        given = {} if spans is None else {PASSAGES: places(spans, ids.shape[1])}
        try:
            found: list[npt.NDArray[Any]] = self._session.run(
                list(outputs), {"input_ids": ids, "attention_mask": mask, **options, **given}
            )
        except Exception as error:  # onnxruntime's types have no base of their own
            if not _is_out_of_memory(error):
                raise
            return self._run_halves(token_ids, outputs, options, spans, error)
        return tuple(found)

    def run_all(self, token_ids: Iterable[Tokens | None], output: str) -> Iterator[npt.NDArray[np.float32] | None]:
        """One row of one output per text, in order; ``None`` for a text without any token. See ``in_order``."""
        return in_order(token_ids, lambda batch: self.run(batch, [output])[0], self)

    def _run_halves(
        self,
        token_ids: Sequence[Tokens],
        outputs: Sequence[str],
        options: Options,
        spans: Sequence[Sequence[Span]] | None,
        error: Exception,
    ) -> Arrays:
        if len(token_ids) == 1:
            raise DeviceError(
                f"A text of {len(token_ids[0]):,} tokens does not fit into the memory of {self.device.kind}. "
                "Export the checkpoint with a smaller --max-length, or choose another --device."
            ) from error
        middle = len(token_ids) // 2
        longest = max(map(len, token_ids))
        self.token_budget = max(1, min(self.token_budget, middle * longest))
        parts = [
            self.run(token_ids[half], outputs, options, None if spans is None else spans[half])
            for half in (slice(middle), slice(middle, None))
        ]
        return tuple(_join(*rows) for rows in zip(*parts, strict=True))


def _join(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One below the other; sparse outputs may differ in width, and what lies beyond a row's count is not read."""
    if first.ndim == 1:
        return np.concatenate([first, second])
    width = max(first.shape[1], second.shape[1])
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (first, second)])


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)
