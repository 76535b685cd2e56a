"""Session: a bundle's graph on a device, fed with token ids in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import BundleError, OspladeError
from opensearch_splade.onnx_models.batches import pad, token_budget_batches
from opensearch_splade.onnx_models.device import Device


class Session:
    """Runs one graph.

    Args:
        model: ``model.onnx``.
        device: Where it runs.

    Raises:
        BundleError: ONNX Runtime cannot read the graph.
    """

    def __init__(self, model: Path, device: Device) -> None:
        try:
            self._session = device.session(model.read_bytes())
        except OspladeError:
            raise
        except Exception as error:  # onnxruntime raises a dozen types with no base of their own
            raise BundleError(f"{model} cannot be run: {error}.") from error
        self._budget = device.token_budget
        self._workers = ThreadPoolExecutor(device.parallel_batches, thread_name_prefix="encoder")

    def run(self, token_ids: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """Batch by batch: places in ``token_ids`` and the graph's output rows; texts without tokens have none."""
        batches = token_budget_batches([len(tokens) for tokens in token_ids], self._budget)
        outputs = self._workers.map(self._run_one, ([token_ids[place] for place in places] for places in batches))
        yield from zip(batches, outputs, strict=True)

    def _run_one(self, token_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids, mask = pad(token_ids)
        output: npt.NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return output
