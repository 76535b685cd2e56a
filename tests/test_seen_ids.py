"""Seen ids: the same answers as a set of all ids, at any size."""

from __future__ import annotations

import errno
import os
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest import seen_ids
from opensearch_splade.ingest.seen_ids import SeenIds


@given(st.lists(st.text(max_size=3)))
def test_it_answers_as_a_set_does(ids: list[str]) -> None:
    """From a table of two places on, so that it grows again and again."""
    known: set[str] = set()
    with SeenIds(bits=1) as seen:
        for one in ids:
            assert seen.add(one) == (one not in known)
            known.add(one)


def test_nothing_is_forgotten_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many passes whose parts end amid full places."""
    monkeypatch.setattr(seen_ids, "_PASS", 64 * 16)
    ids = [f"doc-{number}" for number in range(20_000)]
    with SeenIds(bits=2) as seen:
        assert all(map(seen.add, ids))
        random.Random(1).shuffle(ids)  # noqa: S311 - not for secrets
        assert not any(map(seen.add, ids))


def test_ids_that_share_a_home_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that begin alike all stand behind one place, the last one of the table; the file grows behind its end."""

    class Alike:
        def __init__(self, id_: bytes, digest_size: int) -> None:
            self._id, self._size = id_, digest_size

        def digest(self) -> bytes:
            return b"\xff" * 8 + self._id.rjust(self._size - 8, b"\1")

    monkeypatch.setattr(seen_ids.hashlib, "blake2b", Alike)
    ids = [str(number) for number in range(100)]
    with SeenIds(bits=2) as seen:
        assert all(map(seen.add, ids))
        assert not any(map(seen.add, ids))


def test_a_full_disk_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where the file lies and how to name another place."""

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with SeenIds() as seen:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(SourceError, match=r"No space left on device.*name another place with TMPDIR"):
            seen.add("a")
