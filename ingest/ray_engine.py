"""Ray engine: the stages of an ingest in several processes, on one machine or many.

    shares of the source -> workers: each runs the whole pipeline on one share after the other
                               |  ask and tell
                            keepers, beside the command: ledger shards, ids of this run, dead letters, progress

A worker holds nothing that a run needs after it: Ray starts it again where it died, on any machine, and its share is
read again; what the ledger knows is skipped. What has to last is kept in one place, by processes that nothing moves.

Ray is given functions and values of ours only, and reads nothing that a source or a cluster sent.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from opensearch_splade.errors import BundleError, DeviceError, MissingExtraError, OspladeError
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.documents import without_duplicates
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.files import read_files
from opensearch_splade.ingest.ledger_shards import SHARDS
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.ray_keepers import Keeper, Keepers, KeptLetters, answers, kept
from opensearch_splade.ingest.report import IngestReport, Progress
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.shares import Share
from opensearch_splade.ingest.target import pipeline_for
from opensearch_splade.onnx_models import DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.client import open_client
from opensearch_splade.plugin.connection import Connection
from opensearch_splade.plugin.stored_passages import stored_passages

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

RETRIES = 3
"""Times that a share is begun again because its worker died, before the run ends."""
WORKERS_EACH = 8
"""Workers that share a keeper."""
_NONE = -1  # no share
_TELL = 0.5  # seconds between two reports
_LOOK = (
    "Most often memory was short: give fewer --workers, or look into Ray's logs. Run the same command again to go on: "
    "nothing is doubled."
)
_STORE = 128 * 2**20  # bytes of Ray's object store: nothing large goes through it


@dataclass(frozen=True)
class Work:
    """What every worker has to know.

    Attributes:
        connection: To the cluster: the command's environment is not the workers'. Files that it names (of certificates)
            lie under the same path on every machine, and for AWS each has credentials of its own.
        index: Made or checked.
        fields: Of the source.
        sparse: Folder or name of the bundle, on every machine.
        dense: The same, if the index has dense vectors.
        rules: How documents become what is stored.
        marker: Fingerprints that the bundles of every machine must have.
        device: Of one worker.
        counts: Whether query weights are counted.
    """

    connection: Connection
    index: str
    fields: FieldMap
    sparse: str
    dense: str | None
    rules: Rules
    marker: Sequence[str]
    device: Device
    counts: bool


class _Worker:
    """Encoders of its own, and the pipeline on one share after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def load(self) -> None:
        """What fails here fails before anything is written."""
        _ = self._encoder

    def ingest(
        self, number: int, share: Share, actors: Sequence[Any], *, replaces: bool
    ) -> tuple[IngestReport, DocumentFrequencies | None]:
        """All of a share, and what is counted of it: all or nothing, so that no token is counted twice."""
        keepers, due = Keepers(actors), 0.0
        frequencies = DocumentFrequencies(self._encoder.sparse.vocabulary) if self._work.counts else None

        def tell(report: IngestReport) -> None:
            nonlocal due
            if time.monotonic() > due:
                due = time.monotonic() + _TELL
                keepers.tell(number, report)

        records = without_duplicates(keepers.of_share(number, read_files(share, self._work.fields)))
        encoder = replace(self._encoder, frequencies=frequencies)
        index = self._work.index
        writer = BulkWriter(self._client, index, pipeline=pipeline_for(self._client, index))
        looks = replaces and self._work.rules.parts
        leftovers = partial(stored_passages, self._client, self._work.index) if looks else None
        report = run(records, encoder, writer, KeptLetters(keepers), tell, ledger=keepers, leftovers=leftovers)
        return report, frequencies

    @cached_property
    def _encoder(self) -> DocumentEncoder:
        work = self._work
        sparse = SparseEncoder.load(work.sparse, work.device)
        dense = DenseEncoder.load(work.dense, work.device) if work.dense else None
        found = [one.fingerprint for one in (sparse, dense) if one]
        if found != list(work.marker):
            raise BundleError(
                f"A worker's bundles have the fingerprints {', '.join(found)}, those of the command "
                f"{', '.join(work.marker)}: install the same version and bundles on every machine of the Ray cluster."
            )
        encoder = work.rules.encoder(sparse, dense, work.marker)
        encoder.load()
        return encoder

    @cached_property
    def _client(self) -> Any:
        return open_client(self._work.connection)


class _DiedError(OspladeError):
    """A worker's process or machine is gone."""


class RayEngine:
    """Workers that are ready to ingest. As a context it ends all that it began, however it is left.

    Args:
        work: What workers have to know; ``cuda`` as device asks for a GPU a worker.
        workers: How many; by default as many as there are GPUs or, without a device, machines.

    Raises:
        MissingExtraError: Ray is not installed.
        DeviceError: The Ray cluster has no GPU, or a worker cannot use its own.
        BundleError: A machine has no such bundle, or another one of that name.
        OspladeError: The Ray cluster cannot be reached.
    """

    def __init__(self, work: Work, workers: int | None) -> None:
        if work.device.others or (work.device.kind != "cpu" and work.device.index):
            raise DeviceError(f"Ray chooses the GPUs: give --device {work.device.kind}, and --workers if you like.")
        self._work, self._wanted = work, workers
        self._keepers: list[Any] = []
        self._workers: list[Any] = []
        self._stdout = ExitStack()

    def __enter__(self) -> Self:
        self._ray, self._is_ours = _started()
        self._stdout.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of deaths; ours is for results
        try:
            count, device, needs = self._shape()
            self._make = partial(
                self._ray.remote(_Worker).options(scheduling_strategy="SPREAD", **needs).remote,
                replace(self._work, device=device),
            )
            self._workers = [self._make() for _ in range(count)]
            dead = OspladeError(f"A worker died while it loaded the bundle. {_LOOK}")
            answers([one.load.remote() for one in self._workers], dead)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._workers)

    def ingest(
        self,
        shares: Sequence[Share],
        ledger: Path,
        dead_letters: Path,
        on_progress: Progress = lambda _: None,
        frequencies: DocumentFrequencies | None = None,
        *,
        replaces: bool = True,
    ) -> IngestReport:
        """All shares, each by whichever worker is free.

        Args:
            shares: Of the source.
            ledger: Claimed for the index, and closed.
            dead_letters: Where what cannot be written goes.
            on_progress: Told now and then.
            frequencies: Gets what the workers counted.
            replaces: Whether the index may hold former passages of these documents.

        Raises:
            OspladeError: As ``pipeline.run``, of the first share that fails, or a worker died too often.
        """
        start = time.monotonic()
        names = [" … ".join(dict.fromkeys([share[0].name, share[-1].name])) for share in shares]
        self._keepers = self._start_keepers(ledger, dead_letters, names)
        waiting, free = deque(range(len(shares))), list(self._workers)
        running: dict[Any, tuple[Any, int]] = {}  # a worker that is to replace a dead one has no share yet: _NONE
        reports, deaths = dict[int, IngestReport](), Counter[int]()
        while len(reports) < len(shares):
            while waiting and free:
                worker, number = free.pop(), waiting.popleft()
                running[worker.ingest.remote(number, shares[number], self._keepers, replaces=replaces)] = worker, number
            for reference in self._ray.wait(list(running), timeout=_TELL)[0]:
                worker, number = running.pop(reference)
                try:
                    (answer,) = answers([reference], _DiedError())
                except _DiedError as error:
                    deaths[number] += 1
                    if deaths[number] > RETRIES:
                        doing = "loads the bundle" if number == _NONE else f"reads {names[number]}"
                        raise OspladeError(f"The worker that {doing} died {RETRIES + 1} times. {_LOOK}") from error
                    if number != _NONE:
                        waiting.appendleft(number)
                    worker = self._replace(worker)
                    running[worker.load.remote()] = worker, _NONE
                    continue
                free.append(worker)
                if number == _NONE:
                    deaths[_NONE] = 0
                    continue
                reports[number], counted = answer
                if counted and frequencies:
                    frequencies.merge(counted)
            (told,) = kept([self._keepers[0].told.remote()])
            on_progress(_together([*{**told, **reports}.values()], time.monotonic() - start))
        return _together([*reports.values()], time.monotonic() - start)

    def _replace(self, dead: Any) -> Any:
        """Not Ray's own retries: while it has not noticed that a machine is gone, it spends all of them in a second."""
        self._ray.kill(dead)  # it may only be out of reach
        self._workers.remove(dead)
        self._workers.append(self._make())
        return self._workers[-1]

    def _start_keepers(self, ledger: Path, dead_letters: Path, names: Sequence[str]) -> list[Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        wanted = 1 if ledger.is_file() else min(SHARDS, ceil(self.workers / WORKERS_EACH))
        count = next(number for number in range(wanted, SHARDS + 1) if SHARDS % number == 0)
        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        keeper = self._ray.remote(Keeper).options(num_cpus=0, max_concurrency=32, scheduling_strategy=here)
        keepers = [keeper.remote() for _ in range(count)]
        places = ledger.absolute(), dead_letters.absolute()
        kept([one.open.remote(places[0], (part, count), places[1], names) for part, one in enumerate(keepers)])
        return keepers

    def _shape(self) -> tuple[int, Device, dict[str, float]]:
        """How many workers, what each runs on, and what Ray has to set aside for it: never more than there is."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cores, gpus = (int(sum(one.get(kind, 0) for one in machines)) for kind in ("CPU", "GPU"))
        device = self._work.device
        if device.kind == "cpu":
            count = self._wanted or len(machines)
            smallest = int(min(one.get("CPU", 0) for one in machines))
            threads = device.threads or max(1, min(cores // count, smallest))
            return count, replace(device, threads=threads), {"num_cpus": float(count <= cores)}
        if not gpus:
            raise DeviceError(
                f"--device {device.kind} asks for GPUs and the Ray cluster has none: leave it out, or start Ray on "
                "machines that have some."
            )
        count = self._wanted or gpus
        # More workers than GPUs share them: one process can be too slow for a fast one.
        return count, device, {"num_gpus": 1 / ceil(count / gpus), "num_cpus": float(count <= cores)}

    def _end(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        with suppress(Exception):  # their locks end with them too, only a little later
            self._ray.get([keeper.close.remote() for keeper in self._keepers], timeout=30)
        for keeper in self._keepers:
            self._ray.kill(keeper)
        if self._is_ours:
            self._ray.shutdown()
        self._stdout.close()


def _started() -> tuple[ModuleType, bool]:
    """Ray, connected to the cluster that ``RAY_ADDRESS`` names or begun here, and whether it is ours to end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_here = not os.environ.get("RAY_ADDRESS")
    if is_here:
        # Whoever reaches Ray's ports can run code; this makes them 127.0.0.1, on Linux too.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    if ray.is_initialized():
        return ray, False
    quiet = {"log_to_driver": False, "logging_level": "error"}
    here = {"address": "local", "include_dashboard": False, "object_store_memory": _STORE} if is_here else {}
    try:
        ray.init(**quiet, **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "here" if is_here else f"at RAY_ADDRESS={os.environ['RAY_ADDRESS']}"
        raise OspladeError(f"Ray cannot be reached or started {where}: {error}") from error
    return ray, True


def _together(reports: Sequence[IngestReport], seconds: float) -> IngestReport:
    """One report of many shares."""
    slowest = Counter(report.slowest for report in reports if report.slowest).most_common(1)
    sums = {
        one.name: sum(getattr(report, one.name) for report in reports)
        for one in fields(IngestReport)
        if one.type == "int"
    }
    return IngestReport(**sums, seconds=seconds, slowest=slowest[0][0] if slowest else "")
