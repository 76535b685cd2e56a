"""Kept runs: rankings in a folder with what decided them, so that a second evaluation asks only what changed.

A system is two files: ``NAME.trec``, the ranking as any tool reads it, and ``NAME.json``, what decided it. The second
one is taken away first and written last, so where it is, the ranking is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.results import Latency, Run
from opensearch_splade.evaluation.run_files import read_run, write_run
from opensearch_splade.evaluation.systems import System
from opensearch_splade.transport import asking

Decided = Mapping[str, Any]
"""What decides a ranking: each part by name, as JSON has it."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One that still holds.

    Attributes:
        run: The ranking.
        latency: ``None`` where it was not measured.
        notices: Notice to number of questions.
    """

    run: Run
    latency: Latency | None
    notices: Mapping[str, int]


class KeptRuns:
    """The folder.

    Args:
        folder: Where it is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Makes the folder where it is missing.

        Raises:
            SourceError: It cannot be made or written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise SourceError(f"{self._folder}: runs cannot be kept there ({error}); name another folder") from error

    def find(self, name: str, decided: Decided) -> tuple[KeptRun | None, str]:
        """The run of a system if it still holds, and else why not; no reason where there was none."""
        run_path, about_path = self._paths(name)
        try:
            about = orjson.loads(about_path.read_bytes())
            kept: Mapping[str, Any] = about["decided"]
            latency = Latency(**about["latency"]) if about["latency"] else None
            notices = dict(about["notices"])
            digest = about["sha256"]
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, KeyError, TypeError):
            return None, f"{about_path.name} cannot be read"
        if changed := [key for key in {**decided, **kept} if kept.get(key) != decided.get(key)]:
            return None, f"{', '.join(changed)} changed"
        try:
            content = run_path.read_bytes()
        except OSError:
            return None, f"{run_path.name} cannot be read"
        if hashlib.sha256(content).hexdigest() != digest:
            return None, f"{run_path.name} was written by someone else"
        return KeptRun(read_run(run_path) if content else {}, latency, notices), ""

    def keep(self, name: str, decided: Decided, found: KeptRun) -> None:
        """Writes a run down, synced.

        Raises:
            SourceError: It cannot be written.
        """
        run_path, about_path = self._paths(name)
        try:
            about_path.unlink(missing_ok=True)
            _replace(run_path, lambda path: write_run(path, found.run, name))
            about = {
                "decided": decided,
                "latency": asdict(found.latency) if found.latency else None,
                "notices": dict(found.notices),
                "sha256": hashlib.sha256(run_path.read_bytes()).hexdigest(),
            }
            _replace(about_path, lambda path: path.write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2)))
        except OSError as error:
            raise SourceError(f"{self._folder}: the run of {name} cannot be kept ({error})") from error

    def _paths(self, name: str) -> tuple[Path, Path]:
        plain = re.sub(r"[^A-Za-z0-9.+_-]+", "-", name).strip("-.")[:100]
        if plain.lower() != name:  # two names must not share a file, where A is a too
            plain = f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        return self._folder / f"{plain}.trec", self._folder / f"{plain}.json"


def decided_by(client: Any, system: System, collection: Collection, split: str, depth: int, server: str) -> Decided:
    """What decides the ranking of a system, the state of its index included.

    Documents may change while their number stays, so the operations that the index has seen count as well.

    Raises:
        TargetError: The index does not exist.
        ClusterError: The cluster does not answer, or the user may not see the statistics of the index.
    """
    with asking(system.index):
        found = client.indices.stats(index=system.index, metric="docs", params={"level": "shards"})["indices"]
    questions = orjson.dumps(sorted(collection.queries.items()))
    return {
        "spec": str(replace(system.spec, tuned_on="")),
        "template": system.template.digest if system.template else "",
        "encoders": system.encoders,
        "index": {each["uuid"]: [_documents(each), _operations(each)] for each in found.values()},
        "fingerprints": sorted(system.fingerprints),
        "server": server,
        "collection": f"{collection.name}/{split}",
        "questions": hashlib.sha256(questions).hexdigest()[:16],
        "depth": depth,
    }


def _documents(index: Mapping[str, Any]) -> int:
    return int(index["primaries"]["docs"]["count"])


def _operations(index: Mapping[str, Any]) -> int:
    shards = [copy for copies in index["shards"].values() for copy in copies if copy["routing"]["primary"]]
    return sum(int(copy["seq_no"]["max_seq_no"]) for copy in shards)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file under another name and puts it into its place when it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.draft")
    write(draft)
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.replace(path)
