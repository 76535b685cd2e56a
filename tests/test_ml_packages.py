"""Packages for ML Commons and analyzers for question weights: the same weights inside the cluster as outside."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.analyzer_rules import ANALYZER, TOKENIZER, analyzer_rules, is_servers_own
from opensearch_splade.onnx_models.bundle import Manifest, fingerprint
from opensearch_splade.onnx_models.device import load_onnxruntime
from opensearch_splade.onnx_models.ml_commons_graph import NEWEST_IR, NEWEST_OPSET
from opensearch_splade.onnx_models.ml_commons_package import What, pack
from opensearch_splade.onnx_models.prompt import Prompt
from opensearch_splade.plugin.ml_models import deploy
from opensearch_splade.plugin.ml_packages import register_local
from opensearch_splade.plugin.ml_predict import predict_sparse
from opensearch_splade.plugin.ml_settings import put_settings, settings_for_local_models
from opensearch_splade.types import feature_name

ODD = [
    'a,b => c | # ## ␟ [MASK] [UNK] 日本 ... <> "x" \\ ^$ (a) {b} zzqxj 😀 é U.S. antigen\'s',
    "<dot> ,,, , paris paris",
    "paris " * 600,  # longer than the bundle reads
]
"""Texts of what rules, patterns and files give a meaning of their own."""

TEXTS = ["The capital of France is Paris.", "A fox.", "vitamin d and bone density in children " * 8]


def osplade(*arguments: str | Path) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def changed(name: str, folder: Path, files: Mapping[str, bytes] | None = None, **manifest: Any) -> Bundle:
    """A copy of a shipped bundle with other files, or another manifest."""
    shutil.copytree(Bundle.open(name).folder, folder)
    told = json.loads((folder / "bundle.json").read_text(encoding="utf-8")) | manifest
    for file, content in (files or {}).items():
        (folder / file).write_bytes(content)
        told["files"][file] = hashlib.sha256(content).hexdigest()
    told["fingerprint"] = fingerprint(Manifest.model_validate(told))
    (folder / "bundle.json").write_text(json.dumps(told), encoding="utf-8")
    return Bundle.open(folder)


def with_table(folder: Path, table: Mapping[str, float], **manifest: Any) -> Bundle:
    """An inference-free bundle with these query weights."""
    return changed("splade-tiny-idf", folder, {"query_weights.json": orjson.dumps(table)}, **manifest)


def questions(collections_dir: Path, many: int) -> list[str]:
    """Real ones, of SciFact."""
    with (collections_dir / "scifact" / "queries.jsonl").open(encoding="utf-8") as lines:
        return [orjson.loads(line)["text"] for line, _ in zip(lines, range(many), strict=False)]


def installed(client: OpenSearch, bundle: Bundle, name: str, path: Path) -> str:
    """The bundle's tokenizer in the cluster, deployed."""
    put_settings(client, settings_for_local_models(client))
    package = pack(bundle, path, "queries")
    return deploy(client, register_local(client, package.path, name=name, function=package.function)).id


# Graphs


@pytest.mark.parametrize(
    ("name", "what", "inputs"),
    [
        ("splade-tiny", "documents", ["input1.input_ids", "input1.attention_mask"]),
        ("minilm-l6", "dense", ["input_ids", "attention_mask"]),
    ],
)
def test_a_packed_graph_computes_what_the_bundle_does(tmp_path: Path, name: str, what: What, inputs: list[str]) -> None:
    """To the last bit, by inputs of ML Commons' names, one output, and nothing that its ONNX Runtime does not know."""
    import onnx

    bundle = Bundle.open(name)
    package = pack(bundle, tmp_path / "a.zip", what)
    with zipfile.ZipFile(package.path) as archive:
        assert archive.namelist() == ["model.onnx", "tokenizer.json"]
        content = archive.read("model.onnx")
    graph = onnx.load_from_string(content)
    onnx.checker.check_model(graph)
    assert graph.ir_version <= NEWEST_IR
    assert max(one.version for one in graph.opset_import if not one.domain) <= NEWEST_OPSET
    assert [one.name for one in graph.graph.input] == inputs
    session = load_onnxruntime().InferenceSession(content)
    tokenizer = SparseEncoder.load(name).tokenizer if what == "documents" else DenseEncoder.load(name).tokenizer
    original = load_onnxruntime().InferenceSession(str(bundle.model))
    for token_ids in map(np.array, tokenizer.encode(TEXTS)):
        feeds = [token_ids[None], np.ones((1, len(token_ids)), np.int64)]
        [got] = session.run(None, dict(zip(inputs, feeds, strict=True)))
        [expected] = original.run(
            ["weights" if what == "documents" else "embedding"],
            dict(zip(["input_ids", "attention_mask"], feeds, strict=True)),
        )
        assert got.shape == (1, bundle.manifest.dimension)
        assert np.array_equal(got, expected)


@pytest.mark.parametrize(("name", "what"), [("splade-tiny-idf", "queries"), ("splade-tiny-idf", "documents")])
def test_the_same_bundle_gives_the_same_bytes(tmp_path: Path, name: str, what: What) -> None:
    """So a hash tells whether the cluster has it already, whoever packed it when."""
    first, second = (pack(Bundle.open(name), tmp_path / f"{number}.zip", what) for number in range(2))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_what_ml_commons_cannot_put_around_texts_is_refused(tmp_path: Path) -> None:
    """A prompt would be missing from every document without a word."""
    bundle = changed("splade-tiny", tmp_path / "b", prompt=Prompt(document="passage: ").model_dump())
    with pytest.raises(BundleError, match="osplade serve"):
        pack(bundle, tmp_path / "a.zip", "documents")
    assert not (tmp_path / "a.zip").exists()


# The query side


def test_a_tokenizer_in_the_cluster_weighs_as_the_client_does(
    ml_client: OpenSearch, ml_name: str, tmp_path: Path, collections_dir: Path
) -> None:
    """The same features and weights of real questions and of odd ones, to the last of float32."""
    loaded = SparseEncoder.load("splade-tiny-idf")
    model = installed(ml_client, loaded.bundle, ml_name, tmp_path / "q.zip")
    texts = [*questions(collections_dir, 300), *ODD, ""]
    for text, found in zip(texts, predict_sparse(ml_client, model, texts, algorithm="sparse_tokenize"), strict=True):
        assert found == pytest.approx(loaded.encode_query(text), rel=1e-6), text


def test_a_token_that_weighs_nothing_is_asked_for_by_nobody(
    ml_client: OpenSearch, ml_name: str, index_name: str, tmp_path: Path
) -> None:
    """Missing from idf.json it would weigh 1, and with 0 the server refuses the whole query: it is left out instead."""
    bundle = with_table(tmp_path / "b", {"paris": 2.0, "<dot>": 1.5, "capital": 0.0})
    model = installed(ml_client, bundle, ml_name, tmp_path / "q.zip")
    text = "The capital of France is Paris..."
    found = predict_sparse(ml_client, model, [text, "capital"], algorithm="sparse_tokenize")
    assert found == [{"paris": 2.0, "<dot>": 1.5}, {}]
    ml_client.indices.create(index=index_name, body={"mappings": {"properties": {"v": {"type": "rank_features"}}}})
    ml_client.index(index=index_name, body={"v": {"paris": 3.0, "the": 9.0, "<dot>": 2.0}}, params={"refresh": "true"})
    query = {"neural_sparse": {"v": {"query_text": text, "model_id": model}}}
    [hit] = ml_client.search(index=index_name, body={"query": query})["hits"]["hits"]
    assert hit["_score"] == pytest.approx(2 * 3 + 1.5 * 2)


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ({"paris": 65.0, "fox": 1.0}, "table", r"'paris' 65.*takes 64 at most"),
        ({"paris": 2.0}, "bm25", "counts repeated tokens"),
    ],
)
def test_tables_that_the_cluster_would_misread_are_not_packed(
    tmp_path: Path, table: dict[str, float], kind: str, message: str
) -> None:
    """A weight that every query would fail by, and one that depends on the question."""
    bundle = with_table(tmp_path / "b", table, query_weights=kind)
    with pytest.raises(BundleError, match=message):
        pack(bundle, tmp_path / "a.zip", "queries")


# The analyzer


def weights(client: OpenSearch, index: str, text: str) -> dict[str, float | None]:
    """What ``neural_sparse`` reads from an index' own analyzer."""
    asked = {"analyzer": ANALYZER, "text": text, "explain": True, "attributes": ["payload"]}
    tokens = client.indices.analyze(index=index, body=asked)["detail"]["tokenfilters"][-1]["tokens"]
    payloads = {token["token"]: token["payload"] for token in tokens}
    return {
        token: struct.unpack(">f", bytes(int(byte, 16) for byte in payload.strip("[]").split()))[0] if payload else None
        for token, payload in payloads.items()
    }


def test_an_analyzer_weighs_and_scores_as_the_client_does(
    ml_client: OpenSearch, index_name: str, collections_dir: Path
) -> None:
    """Features and weights of real and odd questions, and the scores of documents; rules in the settings here."""
    loaded = SparseEncoder.load("splade-tiny-idf")
    settings = analyzer_rules(loaded.bundle).settings()
    mappings = {"properties": {"vector": {"type": "rank_features"}}}
    ml_client.indices.create(index=index_name, body={"settings": settings, "mappings": mappings})
    asked = questions(collections_dir, 40)
    for text in [*asked, *ODD]:
        assert weights(ml_client, index_name, text) == pytest.approx(loaded.encode_query(text), rel=1e-6), text
    vectors = loaded.encode_documents(asked)
    lines = [line for row in vectors for line in ({"index": {}}, {"vector": loaded.features(*row)})]
    assert not ml_client.bulk(index=index_name, body=lines, params={"refresh": "true"})["errors"]

    def scores(how: dict[str, Any]) -> dict[str, float]:
        body = {"size": 50, "_source": False, "query": {"neural_sparse": {"vector": how}}}
        hits = ml_client.search(index=index_name, body=body)["hits"]["hits"]
        return {hit["_id"]: hit["_score"] for hit in hits}

    for text in asked:
        by_analyzer = scores({"query_text": text, "analyzer": ANALYZER})
        assert by_analyzer == pytest.approx(scores({"query_tokens": loaded.encode_query(text)}), rel=1e-6)
        assert len(by_analyzer) > 1


def test_a_file_says_what_the_settings_would() -> None:
    """No line begins with what makes it a comment, and none holds what a rule cannot."""
    rules = analyzer_rules(Bundle.open("splade-tiny-idf"))
    assert len(rules.rules) + len(rules.apart) == len(SparseEncoder.load("splade-tiny-idf").token_ids)
    assert set(rules.apart) == {",", "##,"}
    assert sorted(rules.dropped) == ["[CLS]", "[MASK]", "[PAD]", "[SEP]", "[UNK]"]
    assert not [rule for rule in rules.rules if rule.startswith("#")]
    assert "␟,##ing => ##ing␟" in "\n".join(rules.rules)


def test_another_tokenizer_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """The server's tokens would be others, and no error would say so. What it pads or truncates is no difference."""
    told = orjson.loads(Bundle.open("splade-tiny-idf").tokenizer.read_bytes())
    told["truncation"] = None
    same = changed("splade-tiny-idf", tmp_path / "same", {"tokenizer.json": orjson.dumps(told)})
    assert analyzer_rules(same).rules
    told["normalizer"]["lowercase"] = False
    other = changed("splade-tiny-idf", tmp_path / "other", {"tokenizer.json": orjson.dumps(told)})
    with pytest.raises(BundleError, match=r"is not OpenSearch's bert-uncased.*--for ml-commons --what queries"):
        analyzer_rules(other)


def test_the_servers_own_table_needs_nothing(ml_client: OpenSearch, tmp_path: Path) -> None:
    """The server's tokens would be others, and no error would say so. What is padded or cut off is no difference."""
    [node] = ml_client.nodes.info(metric="settings")["nodes"].values()
    jars = Path(node["settings"]["path"]["home"], "plugins", "opensearch-ml").glob("opensearch-ml-algorithms-*.jar")
    jar = next(jars, None)
    if jar is None:
        pytest.skip("the given node's files are not on this machine")
    with zipfile.ZipFile(jar) as outer, zipfile.ZipFile(io.BytesIO(outer.read("analysis/bert-uncased.zip"))) as inner:
        idf = orjson.loads(inner.read("idf.json"))
    special = Bundle.open("splade-tiny-idf").manifest.special_tokens
    table = {feature_name(token): weight for token, weight in idf.items() if token not in special}
    own = with_table(tmp_path / "own", table)
    assert is_servers_own(own)
    told = osplade("bundle", "pack", own.folder, "--for", "analyzer", "-o", tmp_path / "out", "--json")
    assert orjson.loads(told.stdout)["analyzer"] == TOKENIZER
    assert not (tmp_path / "out").exists()
    assert not is_servers_own(with_table(tmp_path / "other", table | {"paris": 9.0}))
    assert not is_servers_own(Bundle.open("splade-tiny"))


# The command


def test_packing_tells_machines_what_to_register(tmp_path: Path) -> None:
    """What ``_register_meta`` asks for; what is there already is kept unless told otherwise."""
    out = tmp_path / "d.zip"
    arguments = ("bundle", "pack", "minilm-l6", "--for", "ml-commons", "-o", out)
    told = orjson.loads(osplade(*arguments, "--json").stdout)
    assert (told["function"], told["bytes"]) == ("TEXT_EMBEDDING", out.stat().st_size)
    assert told["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert told["model_config"]["embedding_dimension"] == 384
    again = osplade(*arguments)
    assert again.exit_code == 1
    assert "--replace" in again.stderr
    assert osplade(*arguments, "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["splade-tiny", "--for", "ml-commons", "--what", "queries"], 1, "its questions need its model"),
        (["splade-tiny", "--for", "analyzer"], 1, "--query-weights"),
        (["minilm-l6", "--for", "ml-commons", "--what", "documents"], 1, "a sparse one is needed"),
        (["splade-tiny", "--for", "ml-commons", "--what", "dense"], 1, "a dense one is needed"),
        (["splade-tiny-idf", "--for", "analyzer", "--what", "queries"], 2, "an analyzer is for queries"),
        (["nothing", "--for", "analyzer"], 1, "There is no bundle nothing"),
    ],
)
def test_what_cannot_be_packed_says_why(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    """One error with the way out, and nothing written."""
    done = osplade("bundle", "pack", *arguments, "-o", tmp_path / "out")
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inline", [False, True])
def test_an_analyzer_is_written_with_what_to_do(tmp_path: Path, inline: bool) -> None:
    """A rules file and settings that name it, or settings alone."""
    more = ["--inline"] if inline else ["--rules-path", "analysis/mine.txt"]
    done = osplade("bundle", "pack", "splade-tiny-idf", "--for", "analyzer", "-o", tmp_path / "out", *more)
    settings = orjson.loads((tmp_path / "out" / "settings.json").read_bytes())
    rules = settings["analysis"]["filter"]["own_rules"]
    assert ("rules" in rules, rules.get("rules_path")) == (inline, None if inline else "analysis/mine.txt")
    assert (tmp_path / "out" / "sparse_rules.txt").exists() is not inline
    assert ("config/analysis/mine.txt on every node" in done.stdout) is not inline
    assert f'"analyzer": "{ANALYZER}"' in done.stdout
