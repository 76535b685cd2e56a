"""Runs after runs on the real node: what is unchanged is skipped, what changed is written, what failed is retried."""

from __future__ import annotations

import json
import subprocess
import sys
from math import log
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.dead_letters import CAME_BEFORE, DeadLetter, DeadLetterFile
from opensearch_splade.ingest.ledger import Ledger
from opensearch_splade.ingest.retried_letters import RetriedLetters
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.plugin.scan import Stored, scan
from opensearch_splade.types import Document

FOX = {"_id": "fox", "text": "A fox runs over the hill."}
DOG = {"_id": "dog", "title": "Dog", "text": "The dog sleeps by the fire.", "year": 1999}
CAT = {"_id": "cat", "text": "A cat."}
TOO_MUCH = {"_id": "huge", "text": "A fox.", "page": "x" * 40_000}
"""Refused by the server: a term of its metadata is too long."""


class Place:
    """A source, its dead letters and ledger, and an index of one's own."""

    def __init__(self, folder: Path, url: str, client: OpenSearch, index: str) -> None:
        self.folder, self.url, self.client, self.index = folder, url, client, index
        self.source, self.dead_letters = folder / "corpus.jsonl", folder / "dead.jsonl"
        self.ledger = folder / f"osplade-ledger-{index}.sqlite"

    def write(self, *records: dict[str, Any]) -> None:
        """The source's lines."""
        self.source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

    def call(self, command: str, *arguments: str) -> Result:
        """A command on the index."""
        where = ["--index", self.index, "--url", self.url, "--bundle", "splade-tiny"]
        return CliRunner().invoke(main, [command, *arguments, *where])

    def ingest(self, *records: dict[str, Any], more: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
        """The report of a run on these documents."""
        self.write(*records)
        arguments = [str(self.source), "--dead-letters", str(self.dead_letters), "--json", *more]
        return self._json(self.call("ingest", *arguments), code)

    def retry(self, code: int = 0) -> dict[str, Any]:
        """The report of a run on the dead letters."""
        return self._json(self.call("ingest", "--retry-dead-letters", str(self.dead_letters), "--json"), code)

    def audit(self, code: int = 0) -> dict[str, Any]:
        """Of the source as it was written last."""
        return self._json(self.call("audit", str(self.source), "--json"), code)

    def _json(self, result: Result, code: int) -> dict[str, Any]:
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def versions(self) -> dict[str, int]:
        """How often each document was written."""
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, body={"size": 100, "version": True})["hits"]["hits"]
        return {hit["_id"]: hit["_version"] for hit in hits}

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.dead_letters.read_text("utf-8").splitlines()]


@pytest.fixture
def place(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> Place:
    """An empty one."""
    return Place(tmp_path, node.url, client, index_name)


# Skipping


@pytest.mark.server
def test_only_what_is_new_or_changed_is_written(place: Place) -> None:
    """Unchanged documents are neither encoded nor sent; the report counts them, and the audit agrees."""
    assert place.ingest(FOX, DOG)["indexed"] == 2
    changed = {**DOG, "year": 2000}
    report = place.ingest(CAT, FOX, changed)
    assert {name: report[name] for name in ("read", "unchanged", "indexed", "dead")} == {
        "read": 3,
        "unchanged": 1,
        "indexed": 2,
        "dead": 0,
    }
    assert place.versions() == {"fox": 1, "dog": 2, "cat": 1}
    assert place.audit()["clean"]
    assert place.call("ingest", str(place.source), "--dead-letters", str(place.dead_letters)).stdout == (
        f"3 documents in '{place.index}', 3 of them unchanged\n"
    )


@pytest.mark.server
def test_the_ledger_can_be_ignored_and_left_out(place: Place) -> None:
    """`--again` writes all and notes it; `--no-ledger` writes all, and no ledger trusts itself after that."""
    place.ingest(FOX, DOG)
    assert place.ingest(FOX, DOG, more=("--again",))["indexed"] == 2
    assert place.ingest(FOX, DOG)["unchanged"] == 2
    assert place.ingest({**FOX, "text": "Other."}, DOG, more=("--no-ledger",))["indexed"] == 2
    assert IndexMeta.read(place.client, place.index).ledger is None
    assert place.ingest(FOX, DOG)["indexed"] == 2
    assert place.audit()["clean"]
    elsewhere = ("--ledger", str(place.folder / "another.sqlite"))
    assert place.ingest({**FOX, "text": "Other."}, DOG, more=elsewhere)["indexed"] == 2
    assert place.ingest(FOX, DOG)["indexed"] == 2
    assert place.audit()["clean"]


@pytest.mark.server
def test_an_index_that_was_made_anew_is_filled_anew(place: Place) -> None:
    """So is one that lost documents."""
    place.ingest(FOX, DOG)
    place.client.indices.delete(index=place.index)
    assert place.ingest(FOX, DOG)["indexed"] == 2
    place.client.delete(index=place.index, id="fox")
    result = place.call("ingest", str(place.source), "--dead-letters", str(place.dead_letters))
    assert "begins anew, since the index holds 1 documents, fewer than the 2 acknowledged" in " ".join(
        result.stderr.split()
    )
    assert place.audit()["clean"]


@pytest.mark.server
def test_an_index_of_an_older_version_gets_the_field(place: Place) -> None:
    """It had no content hashes and its mapping is strict; all documents get theirs."""
    place.ingest(FOX)
    mapping = place.client.indices.get_mapping(index=place.index)[place.index]["mappings"]
    place.client.indices.delete(index=place.index)
    del mapping["properties"]["hash"], mapping["_meta"]["opensearch_splade"]["ledger"]
    place.client.indices.create(index=place.index, body={"mappings": mapping})
    marker = SparseEncoder.load("splade-tiny").fingerprint
    old = {"id": "fox", "text": FOX["text"], "encoded": [marker]}
    place.client.index(index=place.index, id="fox", body=old, params={"refresh": "true"})
    assert place.audit(code=3)["counts"]["stale_hash"] == 1
    assert place.ingest(FOX)["indexed"] == 1
    assert place.audit()["clean"]


@pytest.mark.server
def test_query_weights_are_counted_over_unchanged_documents_too(place: Place) -> None:
    """The table is that of the whole source, however little of it was encoded."""
    place.ingest(FOX, DOG)
    report = place.ingest(FOX, DOG, CAT, more=("--query-weights", "idf"))
    assert (report["unchanged"], report["indexed"]) == (2, 1)
    weights = IndexMeta.read(place.client, place.index).query_weights
    assert weights is not None
    table = load_query_weights(place.client, weights)
    place.client.delete(index=weights.index, id=weights.id)
    assert table["fox"] == round(log(1 + (3 - 1 + 0.5) / (1 + 0.5)), 4)
    assert table["the"] == round(log(1 + (3 - 2 + 0.5) / (2 + 0.5)), 4)


@pytest.mark.server
def test_two_runs_on_one_ledger_refuse_each_other(place: Place) -> None:
    """The second says why and changes nothing."""
    place.ingest(FOX)
    place.write(FOX, DOG)
    with Ledger(place.ledger):
        result = place.call("ingest", str(place.source), "--dead-letters", str(place.dead_letters))
    assert result.exit_code == 1
    assert "Error: Another run uses the ledger" in result.stderr
    assert place.versions() == {"fox": 1}


# Dead letters


@pytest.mark.server
def test_dead_letters_are_retried(place: Place) -> None:
    """What is indexed leaves the file, what fails again stays with its reason, and an empty file is removed."""
    place.ingest(FOX, TOO_MUCH, {"_id": "none"}, code=3)
    place.ingest(FOX, TOO_MUCH, {"_id": "none"}, code=3)
    assert len(place.letters()) == 4
    report = place.retry(code=3)
    assert (report["read"], report["indexed"], report["dead"]) == (2, 0, 2)
    by_id = {letter["id"]: letter for letter in place.letters()}
    assert by_id["huge"]["reason"].startswith("400 ")
    by_id["huge"]["record"]["metadata"]["page"] = "short"
    place.dead_letters.write_text("\n".join(map(json.dumps, by_id.values())), encoding="utf-8")
    assert place.retry(code=3)["indexed"] == 1
    (letter,) = place.letters()
    assert (letter["id"], letter["place"]) == ("none", "corpus.jsonl:3")
    letter["record"]["text"] = "Something."
    place.dead_letters.write_text(json.dumps(letter), encoding="utf-8")
    assert place.retry()["indexed"] == 1
    assert not place.dead_letters.exists()
    assert place.versions() == {"fox": 1, "huge": 1, "none": 1}


@pytest.mark.server
def test_an_old_dead_letter_does_not_replace_a_newer_document(place: Place) -> None:
    """Mended in the source and indexed meanwhile; the letter leaves."""
    place.ingest(FOX, TOO_MUCH, code=3)
    mended = {**TOO_MUCH, "page": "short"}
    place.ingest(FOX, mended)
    letter = place.letters()[0]
    letter["record"]["metadata"]["page"] = "an older version"
    place.dead_letters.write_text(json.dumps(letter), encoding="utf-8")
    report = place.retry()
    assert (report["superseded"], report["indexed"]) == (1, 0)
    assert not place.dead_letters.exists()
    assert place.audit()["clean"]


@pytest.mark.server
def test_a_retry_that_breaks_off_leaves_the_letters(place: Place, tmp_path: Path) -> None:
    """The file is replaced at the end of a whole run only."""
    place.ingest(FOX, TOO_MUCH, code=3)
    before = place.dead_letters.read_bytes()
    place.client.indices.delete(index=place.index)
    other = ["--bundle", "splade-tiny", "--url", "http://127.0.0.1:9", "--index", place.index]
    result = CliRunner().invoke(main, ["ingest", "--retry-dead-letters", str(place.dead_letters), *other])
    assert result.exit_code == 1
    assert place.dead_letters.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".retry"] == []


def letters_of(path: Path, *letters: DeadLetter) -> list[Document | DeadLetter]:
    """What a file of these gives when it is retried."""
    with DeadLetterFile(path) as file:
        for letter in letters:
            file.add(letter)
    with RetriedLetters(path) as retried:
        found = list(retried.records())
        assert len(found) == len(retried)
    return found


def test_of_several_letters_about_a_document_the_last_is_retried(tmp_path: Path) -> None:
    """Each run adds its own."""
    letters = [DeadLetter("a:1", "why", {"_id": "x", "text": f"text {number}"}, "x") for number in range(3)]
    assert letters_of(tmp_path / "dead.jsonl", *letters) == [Document("x", "text 2")]


def test_a_doubled_id_stays_until_it_is_another(tmp_path: Path) -> None:
    """Written, it would replace the document that came first."""
    twins = [DeadLetter(f"a:{line}", CAME_BEFORE, {"_id": "x", "text": f"{line}"}, "x") for line in (2, 3)]
    mended = DeadLetter("a:4", CAME_BEFORE, {"_id": "y", "text": "4"}, "x")
    assert letters_of(tmp_path / "dead.jsonl", *twins, mended) == [*twins, Document("y", "4")]


def test_what_is_no_json_may_be_mended(tmp_path: Path) -> None:
    """A raw line is read again; a line that is no dead letter is kept as one."""
    path = tmp_path / "dead.jsonl"
    path.write_bytes(b'{"text": "half\n')
    broken, bad, good = letters_of(
        path, DeadLetter("a:1", "Not valid JSON.", "{"), DeadLetter("a:2", "Not valid JSON.", '{"_id": 1, "text": "a"}')
    )
    assert broken == DeadLetter("dead.jsonl:1", "The line is no dead letter.", '{"text": "half')
    assert bad == DeadLetter("a:1", "Not valid JSON.", "{")
    assert good == Document("1", "a")


def test_letters_are_not_retried_while_a_run_adds_to_them(tmp_path: Path) -> None:
    """Nor are any lost that come while they are retried."""
    path = tmp_path / "dead.jsonl"
    with DeadLetterFile(path) as file:
        file.add(DeadLetter("a:1", "why", {}, "1"))
        with pytest.raises(SourceError, match="Another run writes to"):
            RetriedLetters(path).__enter__()
    program = f"""
from pathlib import Path
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
with DeadLetterFile(Path({str(path)!r})) as file:
    print("ready", flush=True)
    file.add(DeadLetter("a:2", "why", {{}}, "2"))
"""
    with (
        RetriedLetters(path) as retried,
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with DeadLetterFile(retried.draft) as draft:
            draft.add(DeadLetter("a:1", "why again", {}, "1"))
        retried.keep_the_rest()
        retried.__exit__(None, None, None)
        assert other.wait(30) == 0
    assert [json.loads(line)["reason"] for line in path.read_text("utf-8").splitlines()] == ["why again", "why"]


# Audit


@pytest.mark.server
def test_an_audit_finds_every_difference(place: Place) -> None:
    """Lost, extra, double, another content, another bundle: counts and ids, exit code 3, and a sentence for people."""
    documents = [{"_id": f"d{number}", "text": f"fox {number}"} for number in range(9)]
    place.ingest(*documents)
    assert place.audit()["clean"]
    client, index = place.client, place.index
    client.delete(index=index, id="d0")
    source = client.get(index=index, id="d1")["_source"]
    client.index(index=index, id="d1", body={**source, "hash": "00"})
    client.index(index=index, id="d2", body={**client.get(index=index, id="d2")["_source"], "encoded": ["other"]})
    client.index(index=index, id="twin", body=client.get(index=index, id="d3")["_source"])
    client.index(index=index, id="stranger", body={"text": "no id"})
    client.index(index=index, id="more", body={**source, "id": "more"})
    place.write(*documents, {"_id": "new", "text": "Not there yet."}, {"_id": "none"})
    found = place.audit(code=3)
    assert (found["clean"], found["source"], found["unreadable"], found["stored"]) == (False, 10, 1, 11)
    assert found["counts"] == {
        "lost": 2,
        "extra": 2,
        "duplicate": 1,
        "incomplete": 0,
        "stale_hash": 1,
        "stale_marker": 1,
    }
    assert found["examples"] == {
        "lost": ["d0", "new"],
        "extra": ["(a document without the field id)", "more"],
        "duplicate": ["d3"],
        "incomplete": [],
        "stale_hash": ["d1"],
        "stale_marker": ["d2"],
    }
    said = place.call("audit", str(place.source))
    assert said.exit_code == 3
    assert "2 lost (in the source, not in the index): d0, new" in said.stdout


@pytest.mark.server
def test_an_audit_of_another_bundle_is_refused(place: Place) -> None:
    """Its vectors cannot be those of the index."""
    place.ingest(FOX)
    options = ["--index", place.index, "--url", place.url, "--bundle", "minilm-l6"]
    result = CliRunner().invoke(main, ["audit", str(place.source), *options])
    assert result.exit_code == 1
    assert "holds sparse vectors of bundle 'splade-tiny'" in result.stderr


@pytest.mark.server
def test_a_scan_sees_every_document_once(client: OpenSearch, index_name: str) -> None:
    """Several shards, several segments, pages that do and do not fit, deleted documents between."""
    properties = {name: {"type": "keyword", "index": False} for name in ("id", "hash", "encoded")}
    body = {"settings": {"number_of_shards": 3, "number_of_replicas": 0}, "mappings": {"properties": properties}}
    client.indices.create(index=index_name, body=body)
    for start in range(0, 300, 50):
        lines: list[dict[str, Any]] = []
        for number in range(start, start + 50):
            lines += [{"index": {"_id": str(number)}}, {"id": str(number), "hash": "h", "encoded": ["b", "a"]}]
        client.bulk(body=lines, index=index_name, params={"refresh": "true"})
    client.delete_by_query(index=index_name, body={"query": {"ids": {"values": ["7", "77", "177"]}}})
    expected = sorted(str(number) for number in range(300) if number not in {7, 77, 177})
    for page in (1, 10, 99, 1000):
        found = [one for some in scan(client, index_name, probe(client), page) for one in some]
        assert sorted(one.id for one in found) == expected
        assert found[0] == Stored(found[0].id, "h", frozenset({"a", "b"}))
