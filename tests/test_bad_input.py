"""Bad input of every kind: one clear line that names what is wrong, an exit code, and nothing half done in silence."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnxruntime
import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.ingest.target import IndexOptions, meta_for, prepare_index
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.bundle import Manifest, fingerprint, sha256
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode

FOX = {"_id": "fox", "text": "A fox runs over the hill."}
DOG = {"_id": "dog", "text": "The dog sleeps by the fire."}


class Bench:
    """A source file, an index name and a cluster: what an ingest needs, each to be spoilt."""

    def __init__(self, folder: Path, url: str, client: OpenSearch, index: str) -> None:
        self.folder, self.url, self.client, self.index = folder, url, client, index
        self.source = folder / "corpus.jsonl"
        self.dead_letters = folder / "dead.jsonl"

    def write(self, *records: Any) -> None:
        """The source's lines: bytes as they are, everything else as JSON."""
        lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        self.source.write_bytes(b"\n".join(lines))

    def ingest(self, *more: str, source: str | None = None, bundle: str = "splade-tiny-idf") -> Result:
        """`osplade ingest` of the source into the index; a later option beats an earlier one."""
        where = ["--index", self.index, "--url", self.url, "--dead-letters", str(self.dead_letters)]
        return osplade("ingest", source or str(self.source), "--bundle", bundle, *where, *more)

    def search(self, *more: str) -> Result:
        """`osplade search` of the index."""
        return osplade("search", "fox", "--index", self.index, "--url", self.url, *more)

    def stored(self) -> dict[str, Any]:
        """What the index holds, by id; empty too where there is no index."""
        if not self.exists():
            return {}
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, body={"size": 1000})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def exists(self) -> bool:
        """Whether there is an index."""
        return bool(self.client.indices.exists(index=self.index))

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        return [json.loads(line) for line in self.dead_letters.read_bytes().splitlines()]


@pytest.fixture
def bench(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> Bench:
    """A place of work with two good documents."""
    made = Bench(tmp_path, node.url, client, index_name)
    made.write(FOX, DOG)
    return made


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of a shipped bundle, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(Bundle.open(name).folder, tmp_path / f"{name}-copy"))

    return copy


def osplade(*arguments: str) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(main, list(arguments))


def assert_refused(result: Result, *parts: str, code: int = 1) -> None:
    """One line on standard error that holds all parts, nothing on standard output, no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: "), result.stderr
    for part in parts:
        assert part in last


# Sources


@pytest.mark.server
@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("no-such.jsonl", ["There is no source no-such.jsonl", "Give a .jsonl"]),
        ("{folder}/none", ["is a folder without corpus.jsonl or corpus.jsonl.gz", "and without files that end in"]),
        ("{folder}/empty.jsonl", ["empty.jsonl holds no documents, so nothing was done"]),
        ("{folder}/not.gz", ["not.gz cannot be read to its end: Not a gzipped file"]),
        ("ir_datasets:no/such", ["ir_datasets knows no documents of 'no/such'"]),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_source_that_is_none(bench: Bench, source: str, parts: list[str], dry: bool) -> None:
    """Nothing is made for a source that cannot be read at all, in a dry run neither."""
    bench.source.unlink()
    (bench.folder / "empty.jsonl").write_text("\n\n")
    (bench.folder / "not.gz").write_text("plain text")
    (bench.folder / "none").mkdir()
    result = bench.ingest(*["--dry-run"] * dry, source=source.format(folder=bench.folder))
    assert_refused(result, *parts)
    assert not bench.exists()


def cut_off(lines: bytes) -> bytes:
    """The first half of a gzip file."""
    packed = gzip.compress(lines)
    return packed[: len(packed) // 2]


def spoilt(lines: bytes) -> bytes:
    """A gzip file whose second block is of a type that there is none of (RFC 1951, section 3.2.3)."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(lines) + packer.flush(zlib.Z_FULL_FLUSH) + b"\x07"


@pytest.mark.server
@pytest.mark.parametrize("damaged", [cut_off, spoilt])
def test_a_source_that_breaks_off(bench: Bench, damaged: Callable[[bytes], bytes]) -> None:
    """What was read before the break is in the index, whole windows and the rest, and the error says how many."""
    path = bench.folder / "corpus.jsonl.gz"
    path.write_bytes(damaged(b"".join(b'{"_id": %d, "text": "fox %d"}\n' % (n, n * n) for n in range(900))))
    result = bench.ingest(source=str(path))
    count = len(bench.stored())
    assert 256 < count <= 900
    assert count % 256
    assert_refused(result, "corpus.jsonl.gz cannot be read to its end", f"{count} documents are in the index, 0 in the")


# Documents

BAD_DOCUMENTS: list[tuple[Any, str]] = [
    (b'{"_id": "x" "text": "x"}', "Not valid JSON"),
    (b'{"_id": "x", "text": "\\ud800 alone"}', "Not valid JSON: no low surrogate"),
    (b'{"_id": "x", "text": "\xff\xfe"}', "Not valid JSON: str is not valid UTF-8"),
    (b'{"_id": "x", "text": "\xed\xa0\x80"}', "Not valid JSON: str is not valid UTF-8"),
    (b"\x00\x01", "Not valid JSON"),
    (["x"], "A document is a JSON object, not a JSON array"),
    (None, "A document is a JSON object, not a JSON null"),
    ({"_id": "x"}, "No text: neither 'text' nor 'title' holds a word"),
    ({"_id": "x", "text": " \n", "title": ""}, "No text"),
    ({"_id": "x", "text": 7}, "'text' must be a string, not a JSON number"),
    ({"_id": "x", "text": ["x"]}, "'text' must be a string, not a JSON array"),
    ({"_id": "x", "text": "x", "title": {}}, "'title' must be a string, not a JSON object"),
    ({"_id": "x", "text": "x", "title": True}, "'title' must be a string, not a JSON boolean"),
    ({"_id": "x", "text": "x", "metadata": "y"}, "'metadata' must be a JSON object, not a JSON string"),
    ({"_id": "x", "text": "x", "metadata": []}, "'metadata' must be a JSON object, not a JSON array"),
    ({"_id": "x" * 513, "text": "x"}, "The id has 513 bytes; OpenSearch takes 512"),
    ({"_id": "ü" * 257, "text": "x"}, "The id has 514 bytes; OpenSearch takes 512"),
    ({"_id": "", "text": "x"}, "The id must be a non-empty string or a whole number, not ''"),
    (b'{"_id": "x", "text": "x", "a": ' + b"[" * 252 + b"]" * 252 + b"}", "Nested deeper than 252 levels"),
    (b'{"_id": "x", "text": "x", "a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "Not valid JSON"),
    ({"_id": 1.5, "text": "x"}, "The id must be a non-empty string or a whole number, not 1.5"),
    ({"id": True, "text": "x"}, "The id must be a non-empty string or a whole number, not True"),
    (
        {"_id": "fox", "title": "", "text": "again", "metadata": {"a": [1]}},
        "This id came before in the same source",
    ),
]


@pytest.mark.server
def test_bad_documents_are_left_out_and_kept(bench: Bench) -> None:
    """Each goes to the dead letters with its place, its reason and what was read; the good ones are indexed."""
    bench.write(FOX, *(record for record, _ in BAD_DOCUMENTS), DOG)
    result = bench.ingest()
    assert result.exit_code == 3
    assert set(bench.stored()) == {"fox", "dog"}
    assert bench.stored()["fox"]["text"] == FOX["text"]
    letters = bench.letters()
    assert len(letters) == len(BAD_DOCUMENTS)
    for number, (letter, (record, reason)) in enumerate(zip(letters, BAD_DOCUMENTS, strict=True), start=2):
        assert letter["reason"].startswith(reason)
        assert letter["place"] == f"corpus.jsonl:{number}"
        read = record.decode(errors="backslashreplace") if isinstance(record, bytes) else record
        assert letter["record"] == read
    assert f"{len(BAD_DOCUMENTS)} could not be written; they are in {bench.dead_letters}" in result.stderr
    assert "Traceback" not in result.stderr


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = st.sampled_from(["_id", "id", "text", "title", "metadata", "other"])
LINES = st.one_of(
    st.binary(),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(FIELDS, JSON_VALUES).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    ),
    st.dictionaries(FIELDS, st.text(min_size=1)).map(lambda value: json.dumps(value).encode()),
)


@settings(deadline=None)
@given(lines=st.lists(LINES.filter(lambda line: b"\n" not in line and line.strip())))
def test_no_line_stops_a_source(lines: list[bytes]) -> None:
    """Whatever a line holds, it becomes a document or a dead letter, and both can be written."""
    with tempfile.TemporaryDirectory() as folder:
        source, dead_letters = Path(folder) / "corpus.jsonl", Path(folder) / "dead.jsonl"
        source.write_bytes(b"\n".join(lines))
        with DeadLetterFile(dead_letters) as letters:
            for record in read_source(str(source)):
                if isinstance(record, DeadLetter):
                    letters.add(record)
                else:
                    assert orjson.loads(orjson.dumps(asdict(record)))["text"] == record.text
                    assert 0 < len(record.id.encode()) <= 512
                    assert record.passage
                lines.pop()
    assert not lines


@pytest.mark.server
def test_only_bad_documents(bench: Bench) -> None:
    """The exit code tells it where nothing at all could be indexed too."""
    bench.write(b"nonsense", {"_id": "x"})
    result = bench.ingest("--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert (report["read"], report["indexed"], report["dead"]) == (2, 0, 2)
    assert bench.stored() == {}


@pytest.mark.server
def test_the_id_of_a_dead_letter_is_told(bench: Bench) -> None:
    """Where the record has an id, under either name, the letter has it."""
    bench.write({"_id": 7}, {"id": "eight"}, {"text": 9})
    assert bench.ingest().exit_code == 3
    assert [letter["id"] for letter in bench.letters()] == ["7", "eight", None]


@pytest.mark.server
@pytest.mark.parametrize(
    "text",
    [
        "🦊" * 50,
        "👩‍👩‍👧 family",
        "汉字 kana かな",
        "\x00\x01 control",
        "x" * 100_000,
        "ﷺ",
        "e\u0301" * 400,
        "\ufffe\uffff",
    ],
    ids=ascii,
)
def test_odd_documents_are_indexed(bench: Bench, text: str) -> None:
    """Whatever characters a text is made of, it comes back as it was sent."""
    bench.write({"_id": "odd", "text": text}, FOX)
    result = bench.ingest()
    assert result.exit_code == 0, result.output
    assert bench.stored().keys() == {"odd", "fox"}
    assert bench.stored()["odd"]["text"] == text


@pytest.mark.server
def test_text_that_looks_like_markup(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets in ids, titles, texts, questions and paths are printed as they are, not taken for rich's markup."""
    folder = bench.folder / "[bold"
    folder.mkdir()
    bench.source = folder / "].jsonl"
    bench.write({"_id": "[/b]", "title": "[red]t[/red]", "text": "[/x] fox [bold]"})
    assert bench.ingest("--dry-run").exit_code == 0
    assert bench.ingest().exit_code == 0
    result = bench.search("--explain")
    assert result.exit_code == 0, result.output
    for part in ("[/b]", "[red]t[/red]", "[/x] fox [bold]"):
        assert part in result.stdout
    monkeypatch.chdir(bench.folder)
    shutil.copytree(Bundle.open("splade-tiny-idf").folder, "[b]")
    assert "[b]" in osplade("bundles", "[b]").stdout
    assert_refused(osplade("bundles", "[/b]"), "There is no bundle [/b]")


@pytest.mark.server
def test_a_long_document_is_reported_as_truncated(bench: Bench) -> None:
    """100,000 characters are indexed; the end is found by BM25, and the report says that only BM25 finds it."""
    bench.write({"_id": "long", "text": "fox " * 24_998 + "zebra"}, DOG)
    result = bench.ingest()
    assert result.exit_code == 0
    assert "1 reach the limit of 256 tokens: what comes after is found by BM25 only" in result.stdout
    assert len(bench.stored()["long"]["text"]) > 99_990
    assert "zebra" not in bench.stored()["long"]["sparse"]
    zebra = osplade("search", "zebra", "--index", bench.index, "--url", bench.url, "--mode", "bm25", "--json")
    assert [hit["id"] for hit in json.loads(zebra.stdout)["hits"]] == ["long"]


@pytest.mark.parametrize("name", ["splade-tiny", "minilm-l6"])
def test_lone_surrogates_do_not_break_an_encoder(name: str) -> None:
    """A lone surrogate counts as U+FFFD, a pair as its character, and the other texts of the batch do not notice."""
    encode: Callable[[list[str]], Any]
    if name == "minilm-l6":
        dense = DenseEncoder.load(name)
        encode = lambda texts: dense.encode(texts).tolist()  # noqa: E731
    else:
        sparse = SparseEncoder.load(name)
        encode = lambda texts: [  # noqa: E731
            [column.tolist() for column in row] for row in sparse.encode_documents(texts)
        ]
    assert encode(["a \ud800 fox", "\ud83e\udd8a", "dog"]) == encode(["a \ufffd fox", "🦊", "dog"])


def test_a_lone_surrogate_in_a_question() -> None:
    """A question with one is answered as if it were not there."""
    encoder = SparseEncoder.load("splade-tiny-idf")
    assert encoder.encode_query("a \udfff fox") == encoder.encode_query("a \ufffd fox")
    assert "fox" in encoder.encode_query("\ud800 fox")


# Calls


@pytest.mark.server
@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (["--prune", "max_ratio"], 1, "--prune max_ratio: '' is not a number"),
        (["--prune", "max_ratio:much"], 1, "--prune max_ratio:much: 'much' is not a number"),
        (["--prune", "max_ratio:1.5"], 1, "--prune max_ratio:1.5: max_ratio takes a ratio between 0 and 1"),
        (["--prune", "top_k:1.5"], 1, "--prune top_k:1.5: top_k takes a whole number > 0"),
        (["--prune", "abs_value:-1"], 1, "--prune abs_value:-1: abs_value takes a weight > 0"),
        (["--prune", "abs_value:nan"], 1, "--prune abs_value:nan: abs_value takes a weight > 0"),
        (["--prune", "best:3"], 1, "--prune best:3: unknown; write KIND:VALUE with one of max_ratio"),
        (["--query-weights", "ifd"], 2, "'ifd' is not one of 'idf', 'bm25'"),
        (["--shards", "0"], 2, "0 is not in the range"),
        (["--dead-letters", "."], 2, "File '.' is a directory"),
        (["--dead-letters", "no/such/folder/dead.jsonl"], 1, "no/such/folder/dead.jsonl, so nothing was begun"),
        (["--analyzer", "klingon"], 1, "analyzer [klingon] has not been configured"),
        (["--index", "Upper*Case"], 1, "Upper*Case"),
        (["--bundle", "minilm-l6"], 1, "minilm-l6 is a dense bundle; give it as the dense bundle (--dense-bundle)"),
        (["--dense-bundle", "splade-tiny"], 1, "splade-tiny is a sparse bundle (siamese); a dense one is needed"),
        (["--bundle", "splade-giant"], 1, "There is no bundle splade-giant"),
    ],
    ids=str,
)
def test_options_that_cannot_be(bench: Bench, options: list[str], code: int, part: str) -> None:
    """A wrong option is named with what it takes, before anything is made."""
    assert_refused(bench.ingest(*options), part, code=code)
    assert not bench.exists()
    assert not bench.dead_letters.exists()


@pytest.mark.server
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there(bench: Bench, device: str) -> None:
    """It is missed before an index is made."""
    if {"cuda": "CUDA", "tensorrt": "Tensorrt"}[device] + "ExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has {device}")
    assert_refused(bench.ingest("--device", device), f"The installed ONNX Runtime cannot run on {device}; it offers ")
    assert not bench.exists()


@pytest.mark.server
def test_a_graph_that_is_none(bench: Bench, copied: Callable[[str], Path]) -> None:
    """A bundle may be whole and its graph still not run here: that too is known before an index is made."""
    folder = copied("splade-tiny-idf")
    (folder / "model.onnx").write_bytes(b"not a graph")
    manifest = Manifest.model_validate_json((folder / "bundle.json").read_bytes())
    files = manifest.files | {"model.onnx": sha256(folder / "model.onnx")}
    changed = manifest.model_copy(update={"files": files})
    manifest_of(folder, files=files, fingerprint=fingerprint(changed))
    assert_refused(bench.ingest(bundle=str(folder)), "model.onnx cannot be run")
    assert not bench.exists()


def test_dead_letters_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    """Before anything is begun, and without making the file."""
    with (
        pytest.raises(SourceError, match=r"could not be written to .*so nothing was begun"),
        DeadLetterFile(tmp_path / "a/b"),
    ):
        pytest.fail("it was begun")
    assert list(tmp_path.iterdir()) == []


BAD_QUESTIONS: list[tuple[list[str], list[str]]] = [
    (["--mode", "bm52"], ["mode 'bm52': unknown ranking 'bm52'; choose hybrid, or one or more of bm25"]),
    (["--mode", "bm25+bm25"], ["names a ranking twice"]),
    (["--mode", "hybrid:sum"], ["unknown fusion 'sum'; choose one of"]),
    (
        ["--mode", "knn"],
        ["mode knn cannot be asked", "holds no dense vectors", "possible here: bm25, neural-sparse"],
    ),
    (["--filter", "{"], ["--filter is not valid JSON"]),
    (["--filter", "[]"], ["--filter takes one query object, for example"]),
    (["--filter", '{"tern": {"a": 1}}'], ["unknown query [tern]"]),
    (["--bundle", "minilm-l6"], ["minilm-l6 is a dense bundle"]),
    (["--dense-bundle", "splade-tiny"], ["splade-tiny is a sparse bundle"]),
    (["--bundle", "splade-giant"], ["There is no bundle splade-giant"]),
]


@pytest.mark.server
def test_questions_that_cannot_be(bench: Bench) -> None:
    """A wrong mode, filter or bundle is named with what is possible."""
    assert bench.ingest().exit_code == 0
    for options, parts in BAD_QUESTIONS:
        assert_refused(bench.search(*options), *parts)
    assert bench.search().exit_code == 0


@pytest.mark.server
def test_an_empty_question(bench: Bench) -> None:
    """Nothing to ask is an error; a question of unknown words is none, it has no hits and says why."""
    assert bench.ingest().exit_code == 0
    where = ["--index", bench.index, "--url", bench.url]
    assert_refused(osplade("search", " ", *where), "the question is empty")
    found = osplade("search", "?!", *where, "--mode", "neural-sparse", "--query-side", "inference-free", "--json")
    assert found.exit_code == 0


@pytest.mark.server
def test_an_unknown_index(bench: Bench) -> None:
    """Asking an index that is not there names it, and what there is to do."""
    (bench.folder / "qrels").mkdir()
    (bench.folder / "qrels" / "test.tsv").write_text("1\tfox\t1\n")
    (bench.folder / "queries.jsonl").write_text('{"_id": "1", "text": "fox"}\n')
    parts = [f"there is no index or alias '{bench.index}'", "the first ingest makes a new one"]
    assert_refused(bench.search(), *parts)
    assert_refused(osplade("eval", str(bench.folder), "--index", bench.index, "--url", bench.url), *parts)
    assert_refused(
        osplade("eval", "no/such", "--index", bench.index, "--url", bench.url), "There is no collection no/such"
    )


@pytest.mark.parametrize("command", ["ingest", "search", "eval"])
def test_no_node(command: str, tmp_path: Path) -> None:
    """Where nobody listens, the address is named and how to start or name a cluster."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        source = tmp_path / "corpus.jsonl"
        source.write_text(json.dumps(FOX))
        about = {"ingest": [str(source), "--bundle", "splade-tiny-idf"], "search": ["fox"], "eval": ["python-docs"]}
        result = osplade(command, *about[command], "--index", "x", "--url", url)
    assert_refused(result, f"{url} cannot be reached", "`osplade node start`", "--url")


# Bundles


def manifest_of(folder: Path, **changes: Any) -> None:
    """Changes a copied bundle's manifest."""
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def spoil(folder: Path, how: str) -> None:
    """Damages a copied bundle."""
    if how.startswith("byte of "):
        path = folder / how.removeprefix("byte of ")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how.startswith("no "):
        (folder / how.removeprefix("no ")).unlink()
    elif how == "foreign manifest":
        (folder / "bundle.json").write_text('{"name": "something", "version": 2}')
    elif how == "broken manifest":
        (folder / "bundle.json").write_text("{")
    elif how == "newer format":
        manifest_of(folder, format=3)
    elif how == "outside file":
        manifest_of(folder, files={"../outside": "0" * 64})
    elif how == "absolute file":
        manifest_of(folder, files={"/etc/hostname": "0" * 64})
    else:
        (folder / "bundle.json").unlink()
        (folder / "config.json").write_text('{"model_type": "bert"}')


@pytest.mark.server
@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("byte of model.onnx", ["model.onnx is damaged: its sha256 is", "Copy the bundle again or export"]),
        ("byte of tokenizer.json", ["tokenizer.json is damaged"]),
        ("byte of query_weights.json", ["query_weights.json is damaged"]),
        ("no model.onnx", ["is damaged: model.onnx is missing. Export the checkpoint again"]),
        ("no bundle.json", ["has no bundle.json, so it is not a bundle; it is foreign"]),
        ("foreign manifest", ["bundle.json: kind: Field required", "The manifest is damaged or of another format"]),
        ("broken manifest", ["bundle.json: the file: Invalid JSON"]),
        ("newer format", ["bundle.json: format: Input should be 2"]),
        ("outside file", ["names '../outside', which is not a plain file name"]),
        ("absolute file", ["names '/etc/hostname', which is not a plain file name"]),
        ("a checkpoint", ["it looks like a checkpoint: run `osplade export` on it"]),
    ],
)
def test_bundles_that_cannot_be_used(bench: Bench, copied: Callable[[str], Path], how: str, parts: list[str]) -> None:
    """Whatever is wrong with a bundle, every command that is given it says so and nothing is made."""
    folder = copied("splade-tiny-idf")
    spoil(folder, how)
    assert_refused(bench.ingest(bundle=str(folder)), *parts)
    assert_refused(osplade("bundles", str(folder)), *parts)
    assert not bench.exists()
    bench.ingest()
    assert_refused(bench.search("--bundle", str(folder)), *parts)


# Indices


@pytest.fixture
def other_bundle(copied: Callable[[str], Path]) -> str:
    """A sound bundle of other vectors: the shipped one, cut to fewer tokens."""
    folder = copied("splade-tiny-idf")
    path = folder / "bundle.json"
    manifest = Manifest.model_validate_json(path.read_bytes()).model_copy(update={"name": "other", "max_length": 16})
    path.write_text(manifest.model_copy(update={"fingerprint": fingerprint(manifest)}).model_dump_json())
    assert Bundle.open(folder).manifest.fingerprint != Bundle.open("splade-tiny-idf").manifest.fingerprint
    return str(folder)


@pytest.mark.server
def test_an_index_of_another_bundle(bench: Bench, other_bundle: str) -> None:
    """Vectors of two bundles never mix: neither documents are written nor questions asked."""
    assert bench.ingest().exit_code == 0
    before = bench.stored()
    bench.write({"_id": "new", "text": "new"})
    parts = ["holds sparse vectors of bundle 'splade-tiny-idf'", "or encode the documents anew into another index"]
    assert_refused(bench.ingest(bundle=other_bundle), *parts)
    assert_refused(bench.ingest("--dry-run", bundle=other_bundle), *parts)
    assert_refused(bench.search("--bundle", other_bundle), *parts)
    assert bench.stored() == before


@pytest.mark.server
def test_an_index_that_no_shipped_bundle_made(bench: Bench, other_bundle: str) -> None:
    """Without its bundle it answers BM25 and says what is missing; with it, everything."""
    assert bench.ingest(bundle=other_bundle).exit_code == 0
    alone = bench.search()
    assert alone.exit_code == 0
    assert "note: hybrid without that ranking: no sparse query encoder was given" in alone.stderr
    assert_refused(bench.search("--query-side", "siamese"), "cannot be asked siamese", "Give --bundle")
    assert bench.search("--mode", "neural-sparse", "--bundle", other_bundle).exit_code == 0


@pytest.mark.server
def test_an_index_that_is_not_ours(bench: Bench) -> None:
    """An index that someone else made is left as it is."""
    bench.client.indices.create(index=bench.index)
    before = bench.client.indices.get(index=bench.index)
    for result in (bench.ingest(), bench.ingest("--dry-run"), bench.search()):
        assert_refused(result, f"index '{bench.index}' was not made by opensearch-splade", "make a new index")
    assert bench.client.indices.get(index=bench.index) == before
    assert bench.stored() == {}


@pytest.mark.server
@pytest.mark.parametrize(
    ("first", "second", "part"),
    [
        (["--dense-bundle", "minilm-l6"], [], "holds dense vectors of 'minilm-l6': give --dense-bundle minilm-l6"),
        ([], ["--dense-bundle", "minilm-l6"], "has no field for dense vectors: leave out --dense-bundle"),
        (["--prune", "top_k:8"], [], "pruned by top_k:8, these would be pruned by nothing: give the same --prune"),
        ([], ["--prune", "top_k:8"], "pruned by nothing, these would be pruned by top_k:8"),
        (["--prune", "top_k:8"], ["--prune", "top_k:9"], "pruned by top_k:8, these would be pruned by top_k:9"),
    ],
)
def test_an_index_of_other_fields(bench: Bench, first: list[str], second: list[str], part: str) -> None:
    """What the first run decided holds for all later ones; the error says what to give."""
    assert bench.ingest(*first).exit_code == 0
    before = bench.stored()
    bench.write({"_id": "new", "text": "new"})
    assert_refused(bench.ingest(*second), part)
    assert bench.stored() == before
    assert bench.ingest(*first).exit_code == 0
    assert bench.stored().keys() == {"fox", "dog", "new"}


@pytest.mark.server
def test_a_dense_bundle_of_other_vectors(bench: Bench, client: OpenSearch) -> None:
    """The same for dense vectors, when an index says another fingerprint."""
    wanted = meta_for(SparseEncoder.load("splade-tiny-idf"), DenseEncoder.load("minilm-l6"), Rules())
    assert wanted.dense is not None
    meta = replace(wanted, dense=replace(wanted.dense, fingerprint="0" * 16, bundle="other"))
    assert prepare_index(client, bench.index, meta, IndexOptions(), probe(client))
    assert_refused(bench.ingest("--dense-bundle", "minilm-l6"), "holds dense vectors of bundle 'other'", "use 'other'")
    assert bench.stored() == {}


@pytest.mark.server
def test_query_weights_that_are_gone(bench: Bench, client: OpenSearch) -> None:
    """The error says how to count them again and how to ask without; that way works."""
    assert bench.ingest("--query-weights", "idf", bundle="splade-tiny").exit_code == 0
    place = IndexMeta.read(client, bench.index).query_weights
    assert place is not None
    client.delete(index=place.index, id=place.id, params={"refresh": "true"})
    assert_refused(bench.search(), f"query weights {place.id} are gone", "--query-weights idf", "--query-side siamese")
    assert bench.search("--query-side", "siamese", "--mode", "neural-sparse").exit_code == 0


@pytest.mark.server
@pytest.mark.parametrize("parts", [{"sparse": {"sort": "odd"}}, {"sparse": "odd"}, {"newer": {}}, "odd"])
def test_a_damaged_record_of_the_index(bench: Bench, parts: Any) -> None:
    """A `_meta` edited by hand is an error, not a guess."""
    bench.client.indices.create(index=bench.index, body={"mappings": {"_meta": {"opensearch_splade": parts}}})
    assert_refused(bench.ingest(), "_meta.opensearch_splade cannot be read", "edited by hand or written by a newer")
    assert_refused(bench.search(), "_meta.opensearch_splade cannot be read")
