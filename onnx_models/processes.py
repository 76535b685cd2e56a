"""Processes: one for each of several devices, so that no interpreter lock stands between them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from opensearch_splade.errors import DeviceError
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.sparse_rows import SparseRow
from opensearch_splade.onnx_models.sparse_runner import SparseRunner


class EncoderProcesses:
    """A sparse bundle on several devices at once; a batch goes to whichever is free.

    Args:
        bundle: A sparse bundle.
        devices: One process each. A device may stand here twice.
        max_ratio: As for ``SparseRunner``.
    """

    def __init__(self, bundle: Bundle, devices: Sequence[Device], max_ratio: float = 0.0) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked child may not use CUDA
        plans = [device.default_plan for device in devices]
        self.plan = plans[0].model_copy(update={"batches": sum(plan.batches for plan in plans)})
        self.token_budget = self.plan.token_budget
        self._free: SimpleQueue[tuple[Connection, Any, Device]] = SimpleQueue()
        self._processes = []
        for device, plan in zip(devices, plans, strict=True):
            pairs = [spawn.Pipe() for _ in range(plan.batches)]
            process = spawn.Process(
                target=_serve,
                args=(bundle.folder, device, plan, max_ratio, [theirs for _, theirs in pairs]),
                daemon=True,
            )
            process.start()
            self._processes.append(process)
            for ours, theirs in pairs:
                theirs.close()
                self._free.put((ours, process, device))

    def encode(self, batch: Sequence[Tokens]) -> list[SparseRow]:
        """One row per text.

        Raises:
            DeviceError: The process is gone, or says that its device cannot run the batch.
        """
        connection, process, device = self._free.get()
        try:
            connection.send([list(tokens) for tokens in batch])
            answer: list[SparseRow] | Exception = connection.recv()
        except (EOFError, OSError) as error:
            process.join(1)
            raise DeviceError(
                f"The process of device {device} ended (exit code {process.exitcode}); its memory may not suffice. "
                "Run again to go on, with fewer devices if it ends again."
            ) from error
        finally:
            self._free.put((connection, process, device))  # a dead one too: whoever asks next must not wait
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.terminate()
            process.join()

    def __del__(self) -> None:
        """Processes end with their encoder."""
        with suppress(Exception):  # the interpreter may be half gone
            self.close()


def _serve(folder: Path, device: Device, plan: Plan, max_ratio: float, connections: list[Connection]) -> None:
    """In the process: one thread for each batch that may be under way."""
    bundle = Bundle.open(folder)
    runner: SparseRunner | Exception
    try:
        runner = SparseRunner(Session(bundle.model, device, plan), max_ratio)
    except Exception as error:  # noqa: BLE001 - told to whoever asks for a batch
        runner = error
    threads = [Thread(target=_answer, args=(runner, connection)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answer(runner: SparseRunner | Exception, connection: Connection) -> None:
    with suppress(EOFError, OSError):  # the other side is gone, so there is no one to answer
        while True:
            batch = connection.recv()
            if isinstance(runner, Exception):
                connection.send(runner)
                continue
            try:
                connection.send(runner.encode(batch))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                connection.send(error)
