"""Shares: each record of a source is in exactly one of them, whatever their size."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest import shares
from opensearch_splade.ingest.documents import PLAIN
from opensearch_splade.ingest.files import find_files, read_files
from opensearch_splade.ingest.json_lines import lines_between
from opensearch_splade.ingest.shares import Share, cut
from opensearch_splade.types import Document


def texts(share: Share) -> Iterator[str]:
    """Of a share's documents."""
    for _, record in read_files(share, PLAIN):
        assert isinstance(record, Document)
        yield record.text


@given(st.lists(st.text("ab\r\x85\u2028é", max_size=9)), st.booleans(), st.integers(1, 30))
def test_parts_share_the_lines_of_a_file(lines: list[str], ends: bool, size: int) -> None:
    """In order, each once, also where a part ends at a line's end, within one, or holds no beginning of any."""
    content = "\n".join(lines).encode() + b"\n" * ends
    starts = range(0, max(1, len(content)), size)
    parts = [lines_between(io.BytesIO(content), at, at + size if at + size < len(content) else None) for at in starts]
    assert [line for part in parts for line in part] == list(io.BytesIO(content))


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("form", ["jsonl", "parquet", "jsonl.gz", "csv"])
def test_every_document_is_in_one_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, workers: int
) -> None:
    """In the source's order. Large files are cut where their format can be, small ones go together."""
    monkeypatch.setattr(shares, "SMALLEST", 500)
    wanted = []
    for file, count in enumerate([3, 400, 1, 0, 50, 2]):
        rows = [f"fox {file} {number}" for number in range(count)]
        write(tmp_path / f"{file}.{form}", rows)
        wanted += rows
    found = cut(find_files(str(tmp_path)), workers)
    assert [text for share in found for text in texts(share)] == wanted
    pieces = [piece.path for share in found for piece in share]
    assert (len(pieces) > len(set(pieces))) == (form in {"jsonl", "parquet"})
    assert any(len({piece.path for piece in share}) > 1 for share in found) or form == "parquet"


def write(path: Path, rows: list[str]) -> None:
    """A file of documents in the form that its name says."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        table = pyarrow.table({"text": pyarrow.array(rows, pyarrow.string())})
        parquet.write_table(table, path, row_group_size=20)
    elif path.suffix == ".csv":
        path.write_text("\n".join(["text", *rows]), encoding="utf-8")
    else:
        import gzip

        lines = "".join(json.dumps({"text": row}) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)


def test_places_of_a_cut_file_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are counted from the byte that the name says, rows of a table from its start."""
    monkeypatch.setattr(shares, "SMALLEST", 100)
    rows = [f"fox {number}" for number in range(100)]
    write(tmp_path / "a.jsonl", rows)
    write(tmp_path / "b.parquet", rows)
    content = (tmp_path / "a.jsonl").read_bytes()
    places = {}
    for share in cut(find_files(str(tmp_path / "a.jsonl")), 2):
        for place, record in read_files(share, PLAIN):
            name, _, line = place.partition(":")
            start = int(name.partition("+")[2] or 0)
            first = 0 if content[:start].endswith(b"\n") or not start else 1
            assert isinstance(record, Document)
            assert json.loads(content[start:].splitlines()[first:][int(line) - 1])["text"] == record.text
            places[place] = record.text
    assert len(places) == 100
    tables = cut(find_files(str(tmp_path / "b.parquet")), 2)
    assert len(tables) > 1
    table = [place for share in tables for place, _ in read_files(share, PLAIN)]
    assert table == [f"b.parquet:{row}" for row in range(1, 101)]


def test_a_damaged_table_is_told_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name."""
    monkeypatch.setattr(shares, "SMALLEST", 1)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(SourceError, match=r"a\.parquet cannot be read to its end"):
        cut(find_files(str(tmp_path / "a.parquet")), 1)
