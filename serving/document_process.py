"""The side of documents in a process of its own, whose threads the kernel lets run where questions leave it time.

In one process they would share an interpreter's lock: a thread that gives way while it holds the lock makes all that do
not give way wait for it.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Sequence, Sized
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple

from opensearch_splade.errors import DeviceError, OspladeError
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.serving.sides import Side, document_side

NICENESS = 10
"""Of the process; the kernel gives it a tenth of the time of one that does not give way."""
_LONGEST = 10.0
"""Seconds that the process has to end when nobody speaks to it any more."""


class _Said(NamedTuple):
    """What is known of the side that works elsewhere; comes with each of its answers."""

    plan: Plan
    token_budget: int
    nothing: bytes


class DocumentProcess:
    """A side whose work is done by a child process; one that ended is started again when it is needed.

    Args:
        bundle: Any bundle.
        device: Where it runs.
        plan: What was tuned, or the device's own, by default.

    Raises:
        OspladeError: It cannot be loaded there.
    """

    def __init__(self, bundle: Bundle, device: Device, plan: Plan | None = None) -> None:
        self._given = (bundle.folder, device, plan)
        self._batches = Session.plan_of(bundle, device).batches if plan is None else plan.batches
        self._starting = Lock()
        self._start()

    @property
    def budget(self) -> _Said:
        """As the process has it."""
        return self._said

    @property
    def nothing(self) -> bytes:
        """The vector of what needs no model."""
        return self._said.nothing

    def prepare(self, texts: Sequence[str]) -> Sequence[Sized | None]:
        """Token ids. Called from one thread.

        Raises:
            DeviceError: The process ended; it is started again.
        """
        found: Sequence[Sized | None] = self._ask(self._lines, self._tokenizer, "prepare", list(texts))
        return found

    def run(self, batch: Sequence[Any]) -> list[bytes]:
        """One batch to JSON. Called from as many threads as batches run at once.

        Raises:
            DeviceError: The process ended, and is started again; or its device cannot run the batch.
        """
        lines = self._lines
        line = lines.get()
        try:
            rows: list[bytes] = self._ask(lines, line, "run", list(batch))
        finally:
            lines.put(line)
        return rows

    def close(self) -> None:
        """Ends the process, once what runs has ended."""
        self._tokenizer.close()
        for _ in range(self._batches):
            self._lines.get().close()
        self._process.join(_LONGEST)
        self._process.kill()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a forked child may not use CUDA
        pairs = [spawn.Pipe() for _ in range(self._batches + 1)]
        self._process = spawn.Process(target=_work, args=(*self._given, [theirs for _, theirs in pairs]), daemon=True)
        self._process.start()
        # A server that is asked to end while it loads closes nothing, and Python's own SIGTERM is not heard there.
        atexit.register(self._process.kill)
        for _, theirs in pairs:
            theirs.close()
        self._tokenizer = pairs[0][0]
        self._lines: SimpleQueue[Connection] = SimpleQueue()
        self._said: _Said = self._answer(self._tokenizer)
        for ours, _ in pairs[1:]:
            self._answer(ours)
            self._lines.put(ours)

    def _ask(self, lines: SimpleQueue[Connection], line: Connection, what: str, argument: list[Any]) -> Any:
        try:
            with suppress(OSError):  # told by the answer that does not come
                line.send((what, argument))
            answer, self._said = self._answer(line)
        except _EndedError as error:
            with self._starting:
                if lines is self._lines:  # the first to see it
                    self._start()
            raise DeviceError(str(error)) from error
        return answer

    def _answer(self, line: Connection) -> Any:
        try:
            answer = line.recv()
        except (EOFError, OSError) as error:
            self._process.join(1)
            raise _EndedError(
                f"the process of documents ended (exit code {self._process.exitcode}); what it worked on is lost, and "
                "it is started again. If memory ran out, serve fewer models or take a smaller --max-batch-tokens"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


class _EndedError(DeviceError):
    """The process is gone."""


def _work(folder: Path, device: Device, plan: Plan | None, lines: list[Connection]) -> None:
    """In the process: a thread for each line, until the other end is closed."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # may reach the whole group; the parent decides
        signal.signal(ending, signal.SIG_IGN)
    with suppress(AttributeError, OSError):  # Windows; forbidden by a sandbox
        os.nice(NICENESS)
    side: Side | Exception
    try:
        side = document_side(Bundle.open(folder), device, plan)
        _said(side)  # loads the graph
    except Exception as error:  # noqa: BLE001 - told to whoever waits
        side = error
    threads = [Thread(target=_converse, args=(side, line)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _said(side: Side) -> _Said:
    return _Said(side.budget.plan, side.budget.token_budget, side.nothing)


def _converse(side: Side | Exception, line: Connection) -> None:
    with suppress(EOFError, OSError):  # the other side is gone, so there is no one to answer
        if isinstance(side, Exception):
            line.send(side)
            return
        line.send(_said(side))
        while True:
            what, argument = line.recv()
            try:
                answer = side.prepare(argument) if what == "prepare" else side.run(argument)
                line.send((answer, _said(side)))
            except OspladeError as error:
                line.send(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                line.send(DeviceError(f"A batch failed on its device: {error!r}."))
