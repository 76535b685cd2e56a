"""Plan: how an encoder's work is laid out on a device. Measured by ``osplade tune``, or a default."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Annotated

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opensearch_splade.errors import OspladeError

_Count = Annotated[int, Field(gt=0)]

_SMALL = 20_000_000
"""Bytes of a graph that one core runs as fast as several: splade-tiny has 18 MB in fp32, MiniLM 23 MB in int8."""


class Plan(BaseModel):
    """Batches and threads.

    Attributes:
        batches: Batches that run at once.
        threads: Threads that share each batch.
        token_budget: Tokens per batch, padding included.
        multiple: Lengths are padded to a multiple of this, so that a GPU sees few shapes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batches: _Count
    threads: _Count
    token_budget: _Count
    multiple: _Count = 1

    def __str__(self) -> str:
        return f"{self.batches} at once x {self.threads} threads, {self.token_budget} tokens a batch"


def default_plan(kind: str, cores: int) -> Plan:
    """What suits most models, unmeasured.

    On CPU one batch per core, each on one thread: cores that share an operator wait for each other after every one of
    them, which costs 20 % on an idle machine and half of the speed on a busy one. 512 tokens: a tile of scores stays in
    the cache of its core. GPUs want larger batches; not measured yet.
    """
    if kind == "cpu":
        return Plan(batches=cores, threads=1, token_budget=512)
    return Plan(batches=2, threads=1, token_budget=16_384, multiple=32)


def query_plan(kind: str, cores: int, length: int, model_bytes: int) -> Plan:
    """For one text at a time, of at most so many tokens: there is no second batch, so all cores share this one.

    Unless the model is so small that they would wait for each other longer than they work: two threads on a question
    took 1.09 ms with splade-tiny in int8 (one: .96 ms) and 1.09 ms with MiniLM (one: 1.35 ms).
    """
    threads = cores if model_bytes > _SMALL else 1
    return Plan(batches=1, threads=threads, token_budget=length, multiple=default_plan(kind, cores).multiple)


def load_plan(fingerprint: str, kind: str, cores: int) -> Plan | None:
    """The plan that was tuned for this bundle on this machine with this many cores, if any."""
    path = plan_path(fingerprint, kind, cores)
    try:
        return Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None  # never tuned, or by a version that wrote something else


def save_plan(plan: Plan, fingerprint: str, kind: str, cores: int) -> Path:
    """Keeps a plan for the next encoder of this bundle on this machine.

    Raises:
        OspladeError: The user's cache folder cannot be written.
    """
    path = plan_path(fingerprint, kind, cores)
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise OspladeError(
            f"The plan ({plan}) cannot be kept in {path.parent}: {error.strerror}. Make that folder writable, or give "
            "the plan to the encoder yourself."
        ) from error
    return path


def plan_path(fingerprint: str, kind: str, cores: int) -> Path:
    """Where that plan lies: in the user's cache folder, by bundle, processor and cores."""
    machine = hashlib.sha256(processor().encode()).hexdigest()[:8]
    return user_cache_path("opensearch-splade") / "plans" / f"{fingerprint}-{kind}-{cores}-{machine}.json"


@cache
def processor() -> str:
    """The processor's name as the system states it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
