"""Exchange: what other engines read of our vectors is what the index holds, whole weights rounded as stated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.exchange import SCALE, Vector, counts, named, write_topics
from opensearch_splade.evaluation.exchange_anserini import write_anserini
from opensearch_splade.evaluation.exchange_bmp import MOST, query_counts, write_bmp, write_bmp_queries
from opensearch_splade.evaluation.exchange_ciff import write_ciff
from opensearch_splade.evaluation.exchange_seismic import write_seismic
from opensearch_splade.plugin.launcher import RunningNode

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=9)
FEATURES = st.dictionaries(NAMES, st.floats(0.001, 50), max_size=8)
VECTORS = st.dictionaries(NAMES, FEATURES, max_size=12).map(lambda rows: list(rows.items()))


def lines(path: Path) -> list[dict[str, object]]:
    """Each line of JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message; doubles as their bytes."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 0:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        length, at = (8, at) if key & 7 == 1 else varint(message, at)
        yield key >> 3, message[at : at + length]
        at += length


def number(value: int | bytes) -> int:
    """A field that is a number."""
    assert isinstance(value, int)
    return value


def read_ciff(path: Path) -> list[tuple[str, dict[str, int]]]:
    """Id and weights of each document, read by the published schema; checks the counts of messages."""
    data, at, messages = path.read_bytes(), 0, list[bytes]()
    while at < len(data):
        length, at = varint(data, at)
        messages.append(data[at : at + length])
        at += length
    head = dict(fields(messages[0]))
    terms, documents = number(head.get(2, 0)), number(head.get(3, 0))
    assert (head[1], head.get(4, 0), head.get(5, 0)) == (1, terms, documents)
    assert len(messages) == 1 + terms + documents
    rows: list[dict[str, int]] = [{} for _ in range(documents)]
    order = list[bytes]()
    for message in messages[1 : 1 + terms]:
        found = list(fields(message))
        name, place, total = b"", 0, 0
        for key, value in found:
            if key == 1:
                assert isinstance(value, bytes)
                name = value
            elif key == 4:
                assert isinstance(value, bytes)
                posting = dict(fields(value))
                place += number(posting.get(1, 0))
                rows[place][name.decode()] = number(posting[2])
                total += number(posting[2])
        plain = dict(found)
        assert (plain[2], plain[3]) == (sum(key == 4 for key, _ in found), total)
        order.append(name)
    assert order == sorted(set(order))
    ids = list[str]()
    for place, message in enumerate(messages[1 + terms :]):
        record = dict(fields(message))
        assert (record.get(1, 0), record.get(3, 0)) == (place, sum(rows[place].values()))
        assert isinstance(record[2], bytes)
        ids.append(record[2].decode())
    assert head.get(6, 0) == sum(sum(row.values()) for row in rows)
    return list(zip(ids, rows, strict=True))


@given(VECTORS)
def test_every_format_gives_back_what_went_in(vectors: list[Vector]) -> None:
    """Anserini and CIFF hold the whole weights, Seismic the exact ones, topics a token as often as it weighs."""
    whole = [(id_, counts(features)) for id_, features in vectors]
    with TemporaryDirectory() as name:
        folder = Path(name)
        assert write_anserini(vectors, folder / "a") == write_ciff(vectors, folder / "c") == len(vectors)
        write_seismic(vectors, folder / "s")
        write_topics(vectors, folder / "t")
        assert [(one["id"], one["vector"]) for one in lines(folder / "a")] == whole
        assert [(one["id"], one["vector"]) for one in lines(folder / "s")] == vectors
        assert read_ciff(folder / "c") == whole
        topics = [line.split("\t") for line in (folder / "t").read_text(encoding="utf-8").split("\n") if line]
        assert [(id_, dict(Counter(text.split()))) for id_, text in topics] == whole


@given(VECTORS)
def test_bmp_gets_bytes_and_small_questions(vectors: list[Vector]) -> None:
    """No weight passes what BMP can hold, the largest one is that, and a question's largest is 32."""
    with TemporaryDirectory() as name:
        write_bmp(vectors, Path(name, "c"))
        rows = [row for _, row in read_ciff(Path(name, "c"))]
        largest = max((weight for row in rows for weight in row.values()), default=MOST)
        assert largest == MOST
    assert all(max(query_counts(features).values()) == 32 for _, features in vectors if features)


def test_ciff_is_what_its_toolkit_reads(tmp_path: Path) -> None:
    """The reader of ciff-toolkit, another's code, sees the same postings."""
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    toolkit = pytest.importorskip("ciff_toolkit.read", reason="ciff-toolkit is not installed")
    vectors = [("d1", {"b": 3.0, "ä": 0.5}), ("d2", {}), ("d3", {"b": 1.25, "c": 0.001})]
    write_ciff(vectors, tmp_path / "c")
    with toolkit.CiffReader(tmp_path / "c") as reader:
        assert (reader.header.num_docs, reader.header.num_postings_lists) == (3, 2)
        lists = {one.term: [(p.docid, p.tf) for p in one.postings] for one in reader.read_postings_lists()}
        records = [(one.docid, one.collection_docid, one.doclength) for one in reader.read_documents()]
    assert lists == {"b": [(0, 300), (2, 125)], "ä": [(0, 50)]}
    assert records == [(0, "d1", 350), (1, "d2", 0), (2, "d3", 125)]


def test_names_lose_what_engines_cut_at() -> None:
    """Dots come back, white space goes, and two features never become one unnoticed."""
    assert named({"3<dot>11": 1.0, "a b": 2.0}, {}) == {"3.11": 1.0, "a␣b": 2.0}
    assert named({"7": 1.0}, {"7": "seven"}) == {"seven": 1.0}
    with pytest.raises(SourceError, match="white space alone"):
        named({"a b": 1.0, "a\tb": 2.0}, {})


def test_nothing_is_overwritten_and_no_half_file_is_left(tmp_path: Path) -> None:
    """A file that exists is kept, and an id that a format cannot hold is named and leaves no file."""
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(SourceError, match="cannot be written"):
        write_seismic([], tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "mine"
    for write in (write_anserini, write_ciff, write_topics, write_bmp_queries):
        with pytest.raises(SourceError, match="'a b'"):
            write([("a b", {"x": 1.0})], tmp_path / "new")
        assert not (tmp_path / "new").exists()
    with pytest.raises(SourceError, match="colon"):
        write_bmp_queries([("a:b", {"x": 1.0})], tmp_path / "new")


@pytest.mark.parametrize("engine", ["bmp", "seismic"])
def test_engines_find_the_best(tmp_path: Path, engine: str) -> None:
    """The engine itself reads the file and ranks first what the dot product does.

    bmp 0.2.8 never scores the last block of its candidates, so of a question of one term only the best is asked.
    """
    if find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed: pip install opensearch-splade[engines]")
    vectors = [(f"d{place}", {"a": 0.1 + place % 97 / 40, f"t{place % 7}": 1.0}) for place in range(97)]
    if engine == "bmp":
        import bmp

        write_bmp(vectors, tmp_path / "c")
        bmp.ciff2bmp(ciff_file=str(tmp_path / "c"), output=str(tmp_path / "i"), bsize=8, compress_range=False)
        found = bmp.Searcher(str(tmp_path / "i")).search({"a": 1.0}, k=5, alpha=1.0, beta=1.0)[0]
    else:
        import numpy as np
        import seismic

        write_seismic(vectors, tmp_path / "d.jsonl")
        index = seismic.SeismicIndex.build(str(tmp_path / "d.jsonl"))
        names = np.array(["a"], dtype=seismic.get_seismic_string())
        hits = index.search("q", names, np.ones(1, np.float32), k=5, query_cut=9, heap_factor=1.0)
        found = [id_ for _, _, id_ in hits]
    best = ["d96", "d95", "d94", "d93", "d92"]
    assert list(found)[:1] == best[:1]
    assert engine == "bmp" or list(found) == best


def test_command_writes_what_the_index_holds(
    tmp_path: Path, node: RunningNode, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real node: each format has the index' vectors, a dry run writes nothing."""
    monkeypatch.chdir(tmp_path)  # where the ledger goes
    source = tmp_path / "docs.jsonl"
    texts = ["A fox runs over the hill.", "Version 3.11 of Python.", "Trains leave at noon."]
    source.write_text("".join(json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    url = ["--url", node.url]
    files = ["--dead-letters", str(tmp_path / "dead.jsonl")]  # the ledger lies beside them
    command = ["ingest", str(source), "--index", index_name, "--bundle", "splade-tiny", *files, *url]
    made = CliRunner().invoke(main, command)
    assert made.exit_code == 0, made.output

    def export(format_: str, *more: str) -> dict[str, object]:
        out = str(tmp_path / format_)
        told = CliRunner().invoke(
            main, ["export-index", index_name, "--format", format_, "--out", out, "--json", *url, *more]
        )
        assert told.exit_code == 0, told.output
        found: dict[str, object] = json.loads(told.stdout)
        return found

    assert export("ciff", "--dry-run") | {"documents": ""} == {
        "index": index_name,
        "format": "ciff",
        "documents": "",
        "vectors": 3,
        "questions": None,
        "asked": 0,
        "written": False,
    }
    assert not (tmp_path / "ciff").exists()
    assert export("seismic")["vectors"] == export("anserini")["vectors"] == export("ciff")["vectors"] == 3
    again = ["export-index", index_name, "--format", "ciff", "--out", str(tmp_path / "ciff"), "--dry-run", *url]
    assert "nothing is overwritten" in CliRunner().invoke(main, again).output
    exact = {str(one["id"]): one["vector"] for one in lines(tmp_path / "seismic" / "documents.jsonl")}
    assert exact.keys() == {"d0", "d1", "d2"}
    assert all(exact.values())
    whole = {id_: {n: c for n, w in v.items() if (c := round(SCALE * w))} for id_, v in exact.items()}  # type: ignore[attr-defined]
    assert {one["id"]: one["vector"] for one in lines(tmp_path / "anserini" / "vectors.jsonl")} == whole
    assert dict(read_ciff(tmp_path / "ciff" / "index.ciff")) == whole


def test_numbered_fields_are_exported_by_name(
    tmp_path: Path, node: RunningNode, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ``sparse_vector`` field keeps token numbers; its export names the features that ``rank_features`` has."""
    monkeypatch.chdir(tmp_path)  # where the ledger goes
    source = tmp_path / "docs.jsonl"
    source.write_text('{"_id": "d", "text": "Version 3.11 of Python runs over the hill."}\n')
    found = []
    for field in ("rank_features", "sparse_vector"):
        index = f"{index_name}-{field}"
        made = ["ingest", str(source), "--index", index, "--bundle", "splade-tiny", "--sparse-field", field]
        made += ["--dead-letters", str(tmp_path / "dead.jsonl")]
        told = ["export-index", index, "--format", "seismic", "--out", str(tmp_path / field)]
        for command in (made, told):
            result = CliRunner().invoke(main, [*command, "--url", node.url])
            if "sparse_vector" in command and result.exit_code and "3.3" in result.output:
                pytest.skip(result.output)
            assert result.exit_code == 0, result.output
        (line,) = lines(tmp_path / field / "documents.jsonl")
        found.append(line["vector"])
    assert found[0] == pytest.approx(found[1], rel=0.01)
