"""Ray: the same index as by one process, whoever dies, and however files and workers change between runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import psutil
import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch, TransportError

from opensearch_splade.cli.main import main
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest import shares
from opensearch_splade.ingest.dead_letters import CAME_BEFORE
from opensearch_splade.ingest.ledger_shards import LedgerShards
from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server


class Place:
    """A folder of files, its dead letters and ledger, and an index of one's own."""

    def __init__(self, folder: Path, url: str, client: OpenSearch, index: str) -> None:
        self.url, self.client, self.index = url, client, index
        self.source, self.dead_letters = folder / "corpus", folder / "dead.jsonl"
        self.ledger = folder / f"osplade-ledger-{index}.sqlite"
        self.source.mkdir()

    def write(self, file: str, *records: Any) -> None:
        """A file of the source."""
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.source / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def arguments(self, command: str, *more: str) -> list[str]:
        """Of a command on the index."""
        where = ["--index", self.index, "--url", self.url, "--bundle", "splade-tiny"]
        return [command, str(self.source), *where, "--json", *more]

    def ingest(self, *more: str, code: int = 0, engine: str = "ray") -> dict[str, Any]:
        """The report of a run."""
        arguments = self.arguments("ingest", "--engine", engine, "--dead-letters", str(self.dead_letters), *more)
        return self._json(CliRunner().invoke(main, arguments), code)

    def audit(self, code: int = 0) -> dict[str, Any]:
        """Of the source as it is."""
        return self._json(CliRunner().invoke(main, self.arguments("audit")), code)

    def stored(self) -> int:
        """Documents in the index, 0 while it is not there yet."""
        try:
            self.client.indices.refresh(index=self.index)
            return int(self.client.count(index=self.index)["count"])
        except TransportError:
            return 0

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.dead_letters.read_text("utf-8").splitlines()]

    def _json(self, result: Result, code: int) -> dict[str, Any]:
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])  # Ray may say something late
        return found


@pytest.fixture
def place(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> Place:
    """An empty one."""
    return Place(tmp_path, node.url, client, index_name)


@pytest.fixture(scope="module", autouse=True)
def machines() -> Iterator[Any]:
    """A Ray cluster for all tests of this file: two nodes of one core, both on 127.0.0.1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # or its ports are open to the network
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
        ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def foxes(numbers: range, colour: str = "red") -> list[dict[str, str]]:
    """Short documents."""
    return [{"_id": f"fox {number}", "text": f"The {colour} fox runs over hill {number}."} for number in numbers]


class Killer(Thread):
    """Kills every worker of this process' Ray that is at work, whenever enough more documents are in the index.

    Args:
        place: Whose index.
        times: How often.
        step: Documents between two kills.
    """

    def __init__(self, place: Place, times: int, step: int) -> None:
        super().__init__(daemon=True)
        self.place, self.times, self.step = place, times, step
        self.killed = 0
        self.stopped = Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()

    def run(self) -> None:
        """Looks twenty times a second."""
        due = self.step
        while not self.stopped.wait(0.05) and self.times:
            if self.place.stored() >= due and (workers := self._workers()):
                for worker in workers:
                    worker.send_signal(signal.SIGKILL)
                self.killed += len(workers)
                self.times -= 1
                due = self.place.stored() + self.step

    def _workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[:1] == ["ray::_Worker.ingest"]:
                    found.append(process)
        return found


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even files of some lines are cut."""
    monkeypatch.setattr(shares, "SMALLEST", 1)


# Runs after runs


@pytest.mark.usefixtures("small_shares")
def test_files_and_workers_may_change_between_runs(place: Place) -> None:
    """What is unchanged is skipped wherever it stands now, what changed is written, also back to what it was."""
    red = foxes(range(30))
    place.write("a.jsonl", *red[:20], "no JSON")
    place.write("b.jsonl", *red[20:], {"_id": "empty", "text": " "})
    report = place.ingest("--workers", "2", code=3)
    assert (report["read"], report["indexed"], report["dead"]) == (32, 30, 2)
    assert sorted(letter["place"].partition("+")[0] for letter in place.letters()) == ["a.jsonl", "b.jsonl"]
    assert len(list(place.ledger.iterdir())) == 16

    # One document moves into another file and changes on the way; files get other names.
    (place.source / "a.jsonl").unlink()
    place.write("b.jsonl", *red[20:], *foxes(range(1), "grey"))
    place.write("c.jsonl", *red[1:20])
    report = place.ingest("--workers", "3")
    assert (report["unchanged"], report["indexed"]) == (29, 1)
    assert place.audit()["clean"]

    # Back again; the local engine goes on with the same ledger.
    place.write("b.jsonl", *red[20:])
    place.write("c.jsonl", *red[:20])
    report = place.ingest(engine="local")
    assert (report["unchanged"], report["indexed"]) == (29, 1)
    assert place.audit()["clean"]


def test_it_goes_on_with_the_ledger_of_one_process(place: Place) -> None:
    """A ledger in one file stays in one file."""
    place.write("a.jsonl", *foxes(range(10)))
    place.ingest(engine="local")
    place.write("a.jsonl", *foxes(range(1), "grey"), *foxes(range(1, 12)))
    report = place.ingest()
    assert (report["unchanged"], report["indexed"]) == (9, 3)
    assert place.ledger.is_file()
    assert place.audit()["clean"]


@pytest.mark.usefixtures("small_shares")
def test_an_id_in_two_files_is_told_with_both_places(place: Place) -> None:
    """One of the two is in the index, the other a dead letter; and whichever is taken away, nothing is stale."""
    versions = {"a.jsonl": foxes(range(1))[0], "b.jsonl": foxes(range(1), "grey")[0]}
    for file, fox in versions.items():
        place.write(file, fox, *foxes(range(*((1, 20) if file == "a.jsonl" else (20, 40)))))
    assert place.ingest("--workers", "2", code=3)["dead"] == 1
    (letter,) = place.letters()
    file, line = letter["place"].split(":")
    (other,) = versions.keys() - {file}
    assert (line, letter["reason"]) == ("1", f"{CAME_BEFORE} It is in {other}.")
    assert letter["record"]["text"] == versions[file]["text"]
    assert place.client.get(index=place.index, id="fox 0")["_source"]["text"] == versions[other]["text"]
    place.write(other, *foxes(range(*((1, 20) if other == "a.jsonl" else (20, 40)))))
    assert place.ingest("--workers", "2")["indexed"] == 1
    assert place.audit()["clean"]


@pytest.mark.usefixtures("small_shares")
def test_query_weights_are_those_of_one_process(place: Place, tmp_path: Path) -> None:
    """Tokens are counted over all shares, unchanged documents included."""
    for file in range(4):
        place.write(f"{file}.jsonl", *foxes(range(file * 10, file * 10 + file + 1), "red" if file else "grey"))
    place.ingest("--query-weights", "idf", "--ledger", str(tmp_path / "local.sqlite"), engine="local")
    expected = IndexMeta.read(place.client, place.index).query_weights
    assert expected is not None
    for unchanged in (0, 10):
        place.client.indices.put_mapping(
            index=place.index,
            body={"_meta": replace(IndexMeta.read(place.client, place.index), query_weights=None).to_json()},
        )
        assert place.ingest("--query-weights", "idf", "--workers", "2")["unchanged"] == unchanged
        assert IndexMeta.read(place.client, place.index).query_weights == expected


# Deaths


def test_workers_that_are_killed_lose_nothing(place: Place) -> None:
    """Ray starts them again, the ledger knows what was acknowledged, and one large file was cut between them."""
    place.write("all.jsonl", *foxes(range(9000)), "no JSON")
    # Three bulk requests are stored before a kill: of two workers' first ones no acknowledgement need have come yet.
    with Killer(place, times=2, step=3000) as killer:
        report = place.ingest("--workers", "2", code=3)
    assert killer.killed >= 2
    assert report["unchanged"] > 0
    assert report["unchanged"] + report["indexed"] == 9000
    assert [letter["record"] for letter in place.letters()] == ["no JSON"]
    assert place.audit()["clean"]


def test_a_share_that_kills_its_workers_ends_the_run(place: Place) -> None:
    """With the remedy, and not for ever."""
    place.write("all.csv", "_id,text", *(",".join(fox.values()) for fox in foxes(range(3000))))  # never cut
    with Killer(place, times=100, step=0):
        arguments = place.arguments("ingest", "--engine", "ray", "--dead-letters", str(place.dead_letters))
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "The worker that reads all.csv died 4 times." in result.stderr
    assert place.ingest()["read"] == 3000
    assert place.audit()["clean"]


INTERRUPTED = 6000


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_ends_every_process(place: Place, ending: signal.Signals) -> None:
    """Interrupted from the keyboard, which reaches the whole group, or killed alone; the next run goes on."""
    place.write("all.jsonl", *foxes(range(INTERRUPTED)))
    arguments = place.arguments("ingest", "--engine", "ray", "--workers", "2")
    arguments += ["--dead-letters", str(place.dead_letters)]
    program = "from opensearch_splade.cli.main import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as running:
        while place.stored() < 500:
            assert running.poll() is None
            time.sleep(0.1)
        children = psutil.Process(running.pid).children(recursive=True)
        assert any(child.cmdline()[:1] == ["ray::_Worker.ingest"] for child in children)
        named = [one for one in children if one.name() in {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}]
        if ending == signal.SIGINT:
            os.killpg(running.pid, ending)
        else:
            running.kill()
        _, error = running.communicate(timeout=60)
    if ending == signal.SIGINT:
        assert running.returncode == 1
        assert "Interrupted. Run the same command again to go on" in error
    # Ray's own agents need not notice that their node was killed.
    agents = [one for one in children if one in named and ending == signal.SIGKILL]
    assert not psutil.wait_procs([one for one in children if one not in agents], timeout=30)[1]
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()
    report = place.ingest("--workers", "1")
    assert 0 < report["unchanged"] < INTERRUPTED
    assert report["unchanged"] + report["indexed"] == INTERRUPTED
    assert place.audit()["clean"]


# Refusals


def test_what_cannot_run_on_ray_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, with the remedy."""
    place.write("a.jsonl", *foxes(range(3)))

    def error(*more: str, source: str = "", code: int = 1) -> str:
        arguments = place.arguments("ingest", "--engine", "ray", "--dead-letters", str(place.dead_letters), *more)
        arguments[1] = source or arguments[1]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == code, result.output
        return " ".join(result.stderr.split())

    assert "--no-ledger" in error("--no-ledger", code=2)
    assert "--engine ray shares files among its workers, and pydoc: has none" in error(source="pydoc:")
    assert "asks for GPUs and the Ray cluster has none" in error("--device", "cuda")
    assert "Ray chooses the GPUs" in error("--device", "cuda:1")
    assert not place.client.indices.exists(index=place.index)
    with LedgerShards(place.ledger):
        assert "Another run uses the ledger" in error()
    place.write("b.jsonl.gz", "no gzip")
    assert "b.jsonl.gz cannot be read to its end" in error()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "ray is not installed. To install: pip install 'opensearch-splade[ray]'" in error()


def test_a_machine_that_is_lost_loses_nothing(place: Place, machines: Any) -> None:
    """While Ray has not noticed yet, and though no other machine comes. The last test: the cluster stays broken."""
    place.write("all.jsonl", *foxes(range(4000)))
    (second,) = machines.worker_nodes

    def lose() -> None:
        while place.stored() < 500:
            time.sleep(0.05)
        machines.remove_node(second, allow_graceful=False)

    losing = Thread(target=lose, daemon=True)
    losing.start()
    report = place.ingest("--workers", "2")
    losing.join()
    assert report["unchanged"] + report["indexed"] == 4000
    assert place.audit()["clean"]
