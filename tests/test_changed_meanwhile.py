"""An index that someone changes during a run: it stops or waits, says why, and the next run makes all well."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fault_corpus import run_here
from fault_proxy import FaultProxy
from fault_settings import small_and_quick
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.ingest import bulk, sender
from opensearch_splade.ingest import documents as ingest_documents
from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server

COUNT = 200
Change = Callable[["Place"], None]


class Place:
    """A source, an index and a change that happens to it when the third bulk request was answered."""

    def __init__(self, folder: Path, node: str, client: OpenSearch, index: str) -> None:
        self.folder, self.node, self.client, self.index = folder, node, client, index
        self.source, self.dead_letters = folder / "corpus.jsonl", folder / "dead.jsonl"
        self.write("red")

    def write(self, colour: str, *more: dict[str, Any]) -> None:
        """The source: every text has a colour."""
        records = [*({"_id": f"d{number}", "text": f"A {colour} fox {number}."} for number in range(COUNT)), *more]
        self.source.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")

    def ingest(
        self, change: Change | None = None, ledger: str = "ledger.sqlite", bundle: str = "splade-tiny"
    ) -> Result:
        """A run, during which the change happens."""

        def hook(number: int) -> None:
            if number == 2 and change:
                change(self)

        with FaultProxy(self.node, after=hook) as proxy:
            where = ["--index", self.index, "--url", proxy.url, "--dead-letters", str(self.dead_letters)]
            more = ["--bundle", bundle, "--json", "--ledger", str(self.folder / ledger)]
            return CliRunner().invoke(main, ["ingest", str(self.source), *where, *more])

    def assert_mended(self, indexed: int = COUNT) -> None:
        """By the next run, after which the index holds the source."""
        report = json.loads(self.ingest().stdout)
        assert report["indexed"] == indexed
        assert report["indexed"] + report["unchanged"] == COUNT
        options = ["--index", self.index, "--url", self.node, "--bundle", "splade-tiny", "--json"]
        assert run_here("audit", str(self.source), *options)["clean"]


@pytest.fixture
def place(
    tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.setattr(sender, "BULK_DOCUMENTS", sender.BULK_DOCUMENTS)
    monkeypatch.setattr(sender, "WRITERS", 1)  # a request that is on its way meanwhile may make the index anew
    monkeypatch.setattr(ingest_documents, "SeenIds", ingest_documents.SeenIds)
    monkeypatch.setattr(bulk, "RetryPolicy", bulk.RetryPolicy)
    small_and_quick(20)
    return Place(tmp_path, node.url, client, index_name)


def assert_stopped(result: Result, said: str) -> None:
    """By one clear line."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.stderr
    assert said in " ".join(result.stderr.split())


def delete(place: Place) -> None:
    place.client.indices.delete(index=place.index)


def test_deleted(place: Place) -> None:
    """The server makes it anew with a mapping of its own; what that refuses does not become dead letters."""
    # More features than the server's own mapping takes fields, so it refuses documents sooner or later.
    words = Path(__file__).read_text(encoding="utf-8").split()
    place.write("red", *({"_id": f"w{number}", "text": " ".join(words[number:])} for number in range(0, 400, 4)))
    assert_stopped(place.ingest(delete), "was not made by opensearch-splade")
    assert not place.dead_letters.exists()
    delete(place)
    place.write("red")
    place.assert_mended()


def test_made_anew_by_another_run(place: Place) -> None:
    """What the first run was told is stored is gone with the index, so it does not end well."""

    def remake(place: Place) -> None:
        delete(place)
        other = Place(place.folder, place.node, place.client, place.index)
        assert other.ingest(ledger="other.sqlite").exit_code == 0

    assert_stopped(place.ingest(remake), "was deleted and made anew during the run")
    place.assert_mended()


def test_two_runs_with_two_ledgers(place: Place) -> None:
    """Each may write over what the other's ledger takes for stored: both are told, and neither ledger is believed."""

    def meanwhile(place: Place) -> None:
        texts = place.source.read_bytes()
        place.write("grey")
        assert place.ingest(ledger="other.sqlite").exit_code == 0
        place.source.write_bytes(texts)

    assert_stopped(place.ingest(meanwhile), "was written by another run meanwhile")
    place.write("grey")
    assert json.loads(place.ingest(ledger="other.sqlite").stdout)["indexed"] == COUNT
    place.assert_mended()


def test_its_record_is_changed(place: Place) -> None:
    """Of who encoded it: the run does not end as if all were well."""

    def forge(place: Place) -> None:
        mappings = place.client.indices.get_mapping(index=place.index)[place.index]["mappings"]
        mappings["_meta"]["opensearch_splade"]["sparse"]["fingerprint"] = "0" * 64
        place.client.indices.put_mapping(index=place.index, body={"_meta": mappings["_meta"]})

    result = place.ingest(forge)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    delete(place)
    place.assert_mended()


def test_closed(place: Place) -> None:
    """The run stops, and blames no document."""
    result = place.ingest(lambda place: place.client.indices.close(index=place.index))
    is_closing = "preparing to close. Reopen the index" in " ".join(result.stderr.split())  # the server's words
    assert_stopped(result, "" if is_closing else "is closed: open it")
    assert not place.dead_letters.exists()
    place.client.indices.open(index=place.index)
    place.client.cluster.health(index=place.index, params={"wait_for_status": "yellow"})
    report = json.loads(place.ingest().stdout)
    assert report["indexed"] < COUNT
    place.assert_mended(indexed=0)


def test_blocked_for_a_while(place: Place) -> None:
    """By a disk that is nearly full: the run waits, and goes on when there is room."""
    block = "index.blocks.read_only_allow_delete"

    def lift() -> None:
        place.client.indices.put_settings(index=place.index, body={block: None})

    def fill(place: Place) -> None:
        place.client.indices.put_settings(index=place.index, body={block: True})
        threading.Timer(1, lift).start()

    result = place.ingest(fill)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["retries"] > 0
    assert not place.dead_letters.exists()
    place.assert_mended(indexed=0)
