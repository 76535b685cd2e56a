"""The ledger: no row that is wrong, whatever happens to the process, the file, the disk or the index."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import DocumentError, LedgerError
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.ledger import Entry, Ledger, Target
from opensearch_splade.types import Document

BOOKS = Target("cluster", "books", "u1")


def entry(id_: str, content: int = 0) -> Entry:
    """A document with one of several contents."""
    return Entry(id_, f"{content:032x}")


def opened(path: Path, stored: int = 1_000_000) -> Ledger:
    """A ledger of the index that knows it."""
    ledger = Ledger(path)
    assert ledger.claim(BOOKS, noted=ledger.name, stored=stored) == ""
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger lies."""
    return tmp_path / "ledger.sqlite"


# Contents


@given(st.dictionaries(st.text(), st.integers(0, 9), max_size=5), st.text(), st.text())
def test_the_hash_is_that_of_the_content(metadata: dict[str, int], title: str, text: str) -> None:
    """Neither the id nor the order of metadata matters; every other change does."""
    one = Document("1", text, title, metadata)
    assert content_hash(one) == content_hash(Document("2", text, title, dict(reversed(metadata.items()))))
    others = [Document("1", text + "a", title, metadata), Document("1", text, title, {**metadata, "x": 10})]
    others.append(Document("1", text, title + "a", metadata))
    assert len({content_hash(other) for other in (one, *others)}) == 4
    assert len(bytes.fromhex(content_hash(one))) == 16


def test_title_and_text_do_not_flow_together() -> None:
    """The canonical form keeps its parts apart."""
    assert content_hash(Document("1", "ab", "")) != content_hash(Document("1", "b", "a"))
    with pytest.raises(DocumentError, match="cannot be written as JSON"):
        content_hash(Document("1", "a", "", {"big": 2**70}))


# What is known

_steps = st.lists(
    st.tuples(st.sampled_from(["acknowledge", "forget", "reopen"]), st.text(max_size=2), st.integers(0, 2)),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(_steps, st.sampled_from(["m1", "m2"]))
def test_it_knows_what_was_acknowledged_last(steps: list[tuple[str, str, int]], marker: str) -> None:
    """Like a dictionary that outlives its process; ids may be any unicode."""
    model: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        ledger = opened(Path(folder) / "ledger.sqlite")
        for step, id_, content in steps:
            if step == "acknowledge":
                ledger.acknowledge([entry(id_, content)], marker)
                model[id_] = content
            elif step == "forget" and id_ in model:
                ledger.forget([id_])
                del model[id_]
            elif step == "reopen":
                ledger.close()
                ledger = opened(Path(folder) / "ledger.sqlite")
        asked = [entry(id_) for id_ in {*model, "other"}]
        known = ledger.look_up(asked, marker)
        assert known.unchanged == {id_ for id_, content in model.items() if content == 0}
        assert known.changed == {id_ for id_, content in model.items() if content}
        assert ledger.look_up(asked, "other marker").changed == set(model)
        assert ledger.documents == len(model)
        ledger.close()


def test_many_ids_are_asked_at_once(path: Path) -> None:
    """More than fit into one statement."""
    with opened(path) as ledger:
        ledger.acknowledge([entry(str(number), number % 2) for number in range(5000)], "m")
        ledger.acknowledge([entry(str(number), number % 2) for number in range(4000, 6000)], "m")
        known = ledger.look_up([entry(str(number)) for number in range(7000)], "m")
        assert len(known.unchanged) == len(known.changed) == 3000
        assert ledger.documents == 6000


# Which index it is


@pytest.mark.parametrize(
    ("target", "noted", "stored", "why"),
    [
        (BOOKS, "", 9, "the index was written without this ledger"),
        (BOOKS, "another", 9, "the index was written without this ledger"),
        (BOOKS._replace(uuid="u2"), None, 9, "the index was made anew"),
        (BOOKS, None, 1, "the index holds 1 documents, fewer than the 2 acknowledged"),
        (BOOKS, None, 2, ""),
        (BOOKS, None, 9, ""),
    ],
)
def test_it_begins_anew_where_it_might_be_wrong(
    path: Path, target: Target, noted: str | None, stored: int, why: str
) -> None:
    """And says why; and after that it goes on."""
    with opened(path) as ledger:
        ledger.acknowledge([entry("1"), entry("2")], "m")
    with Ledger(path) as ledger:
        assert ledger.claim(target, noted=ledger.name if noted is None else noted, stored=stored) == why
        assert ledger.documents == (0 if why else 2)
        assert ledger.look_up([entry("1")], "m").unchanged == (set() if why else {"1"})
        assert ledger.claim(target, noted=ledger.name, stored=stored) == ""


@pytest.mark.parametrize(
    ("target", "place"),
    [(BOOKS._replace(name="films"), "index 'books':"), (BOOKS._replace(cluster="c2"), "on another")],
)
def test_it_is_not_used_for_another_index(path: Path, target: Target, place: str) -> None:
    """The ledger of another index is refused and stays as it is."""
    with opened(path) as ledger:
        ledger.acknowledge([entry("1")], "m")
        with pytest.raises(LedgerError, match=f"{place}.*--ledger"):
            ledger.claim(target, noted=ledger.name, stored=9)
        assert ledger.documents == 1


# One run at a time


def test_a_second_run_is_refused(path: Path) -> None:
    """In the same process and in another; when the first ends, the next may begin."""
    program = (
        f"from pathlib import Path; from opensearch_splade.ingest.ledger import Ledger; Ledger(Path({str(path)!r}))"
    )
    with opened(path):
        with pytest.raises(LedgerError, match=r"Another run uses the ledger .*: wait for its end"):
            Ledger(path)
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "LedgerError: Another run uses" in other.stderr
    with opened(path):
        pass


def test_a_killed_run_leaves_no_lock_and_no_doubt(path: Path) -> None:
    """What it acknowledged is there, what it had not finished is not."""
    program = """
import os, signal, sys
from pathlib import Path
from opensearch_splade.ingest.ledger import Entry, Ledger, Target
ledger = Ledger(Path(sys.argv[1]))
ledger.claim(Target("cluster", "books", "u1"), noted=ledger.name, stored=0)
ledger.acknowledge([Entry("1", "00" * 16), Entry("2", "00" * 16)], "m")
ledger.forget(["2"])
ledger._database.execute("BEGIN")
ledger._database.execute("DELETE FROM acknowledged")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -signal.SIGKILL
    with opened(path) as ledger:
        assert ledger.look_up([entry("1"), entry("2")], "m") == ({"1"}, set())
        assert ledger.documents == 1


# Damage


def test_a_torn_journal_is_cut_at_its_last_whole_transaction(path: Path) -> None:
    """Bytes at the end of the journal that never reached the disk: earlier transactions stay, nothing is invented."""
    with opened(path) as ledger:
        ledger.acknowledge([entry("1")], "m")
        copy = path.with_name("copy.sqlite")
        journal = Path(f"{path}-wal").read_bytes()
        ledger.acknowledge([entry("2")], "m")
        whole = Path(f"{path}-wal").read_bytes()
        for end in range(len(journal), len(whole) + 1, 997):
            copy.write_bytes(path.read_bytes())
            Path(f"{copy}-wal").write_bytes(whole[:end] + b"\x00" * 50)
            with Ledger(copy) as torn:
                found = torn.look_up([entry("1"), entry("2")], "m").unchanged
                assert "1" in found
                assert torn.documents == len(found)


@pytest.mark.parametrize("where", ["header", "middle", "cut"])
def test_a_damaged_file_is_told(path: Path, where: str) -> None:
    """With the remedy, before anything is sent."""
    with opened(path) as ledger:
        ledger.acknowledge([entry(f"{number:040}") for number in range(5000)], "m")
    content = bytearray(path.read_bytes())
    if where == "cut":
        del content[len(content) // 2 :]
    else:
        start = 0 if where == "header" else len(content) // 2
        content[start : start + 8192] = b"\xa5" * 8192
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"is damaged .*: delete it and run the same command again"):
        Ledger(path)


@pytest.mark.parametrize("kind", ["text", "another database", "another version", "folder"])
def test_what_is_no_ledger_is_left_alone(path: Path, kind: str) -> None:
    """Another file is refused, not overwritten."""
    if kind == "text":
        path.write_text("My diary. " * 1000, encoding="utf-8")
    elif kind == "folder":
        path.mkdir()
    elif kind == "another version":
        Ledger(path).close()
    if kind.startswith("another"):
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE diary (day)")
        database.execute("PRAGMA user_version=99")
        database.close()
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LedgerError, match=r"is damaged|no ledger of this one|cannot be written"):
        Ledger(path)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path) -> None:
    """The transaction as a whole is not there, and all before it is."""
    with opened(path) as ledger:
        ledger.acknowledge([entry("1")], "m")
        (pages,) = ledger._database.execute("PRAGMA page_count").fetchone()
        ledger._database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(LedgerError, match=r"cannot be written .*full.*make room"):
            ledger.acknowledge([entry(f"{number:0400}") for number in range(1000)], "m")
        assert ledger.documents == 1
        assert ledger.look_up([entry("1")], "m").unchanged == {"1"}
    with opened(path) as ledger:
        assert ledger.documents == 1
