"""A ledger in shards: what holds of one file holds of sixteen, also where a claim breaks off or a file is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import LedgerError
from opensearch_splade.ingest.ledger import Entry, Ledger, Target
from opensearch_splade.ingest.ledger_shards import SHARDS, LedgerShards, by_share, id_key

BOOKS = Target("cluster", "books", "u1")
ENTRIES = [Entry(f"book {number}", f"{number:032x}") for number in range(200)]
IDS = {entry.id for entry in ENTRIES}


def filled(path: Path) -> str:
    """A claimed ledger with all entries, and its name."""
    with LedgerShards(path) as ledger:
        assert ledger.claim(BOOKS, noted="", stored=0) == ""
        ledger.acknowledge(ENTRIES, "m")
        assert ledger.documents == len(ENTRIES)
        return ledger.name


def known(path: Path, noted: str, stored: int = len(ENTRIES), target: Target = BOOKS) -> tuple[str, set[str]]:
    """Why it begins anew, and what it holds then."""
    with LedgerShards(path) as ledger:
        why = ledger.claim(target, noted=noted, stored=stored)
        return why, ledger.look_up(ENTRIES, "m").unchanged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger lies."""
    return tmp_path / "made" / "ledger.sqlite"


def test_rows_lie_where_their_ids_say(path: Path) -> None:
    """Whoever opens one part of the shards finds exactly the rows of its ids; all shards hold some."""
    filled(path)
    for count in (1, 2, 16):
        parts = by_share(((entry.id, entry) for entry in ENTRIES), count)
        for part in range(count):
            with LedgerShards(path, (part, count)) as ledger:
                assert ledger.look_up(parts[part], "m").unchanged == {entry.id for entry in parts[part]}
                ledger.forget([parts[part][0].id])
                assert ledger.look_up(parts[part][:1], "m") == (set(), set())
                assert ledger.look_up(parts[part], "other").changed == {entry.id for entry in parts[part][1:]}
                ledger.acknowledge(parts[part][:1], "m")
    assert len([*path.glob("*.sqlite")]) == SHARDS


@given(st.text())
def test_an_id_lies_in_the_same_shard_for_ever(id_: str) -> None:
    """64 bits, and those of one id are written down here: another function would look in other files."""
    assert 0 <= id_key(id_) < 2**64
    assert id_key("book 1") == 0x1DF2A98E9FA0D412
    assert SHARDS == 16


def test_a_ledger_in_one_file_is_one_shard(tmp_path: Path) -> None:
    """It stays as it is, and both classes read it."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.claim(BOOKS, noted="", stored=0)
        ledger.acknowledge(ENTRIES, "m")
        name = ledger.name
    assert known(path, name) == ("", IDS)
    with Ledger(path) as ledger:
        assert ledger.claim(BOOKS, noted=name, stored=len(ENTRIES)) == ""
        assert ledger.documents == len(ENTRIES)


def test_the_count_is_that_of_all(path: Path) -> None:
    """One document fewer than all shards acknowledged together: all begin anew, under another name."""
    name = filled(path)
    assert known(path, name) == ("", IDS)
    why, rows = known(path, name, stored=len(ENTRIES) - 1)
    assert why == "the index holds 199 documents, fewer than the 200 acknowledged"
    assert rows == set()
    with LedgerShards(path) as ledger:
        assert ledger.name != name


@pytest.mark.parametrize(
    ("noted", "target", "why"),
    [("another", BOOKS, "without this ledger"), (None, BOOKS._replace(uuid="u2"), "made anew")],
)
def test_it_begins_anew_as_a_whole(path: Path, noted: str | None, target: Target, why: str) -> None:
    """Where the index is another one or was written past it."""
    name = filled(path)
    said, rows = known(path, name if noted is None else noted, target=target)
    assert why in said
    assert rows == set()


def test_another_index_is_refused(path: Path) -> None:
    """And nothing is lost by that, though the other index holds fewer documents."""
    name = filled(path)
    with pytest.raises(LedgerError, match="is that of index 'books'"):
        known(path, name, stored=0, target=BOOKS._replace(name="films"))
    assert known(path, name) == ("", IDS)


@pytest.mark.parametrize("broken_after", [0, 7, 14])
def test_a_claim_that_breaks_off_is_finished_by_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch, broken_after: int
) -> None:
    """Some shards were emptied, so the index holds enough for the rest: it must not be trusted all the same."""
    name = filled(path)
    begin_anew, done = Ledger.begin_anew, list[Ledger]()

    def breaking(ledger: Ledger, new: str) -> None:
        if len(done) > broken_after:
            raise KeyboardInterrupt
        begin_anew(ledger, new)
        done.append(ledger)

    monkeypatch.setattr(Ledger, "begin_anew", breaking)
    with pytest.raises(KeyboardInterrupt):
        known(path, name, stored=len(ENTRIES) - 1)
    monkeypatch.undo()
    assert known(path, name, stored=len(ENTRIES) - 1)[1] == set()


def test_a_lost_or_foreign_shard_is_encoded_again(path: Path, tmp_path: Path) -> None:
    """The others are trusted; a shard of another ledger is not, though it is of the same index."""
    name = filled(path)
    with LedgerShards(path, (3, 16)) as shard:
        third = {id_ for id_ in IDS if id_key(id_) % SHARDS == 3}
        assert shard.documents == len(third) > 0
    (path / "03.sqlite").unlink()
    assert known(path, name) == ("", IDS - third)
    filled(tmp_path / "other")
    (path / "03.sqlite").write_bytes((tmp_path / "other" / "03.sqlite").read_bytes())
    assert known(path, name)[1] == IDS - third


def test_two_runs_never_hold_one_shard(path: Path) -> None:
    """What was opened before the refusal is given back."""
    with LedgerShards(path, (5, 16)), pytest.raises(LedgerError, match=r"Another run uses the ledger .*05.sqlite"):
        LedgerShards(path)
    filled(path)
    path.with_name("text").write_text("no folder", encoding="utf-8")
    with pytest.raises(LedgerError, match="cannot be written"):
        LedgerShards(path.with_name("text") / "ledger")
