"""Files as sources: the same documents from every format, place and packing; what is no document stops nothing."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import orjson
import pyarrow as pa
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from pyarrow import feather, ipc, parquet

from opensearch_splade.cli.main import main
from opensearch_splade.errors import DocumentError, MissingExtraError, OspladeError, SourceError
from opensearch_splade.ingest import arrow_tables, csv_tables
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.documents import to_document
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import count_records, read_source, shown
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Document

Row = dict[str, str]
ROWS: list[Row] = [
    {"_id": "fox", "title": "The fox", "text": "A fox, running over the hill.\nAnd “back”.", "lang": "en"},
    {"_id": "dog", "title": "", "text": 'The "dog" sleeps\tby the fire 🦊', "lang": "en"},
    {"_id": "Fuchs", "title": "Fuchs", "text": "Der Fuchs schläft.\r\n", "lang": "de"},
]
DOCUMENTS = [Document(row["_id"], row["text"], row["title"], {"lang": row["lang"]}) for row in ROWS]


def as_lines(rows: list[Row]) -> bytes:
    """JSON lines."""
    return b"\n".join(map(orjson.dumps, rows))


def as_csv(rows: list[Row], delimiter: str = ",") -> bytes:
    """CSV, as Python writes it."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_tsv(rows: list[Row]) -> bytes:
    """The same with tabs."""
    return as_csv(rows, "\t")


def as_parquet(rows: list[Row]) -> bytes:
    """Parquet, two rows a group."""
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue()


def as_feather(rows: list[Row]) -> bytes:
    """Arrow's file format, compressed."""
    sink = io.BytesIO()
    feather.write_feather(pa.Table.from_pylist(rows), sink, compression="zstd")
    return sink.getvalue()


def as_arrow_stream(rows: list[Row]) -> bytes:
    """Arrow's stream format."""
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {
    "rows.jsonl": as_lines,
    "rows.csv": as_csv,
    "rows.tsv": as_tsv,
    "rows.parquet": as_parquet,
    "rows.feather": as_feather,
    "rows.arrow": as_arrow_stream,
}
PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
FILES: dict[str, bytes] = {name: written(ROWS) for name, written in FORMATS.items()} | {
    name + ending: pack(FORMATS[name](ROWS))
    for name in ("rows.jsonl", "rows.csv", "rows.tsv")
    for ending, pack in PACKED.items()
}


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder of a store that fsspec reaches."""
    yield "memory://bucket/deep"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def put(url: str, content: bytes) -> str:
    """Writes a file into the store."""
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


# Formats, places and packings


@pytest.mark.parametrize("name", FILES)
def test_the_same_documents_from_every_format(tmp_path: Path, bucket: str, name: str) -> None:
    """On the disk and behind a URL, alone, in a folder and by a glob."""
    (tmp_path / name).write_bytes(FILES[name])
    put(f"{bucket}/{name}", FILES[name])
    for source in (str(tmp_path / name), str(tmp_path), f"{tmp_path}/r*", f"{bucket}/{name}", bucket, f"{bucket}/*"):
        assert list(read_source(source)) == DOCUMENTS, source


@pytest.mark.parametrize("name", FORMATS)
def test_several_files_in_sorted_order(tmp_path: Path, bucket: str, name: str) -> None:
    """A folder or a glob is one source: an id counts once in all of it, and places name the file."""
    for number, row in zip((10, 9, 11), ROWS, strict=True):
        (tmp_path / f"{number:03}-{name}").write_bytes(FORMATS[name]([row]))
        put(f"{bucket}/{number:03}-{name}", FORMATS[name]([row]))
    (tmp_path / f"012-{name}").write_bytes(FORMATS[name]([ROWS[0], {**ROWS[1], "text": "", "_id": "x"}]))
    (tmp_path / f"._000-{name}").write_bytes(b"what some systems leave beside")
    order = [DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[2]]
    assert list(read_source(bucket)) == order
    records = list(read_source(str(tmp_path)))
    assert records[:3] == order
    lines = name.endswith((".csv", ".tsv"))  # the header is a line, and the fox' text has two
    letters = [(one.place, one.reason) for one in records[3:] if isinstance(one, DeadLetter)]
    assert letters == [
        (f"012-{name}:{2 if lines else 1}", "This id came before in the same source."),
        (f"012-{name}:{4 if lines else 2}", "No text: neither 'text' nor 'title' holds a word."),
    ]


def test_globs_reach_into_folders(tmp_path: Path) -> None:
    """And places tell files of one name apart."""
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jsonl").write_bytes(b"nonsense\n")
    places = [record.place for record in read_source(f"{tmp_path}/**/*.jsonl") if isinstance(record, DeadLetter)]
    assert places == ["a/x.jsonl:1", "b/c/x.jsonl:1"]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_a_beir_folder(tmp_path: Path, bucket: str, packing: str) -> None:
    """Its corpus alone is read, here and behind a URL."""
    content = PACKED.get(packing, bytes)(as_lines(ROWS))
    (tmp_path / "qrels").mkdir()
    (tmp_path / f"corpus.jsonl{packing}").write_bytes(content)
    put(f"{bucket}/corpus.jsonl{packing}", content)
    for name in ("queries.jsonl", "other.parquet"):
        (tmp_path / name).write_bytes(b"{}")
        put(f"{bucket}/{name}", b"{}")
    assert list(read_source(str(tmp_path))) == DOCUMENTS
    assert list(read_source(f"{bucket}/")) == DOCUMENTS


def test_several_frames_of_zstandard(tmp_path: Path) -> None:
    """Files that were put one behind the other, and empty frames, are one file."""
    lines = [line + b"\n" for line in as_lines(ROWS).split(b"\n")]
    (tmp_path / "x.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, [b"", *lines, b""])))
    assert list(read_source(str(tmp_path / "x.jsonl.zst"))) == DOCUMENTS


def test_standard_input_and_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON lines from a pipe, named or not; neither is read to be counted."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_lines(ROWS))))
    assert count_records("-") is None
    assert list(read_source("-")) == DOCUMENTS
    reading, writing = os.pipe()
    os.write(writing, as_lines(ROWS))
    os.close(writing)
    assert count_records(f"/dev/fd/{reading}") is None
    assert list(read_source(f"/dev/fd/{reading}")) == DOCUMENTS
    os.close(reading)


# What cannot be read


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ({}, "no-such.csv", r"There is no source .*no-such\.csv\. Give a \.jsonl, \.csv"),
        ({}, "*.jsonl", r"There is no source .*\*\.jsonl"),
        ({"README.md": b""}, "", r"without corpus\.jsonl or .* and without files that end in \.jsonl, \.ndjson, \.csv"),
        ({"queries.jsonl": b"{}"}, "", "so it is no whole BEIR collection"),
        ({"a.csv": b"", "b.jsonl": b""}, "", r"holds files of several formats \(a\.csv, b\.jsonl\): name those .*glob"),
        ({"x.parquet": b"PAR1 nonsense"}, "x.parquet", r"x\.parquet cannot be read to its end: "),
        ({"x.parquet": as_parquet(ROWS)[:-9]}, "x.parquet", r"x\.parquet cannot be read to its end: "),
        ({"x.feather": b""}, "x.feather", r"x\.feather cannot be read to its end: "),
        ({"x.feather": b"nonsense"}, "x.feather", r"x\.feather cannot be read to its end: "),
        ({"x.feather": b"FEA1" + b"\0" * 30}, "x.feather", "Feather of version 1.*save it as Parquet"),
        ({"x.arrow": as_arrow_stream(ROWS)[:-200]}, "x.arrow", r"x\.arrow cannot be read to its end: "),
        ({"x.parquet.gz": b""}, "x.parquet.gz", r"parquet files cannot be read through \.gz; unpack it first"),
        ({"x.jsonl.zst": b"nonsense"}, "x.jsonl.zst", r"x\.jsonl\.zst cannot be read to its end: "),
        ({"x.csv": b"id,body\n1,x\n"}, "x.csv", r"no column 'text' or 'title'; name .*--text-field.* 'id', 'body'"),
        ({"x.csv": b"text,text\n1,x\n"}, "x.csv", "two columns 'text'; rename one"),
        ({"x.csv": b"te\xff\n1\n"}, "x.csv", "header is not UTF-8; convert the file"),
        ({"x.csv": b'"te"xt\n1\n'}, "x.csv", "x.csv:1: the header is not valid CSV"),
    ],
    ids=str,
)
def test_a_source_that_is_none(tmp_path: Path, files: dict[str, bytes], source: str, message: str) -> None:
    """One sentence says what is wrong with which file, and what to do."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(read_source(str(tmp_path / source)))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".gz", ".zst"))])
def test_a_packed_file_that_is_cut_off(tmp_path: Path, name: str) -> None:
    """It does not pass for one that ends, wherever it was cut."""
    for length in range(1, len(FILES[name])):
        (tmp_path / name).write_bytes(FILES[name][:length])
        with pytest.raises(SourceError, match="cannot be read to its end: "):
            list(read_source(str(tmp_path / name)))


@pytest.mark.parametrize("place", range(0, len(FILES["rows.feather"]), 7))
@pytest.mark.parametrize("name", ["rows.feather", "rows.parquet"])
def test_a_damaged_table_does_not_crash(tmp_path: Path, name: str, place: int) -> None:
    """Whichever byte is changed: documents, dead letters or one error, and no crash of the process."""
    content = bytearray(FILES[name])
    content[place % len(content)] ^= 0xFF
    (tmp_path / name).write_bytes(content)
    with suppress(SourceError):
        list(read_source(str(tmp_path / name)))


@pytest.mark.parametrize("library", ["pyarrow", "zstandard", "fsspec"])
def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """The line that installs it is told."""
    names = {"pyarrow": "rows.parquet", "zstandard": "rows.jsonl.zst", "fsspec": "rows.jsonl"}
    extras = {"pyarrow": "tables", "zstandard": "zstd", "fsspec": "remote"}
    path = tmp_path / names[library]
    path.write_bytes(FILES[names[library]])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'opensearch-splade\[{extras[library]}\]'"):
        list(read_source(f"file://{path}" if library == "fsspec" else str(path)))


def test_a_store_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown protocol, a driver that is missing, and one that breaks off are told alike."""
    with pytest.raises(SourceError, match=r"^nonsense://… cannot be opened: Protocol not known"):
        read_source("nonsense://x/y.jsonl")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SourceError, match=r"^s3://… cannot be opened: Install s3fs"):
        read_source("s3://x/y.jsonl")
    with pytest.raises(SourceError, match=r"There is no source memory://none/y\.jsonl"):
        read_source("memory://none/y.jsonl")
    memory = type(fsspec.filesystem("memory"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the driver's own error")

    with monkeypatch.context() as broken:
        broken.setattr(memory, "isfile", fail)
        with pytest.raises(SourceError, match=r"memory://x/y\.jsonl cannot be looked up: RuntimeError: the driver's"):
            read_source("memory://x/y.jsonl")
    put("memory://broken.jsonl", as_lines(ROWS))
    with monkeypatch.context() as broken:
        broken.setattr("fsspec.implementations.memory.MemoryFile.read", fail)
        with pytest.raises(SourceError, match=r"broken\.jsonl cannot be read to its end: RuntimeError: the driver's"):
            list(read_source("memory://broken.jsonl"))


# Fields


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_other_names(tmp_path: Path, name: str) -> None:
    """Id, title, several texts and what passes through, from every format."""
    row = {"url": "u1", "headline": "h", "abstract": " a ", "body": "b", "text": "t", "year": "1", "_id": "x"}
    blank = {**row, "url": "u2", "abstract": " "}
    nameless = {**row, "url": ""} if name.endswith(("csv", "tsv")) else {key: row[key] for key in row if key != "url"}
    (tmp_path / name).write_bytes(FORMATS[name]([row, blank, nameless]))
    fields = FieldMap("url", "headline", ("abstract", "body"))
    first, second, third = read_source(str(tmp_path / name), fields)
    assert first == Document("u1", " a \n\nb", "h", {"text": "t", "year": "1", "_id": "x"})
    assert isinstance(second, Document)
    assert second.text == "b"
    assert isinstance(third, Document)
    assert len(third.id) == 32
    kept = next(read_source(str(tmp_path / name), FieldMap("url", "headline", ("body",), ("year", "none"))))
    assert kept == Document("u1", "b", "h", {"year": "1"})


def test_a_table_without_the_named_id(tmp_path: Path) -> None:
    """A name that no row has is a slip."""
    (tmp_path / "x.csv").write_bytes(b"id,text\n1,x\n")
    with pytest.raises(SourceError, match=r"x\.csv has no column 'url' for --id-field\. Its columns: 'id', 'text'"):
        list(read_source(str(tmp_path / "x.csv"), FieldMap(id="url")))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: FieldMap(texts=()), "No text field is named"),
        (lambda: FieldMap(texts=("a", "a")), "'a' is named twice"),
        (lambda: FieldMap(id="title"), "'title' is named twice"),
    ],
)
def test_a_field_map_that_cannot_be(made: Callable[[], FieldMap], message: str) -> None:
    """A field has one part."""
    with pytest.raises(OspladeError, match=message):
        made()


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(None, {"a": 1, "b": 2, "c": 3}), (("a",), {"a": 1}), (("metadata",), {"a": 1, "b": 2}), (("c", "x"), {"c": 3})],
)
def test_members_of_metadata(tmp_path: Path, keep: tuple[str, ...] | None, expected: dict[str, int]) -> None:
    """They are fields like others, and `metadata` stands for all of them; in CSV it is an object in a cell."""
    record = {"_id": "1", "text": "x", "metadata": {"a": 1, "b": 2}, "c": 3}
    (tmp_path / "x.jsonl").write_bytes(orjson.dumps(record))
    parquet.write_table(pa.Table.from_pylist([record]), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_bytes(b'_id,text,metadata,c\n1,x,"{""a"": 1, ""b"": 2}",3\n')
    for name in ("x.jsonl", "x.parquet", "x.csv"):
        (document,) = read_source(str(tmp_path / name), FieldMap(keep=keep))
        assert isinstance(document, Document)
        found = {key: int(value) for key, value in document.metadata.items()}
        assert found == expected


@pytest.mark.parametrize(("keep", "metadata"), [(("a",), {"a": 1}), (("metadata",), {"metadata": "words"})])
def test_metadata_that_is_no_object(tmp_path: Path, keep: tuple[str, ...], metadata: dict[str, Any]) -> None:
    """It spoils a document only where all fields pass through."""
    (tmp_path / "x.jsonl").write_bytes(orjson.dumps({"_id": "1", "text": "x", "metadata": "words", "a": 1}))
    (letter,) = read_source(str(tmp_path / "x.jsonl"))
    assert isinstance(letter, DeadLetter)
    assert list(read_source(str(tmp_path / "x.jsonl"), FieldMap(keep=keep))) == [Document("1", "x", "", metadata)]


# Values


def test_values_that_json_lacks(tmp_path: Path) -> None:
    """They become what JSON can say, the same with and without nanoseconds in the batch."""
    values: dict[str, Any] = {
        "day": date(2020, 2, 29),
        "moment": datetime(2020, 2, 29, 12, 30, tzinfo=UTC),
        "span": timedelta(seconds=90),
        "price": Decimal("1.10"),
        "bytes": b"\xff\x00",
        "nan": float("nan"),
        "infinite": float("inf"),
        "uuid": UUID(int=7).bytes,
        "list": [1.5, float("nan")],
        "struct": {"day": date(1, 1, 1), "none": None},
    }
    table = pa.Table.from_pylist([{"_id": b"1", "text": b"x", **values}])
    table = table.append_column("map", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())))
    table = table.append_column("big", pa.array([2**64 - 1], pa.uint64()))
    expected = {
        "day": "2020-02-29",
        "moment": "2020-02-29T12:30:00+00:00",
        "span": 90.0,
        "price": "1.10",
        "bytes": "/wA=",
        "nan": None,
        "infinite": None,
        "uuid": "AAAAAAAAAAAAAAAAAAAABw==",
        "list": [1.5, None],
        "struct": {"day": "0001-01-01", "none": None},
        "map": {"k": 1},
        "big": 2**64 - 1,
    }
    parquet.write_table(table, tmp_path / "x.parquet")
    assert list(read_source(str(tmp_path / "x.parquet"))) == [Document("1", "x", "", expected)]
    fine = table.append_column("fine", pa.array([1], pa.timestamp("ns")))
    fine = fine.append_column("far", pa.array([2**60], pa.timestamp("s")))
    parquet.write_table(fine.drop_columns(["far"]), tmp_path / "x.parquet")
    (document,) = read_source(str(tmp_path / "x.parquet"))
    assert isinstance(document, Document)
    assert document.metadata == {**expected, "fine": "1970-01-01T00:00:00.000000001"}
    feather.write_feather(fine, tmp_path / "x.feather")
    (letter,) = read_source(str(tmp_path / "x.feather"))
    assert isinstance(letter, DeadLetter)
    assert letter.reason.startswith("'far' cannot be read (")


def test_values_that_cannot_be_said(tmp_path: Path) -> None:
    """One such value costs its row only, and none where it is not kept; the letter can be written as JSON."""
    strings = pa.array([b"good", b"bad \xff", b"fine"]).view(pa.string())
    twice = pa.array([[("k", 1), ("k", 2)], [], []], pa.map_(pa.string(), pa.int64()))
    table = pa.table({"id": ["1", "2", "3"], "text": ["a", "b", "c"], "strings": strings, "map": twice})
    feather.write_feather(table, tmp_path / "x.feather")
    first, second, third = read_source(str(tmp_path / "x.feather"))
    assert isinstance(first, DeadLetter)
    assert (first.place, first.reason, first.id) == ("x.feather:1", "'map' holds the key 'k' twice.", "1")
    assert isinstance(second, DeadLetter)
    assert second.reason.startswith("'strings' cannot be read ('utf-8' codec can't decode byte 0xff")
    assert third == Document("3", "c", "", {"strings": "fine", "map": []})
    with DeadLetterFile(tmp_path / "dead.jsonl") as letters:
        letters.add(first)
        letters.add(second)
    assert [json.loads(line)["id"] for line in (tmp_path / "dead.jsonl").read_bytes().splitlines()] == ["1", "2"]
    kept = read_source(str(tmp_path / "x.feather"), FieldMap(id="id", keep=("none",)))
    assert list(kept) == [Document("1", "a"), Document("2", "b"), Document("3", "c")]


def test_texts_of_bytes(tmp_path: Path) -> None:
    """Writers that do not say that strings are strings are understood, if they are UTF-8."""
    parquet.write_table(
        pa.table({"text": ["ä".encode(), b"\xff", b"x"], "id": [b"1", b"2", b"\xff"]}), tmp_path / "x.parquet"
    )
    first, second, third = read_source(str(tmp_path / "x.parquet"))
    assert first == Document("1", "ä")
    assert isinstance(second, DeadLetter)
    assert second.reason == "'text' holds bytes that are not UTF-8 (invalid start byte at byte 0)."
    assert isinstance(third, DeadLetter)
    assert third.reason.startswith("'id' holds bytes that are not UTF-8")


# Rows of CSV


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1,x", "The row has 2 cells and the header 3; quote cells that hold delimiters."),
        (b"1,x,y,z", "The row has 4 cells and the header 3; quote cells that hold delimiters."),
        (b"1,\xff,y", "'text' is not UTF-8."),
        (b"1,x,\xff", "'other' is not UTF-8."),
        (b'1,"x"y,z', "Not valid CSV: ',' expected after '\"'."),
        (b"1,,z", "No text: neither 'text' nor 'title' holds a word."),
        (b"1," + b"x" * 300 + b",z", "Not valid CSV: field larger than field limit (200)."),
    ],
    ids=str,
)
def test_a_row_that_is_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: bytes, reason: str) -> None:
    """It stops nothing; lines count as an editor counts them, also behind a cell of several."""
    before = csv.field_size_limit(200)
    monkeypatch.setattr(csv_tables, "LONGEST_CELL", 200)
    (tmp_path / "x.csv").write_bytes(b'\xef\xbb\xbfid,text,other\n0,"a\nb",c\n\n' + row + b"\n2,b,c\n")
    first, letter, last = read_source(str(tmp_path / "x.csv"))
    csv.field_size_limit(before)
    assert (first.id, last.id) == ("0", "2")
    assert isinstance(letter, DeadLetter)
    assert (letter.place, letter.reason) == ("x.csv:5", reason)
    read = row.decode(errors="replace")
    assert letter.record == (f"{read}\n" if reason.startswith("Not valid CSV") else letter.record)
    assert json.loads(json.dumps(letter.record)) == letter.record


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    """What it swallowed is not taken for a text."""
    (tmp_path / "x.csv").write_bytes(b'id,text\n1,a\n2,"b\n3,c\n')
    first, letter = read_source(str(tmp_path / "x.csv"))
    assert first == Document("1", "a")
    assert isinstance(letter, DeadLetter)
    assert (letter.place, letter.reason) == ("x.csv:3", "Not valid CSV: unexpected end of data.")
    assert letter.record == '2,"b\n3,c\n'


def test_a_column_without_a_name(tmp_path: Path) -> None:
    """Row numbers, as pandas writes them."""
    (tmp_path / "x.csv").write_bytes(b",id,text\n0,1,a\n")
    assert list(read_source(str(tmp_path / "x.csv"))) == [Document("1", "a", "", {"column 1": "0"})]


CELLS = st.fixed_dictionaries({field: st.text() for field in ("_id", "title", "text", "other")})


@settings(deadline=None)
@given(rows=st.lists(CELLS, min_size=1))
def test_any_unicode_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    """From every format: documents with the same texts, or dead letters with their reasons, in the same order."""
    folder = tmp_path_factory.mktemp("any")
    seen = set[str]()
    for name in ("rows.jsonl", "rows.csv", "rows.tsv", "rows.parquet", "rows.feather"):
        (folder / name).write_bytes(FORMATS[name](rows))
        records = list(read_source(str(folder / name)))
        assert len(records) == len(rows)
        seen.clear()
        for row, record in zip(rows, records, strict=True):
            if isinstance(record, DeadLetter):
                assert record.reason.startswith(("No text", "The id", "This id"))
                continue
            assert (record.title, record.text) == (row["title"], row["text"])
            assert record.metadata.get("other", "") == row["other"]
            assert record.id == row["_id"] or (not row["_id"] and len(record.id) == 32)
            assert record.id not in seen
            seen.add(record.id)


# Memory


def test_a_large_parquet_is_streamed(tmp_path: Path) -> None:
    """200,000 rows in two groups: the first come before the second group is read, and Arrow never holds either."""
    count, text = 200_000, "word " * 20
    schema = pa.schema({"_id": pa.string(), "text": pa.string()})
    with parquet.ParquetWriter(tmp_path / "x.parquet", schema, use_dictionary=False, compression="none") as writer:
        for start in (0, count // 2):
            ids = [str(number) for number in range(start, start + count // 2)]
            writer.write_table(pa.table({"_id": ids, "text": [f"{text}{id_}" for id_ in ids]}, schema))
    size = (tmp_path / "x.parquet").stat().st_size
    before, most, found = pa.total_allocated_bytes(), 0, 0
    for number, record in enumerate(read_source(str(tmp_path / "x.parquet"))):
        found += isinstance(record, Document)
        if number % 10_000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert found == count
    assert most < size / 4
    with (tmp_path / "x.parquet").open("r+b") as file:  # the second group is lost: the first comes all the same
        file.seek(size * 3 // 4)
        file.write(b"\xff" * (size // 8))
    records = read_source(str(tmp_path / "x.parquet"))
    assert len(list(itertools.islice(records, count // 2))) == count // 2
    with pytest.raises(SourceError, match="cannot be read to its end"):
        list(records)


def test_a_large_arrow_batch_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be one batch: it is mapped, and never more than some of its rows are Python objects."""
    ids = [str(number) for number in range(5000)]
    feather.write_feather(pa.table({"_id": ids, "text": ids}), tmp_path / "x.feather", "uncompressed", chunksize=10**6)
    sizes: list[int] = []
    rows = arrow_tables._rows
    monkeypatch.setattr(arrow_tables, "_rows", lambda batch: sizes.append(batch.num_rows) or rows(batch))
    before = pa.total_allocated_bytes()
    records = read_source(str(tmp_path / "x.feather"))
    next(records)
    assert sizes == [arrow_tables.ROWS]
    assert pa.total_allocated_bytes() - before < 10_000
    assert len(list(records)) == 4999


# The command


def test_counts_for_the_bar(tmp_path: Path) -> None:
    """Where they are cheap: lines, footers, and sums of both."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    counts = {name: count_records(str(tmp_path / name)) for name in FILES}
    assert counts == {name: 3 if name in {"rows.jsonl", "rows.parquet"} else None for name in FILES}
    assert count_records(f"{tmp_path}/*.parquet") == count_records(f"{tmp_path}/*.jsonl") == 3
    assert count_records(f"{tmp_path}/*") is None
    assert count_records("index:x") is None


def test_passwords_are_not_shown() -> None:
    """An index' URL may hold one; @ in a path is none."""
    assert shown("index:https://me:secret@host/x") == "index:https://***@host/x"
    assert shown("data/@home/x.jsonl") == "data/@home/x.jsonl"


@pytest.mark.server
def test_ingest_with_fields(client: OpenSearch, node: RunningNode, index_name: str, tmp_path: Path) -> None:
    """The options reach the index, and odd names of columns are taken by it."""
    (tmp_path / "x.csv").write_bytes(b",url,headline,a,b,_id,x.y\n0,u,h,one,two,9,8\n")
    where = ["--index", index_name, "--url", node.url, "--dead-letters", str(tmp_path / "dead.jsonl")]
    names = ["--id-field", "url", "--title-field", "headline", "--text-field", "a", "--text-field", "b"]
    command = ["ingest", str(tmp_path / "x.csv"), "--bundle", "splade-tiny-idf", *where, *names]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    client.indices.refresh(index=index_name)
    (hit,) = client.search(index=index_name)["hits"]["hits"]
    assert (hit["_id"], hit["_source"]["title"], hit["_source"]["text"]) == ("u", "h", "one\n\ntwo")
    assert hit["_source"]["metadata"] == {"column 1": "0", "_id": "9", "x.y": "8"}


def test_fields_of_other_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`osplade tune` reads the texts that are named."""
    (tmp_path / "x.csv").write_bytes(b"body\nsome words\n")
    read: list[list[str]] = []

    def stop(_: object, __: object, texts: list[str], *___: object) -> None:
        read.append(texts)
        raise OspladeError("enough")

    monkeypatch.setattr("opensearch_splade.cli.tune.run_tuning", stop)
    command = ["tune", "splade-tiny", "--source", str(tmp_path / "x.csv"), "--text-field", "body"]
    assert CliRunner().invoke(main, command).exit_code == 1
    assert read == [["some words"]]


def test_members_of_objects_are_fields() -> None:
    """``a.b`` names the member b of a, unless there is a field of that very name; a missing one is no text."""
    fields = FieldMap(id="key.number", title="head.line", texts=("body.text", "body.more"))
    record = {"key": {"number": 7}, "head": {"line": "Fox"}, "body": {"text": "A fox.", "more": None}, "year": 1999}
    found = to_document(record, fields)
    assert (found.id, found.title, found.text, found.metadata["year"]) == ("7", "Fox", "A fox.", 1999)
    assert to_document({**record, "body.text": "A dog."}, fields).text == "A dog."
    with pytest.raises(DocumentError, match=r"No text: neither 'body\.text' nor"):
        to_document({"key": {"number": 7}, "head": {"line": ""}, "body": []}, fields)
