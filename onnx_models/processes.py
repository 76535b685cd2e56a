"""Processes: one for each of several devices, so that no interpreter lock stands between them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from opensearch_splade.errors import DeviceError, OspladeError
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.long_texts import Span
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.sparse_rows import SparseRow
from opensearch_splade.onnx_models.sparse_runner import SparseRunner

_Rows = tuple[list[SparseRow], int]
"""Rows of a batch, and the token budget that the device can do with."""


class _Line(NamedTuple):
    """What leads to a thread of a process."""

    connection: Connection
    process: Any
    device: Device


class EncoderProcesses:
    """A sparse bundle on several devices at once; a batch goes to whichever is free.

    Args:
        bundle: A sparse bundle.
        devices: One process each. A device may stand here twice.
        max_ratio: As for ``SparseRunner``.

    Raises:
        DeviceError: A device cannot start.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, bundle: Bundle, devices: Sequence[Device], max_ratio: float = 0.0) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked child may not use CUDA
        plans = [Session.plan_of(bundle, device) for device in devices]
        self.plan = plans[0].model_copy(update={"batches": sum(plan.batches for plan in plans)})
        self.token_budget = min(plan.token_budget for plan in plans)
        self._free: SimpleQueue[_Line] = SimpleQueue()
        self._processes = []
        for device, plan in zip(devices, plans, strict=True):
            pairs = [spawn.Pipe() for _ in range(plan.batches)]
            theirs = [connection for _, connection in pairs]
            process = spawn.Process(target=_serve, args=(bundle.folder, device, plan, max_ratio, theirs), daemon=True)
            process.start()
            self._processes.append(process)
            for connection in theirs:
                connection.close()
            for ours, _ in pairs:
                self._free.put(_Line(ours, process, device))
        # A device that cannot start is an error now, not after hours.
        for line in [self._free.get() for _ in range(self.plan.batches)]:
            self._free.put(line)
            self._answer(line)

    def encode(self, batch: Sequence[Tokens], spans: Sequence[Sequence[Span]] | None = None) -> list[SparseRow]:
        """One row per text, or one per span.

        Raises:
            BundleError: As ``SparseRunner.encode``.
            DeviceError: The process is gone, or says that its device cannot run the batch.
        """
        line = self._free.get()
        try:
            with suppress(OSError):  # told by the answer that does not come
                line.connection.send(([list(tokens) for tokens in batch], spans))
            rows, budget = self._answer(line)
        finally:
            self._free.put(line)  # a dead one too: whoever asks next must not wait
        self.token_budget = min(self.token_budget, budget)
        return rows

    @staticmethod
    def _answer(line: _Line) -> _Rows:
        try:
            answer: _Rows | Exception = line.connection.recv()
        except (EOFError, OSError) as error:
            line.process.join(1)
            raise DeviceError(
                f"The process of device {line.device} ended (exit code {line.process.exitcode}). If its memory "
                "did not suffice, run again with fewer devices; a script needs `if __name__ == '__main__':` around "
                "its own code."
            ) from error
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    runner: SparseRunner | Exception
    try:
        runner = SparseRunner(Session(Bundle.open(folder).model, device, plan), max_ratio)
        first: _Rows | Exception = ([], runner.token_budget)
    except Exception as error:  # noqa: BLE001 - told to whoever asks for a batch
        first = runner = error
    threads = [Thread(target=_converse, args=(runner, first, connection)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _converse(runner: SparseRunner | Exception, first: _Rows | Exception, connection: Connection) -> None:
    with suppress(EOFError, OSError):  # the other side is gone, so there is no one to answer
        connection.send(first)
        while not isinstance(runner, Exception):
            batch, spans = connection.recv()
            try:
                answer: _Rows | Exception = (runner.encode(batch, spans), runner.token_budget)
                connection.send(answer)
            except OspladeError as error:
                connection.send(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                connection.send(DeviceError(f"A batch failed on its device: {error!r}."))
