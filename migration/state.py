"""State: what a migration has done so far, in a folder that can be moved to another machine.

``migration.json`` holds the spec and the steps that were taken, each with its time and what it found;
``ledger/NN.sqlite`` says for each shard of the source how far it was brought over and what the new index holds of it;
``dead-letters.jsonl`` has what the new index refused. A step is noted when it is done, in one replacement of the file.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.types import Json

Step = Literal["planned", "begun", "caught-up", "blocked", "complete", "verified", "cut-over", "rolled-back", "cleaned"]

_FILE = "migration.json"


class StepTaken(BaseModel):
    """One step.

    Attributes:
        step: Which.
        at: When, in UTC.
        found: What is worth keeping of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Step
    at: datetime
    found: dict[str, Any] = {}


class Record(BaseModel):
    """The file.

    Attributes:
        version: Of this layout.
        spec: What is to be done.
        source_index: The concrete index that the source's name stood for when it began.
        source_uuid: Its own id.
        ledger_name: What the new index notes as its ledger.
        steps: In the order in which they were taken.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    spec: MigrationSpec
    source_index: str
    source_uuid: str
    ledger_name: str
    steps: list[StepTaken] = []


class State:
    """An opened state folder.

    Args:
        folder: Where it lies.
        record: What its file says.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record

    @classmethod
    def begin(cls, folder: Path, spec: MigrationSpec, source_index: str, source_uuid: str) -> State:
        """A new folder, or the one of the same migration.

        Raises:
            MigrationError: It belongs to another migration, or cannot be written.
        """
        if (folder / _FILE).exists():
            state = cls.open(folder)
            if state.record.spec.model_dump(exclude=_MAY_CHANGE) != spec.model_dump(exclude=_MAY_CHANGE):
                raise MigrationError(
                    f"{folder} belongs to a migration that was begun otherwise (of {state.record.spec.source!r} to "
                    f"{state.record.spec.target!r}): say the same, name another folder with --state, or end that one "
                    "with `osplade migrate clean`."
                )
            if state.record.source_uuid != source_uuid:
                raise MigrationError(
                    f"the index {source_index!r} was deleted and made anew since this migration began: begin another "
                    f"one with another --state, or delete {folder}."
                )
            state.record.spec = spec
            return state
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MigrationError(f"{folder} cannot be written ({error}): name another folder with --state.") from error
        record = Record(
            spec=spec, source_index=source_index, source_uuid=source_uuid, ledger_name=f"migration-{uuid.uuid4().hex}"
        )
        state = cls(folder, record)
        state.save()
        return state

    @classmethod
    def open(cls, folder: Path) -> State:
        """The folder of a migration that was begun.

        Raises:
            MigrationError: It is none, or damaged.
        """
        path = folder / _FILE
        try:
            return cls(folder, Record.model_validate_json(path.read_bytes()))
        except FileNotFoundError as error:
            raise MigrationError(
                f"{folder} holds no migration: begin one with `osplade migrate run`, or name its folder with --state."
            ) from error
        except (OSError, ValidationError) as error:
            raise MigrationError(f"{path} cannot be read ({' '.join(str(error).split())[:300]}).") from error

    def save(self) -> None:
        """Replaces the file, at once and for good."""
        path = self.folder / _FILE
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with draft.open("wb") as file:
                file.write(self.record.model_dump_json(indent=2).encode())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise MigrationError(
                f"{path} cannot be written ({error}): make room or allow writing, run again."
            ) from error

    def note(self, step: Step, **found: Any) -> None:
        """A step was taken."""
        self.record.steps.append(StepTaken(step=step, at=datetime.now(UTC), found=found))
        self.save()

    def last(self, *steps: Step) -> StepTaken | None:
        """The last time that one of these steps was taken."""
        return next((one for one in reversed(self.record.steps) if one.step in steps), None)

    @property
    def step(self) -> Step | None:
        """The last step of all."""
        return self.record.steps[-1].step if self.record.steps else None

    @property
    def pending(self) -> StepTaken | None:
        """A cutover that was killed before it was noted as done or taken back, if the last one was."""
        last = self.last("caught-up", "blocked", "complete", "cut-over", "rolled-back")
        return last if last and last.step in ("blocked", "complete") else None

    @property
    def dead_letters(self) -> Path:
        """Where documents go that the new index refuses."""
        return self.folder / "dead-letters.jsonl"

    @property
    def brought_back(self) -> Path:
        """What a rollback wrote to the old index."""
        return self.folder / "brought-back.jsonl"

    def ledger(self, shard: int) -> Path:
        """The ledger of a shard of the source."""
        return self.folder / "ledger" / f"{shard:02}.sqlite"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For steps that only one process may take; what another one noted meanwhile is read.

        Raises:
            MigrationError: Another process has it.
        """
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise MigrationError(f"another process works with {self.folder} just now: wait for its end.") from error
            spec = self.record.spec
            self.record = State.open(self.folder).record
            self.record.spec = spec
            yield

    def to_json(self) -> Json:
        """For machines."""
        found: Json = self.record.model_dump(mode="json")
        return found


_MAY_CHANGE = {"max_docs_per_second", "max_slowdown", "last_round"}
