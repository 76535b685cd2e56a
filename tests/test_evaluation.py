"""Collections, measures and the comparison of ways to ask."""

from __future__ import annotations

import json
from math import ceil, log2
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.latency import percentile
from opensearch_splade.evaluation.measures import MEASURES, measure
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems import default_modes
from opensearch_splade.ingest.codec import RELATIVE_ERROR
from opensearch_splade.plugin.launcher import RunningNode

HEADER = "query-id\tcorpus-id\tscore\n"
QUERIES = '{"_id": "1", "text": "the fox"}\n{"_id": 2, "text": "the dog"}\n{"_id": "3", "text": "not judged"}\n'
QRELS = "1\ta\t2\n1\tb\t0\n2\tb\t1\n"


def beir(folder: Path, queries: str | bytes = QUERIES, qrels: str | bytes = HEADER + QRELS) -> str:
    """A BEIR folder without documents."""
    (folder / "qrels").mkdir()
    for path, content in (("queries.jsonl", queries), ("qrels/test.tsv", qrels)):
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder)


@pytest.mark.parametrize("qrels", [QRELS, HEADER + QRELS, (HEADER + QRELS).replace("\n", "\r\n") + "\r\n"])
def test_a_beir_folder_is_read(tmp_path: Path, qrels: str) -> None:
    """With or without a header and whatever the line ends: judged questions only, numbers as ids too."""
    loaded = load_collection(beir(tmp_path, QUERIES + "\n", qrels))
    assert loaded.queries == {"1": "the fox", "2": "the dog"}
    assert loaded.qrels == {"1": {"a": 2, "b": 0}, "2": {"b": 1}}
    assert (loaded.name, loaded.source) == (tmp_path.name, str(tmp_path))


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        ('{"_id": "1", "text": "x"}\n{"_id": "2"}\n', QRELS, r"queries\.jsonl:2: not a question with _id and text"),
        ('{"_id": "1", "text": "x"}\n{"_id"\n', QRELS, r"queries\.jsonl:2: not a question"),
        ('\n["1", "x"]\n', QRELS, r"queries\.jsonl:2: not a question"),
        (b'{"_id": "1", "text": "\xff"}\n', QRELS, r"queries\.jsonl:1: not a question"),
        (QUERIES, HEADER + "1\ta\t2\n1\tb\n", r"test\.tsv:3: expected query, document and a whole grade"),
        (QUERIES, "1\ta\tmuch\n", r"test\.tsv:1: expected query, document and a whole grade"),
        (QUERIES, "1 0 a 2\n", r"test\.tsv:1: expected query, document and a whole grade"),
        (QUERIES, HEADER + "1\ta\t0.5\n", r"test\.tsv:2: expected"),
        (QUERIES, b"1\t\xff\t1\n", r"test\.tsv is not UTF-8 text \(invalid start byte at byte 2\)"),
        (QUERIES, HEADER + "7\ta\t1\n", r"no question of queries\.jsonl is judged in qrels/test\.tsv"),
        (QUERIES, "", "no question of"),
    ],
)
def test_a_damaged_collection_is_told_by_file_and_line(
    tmp_path: Path, queries: str | bytes, qrels: str | bytes, message: str
) -> None:
    """What cannot be read is an error that names the file, and the line where there is one."""
    with pytest.raises(SourceError, match=message):
        load_collection(beir(tmp_path, queries, qrels))


def test_a_missing_part_of_a_collection_is_named(tmp_path: Path) -> None:
    """A wrong split lists those that are there; a missing file is named; an unknown name lists what is possible."""
    folder = beir(tmp_path)
    with pytest.raises(SourceError, match=r"qrels/dev\.tsv cannot be read: .*Splits there: test\."):
        load_collection(folder, "dev")
    (tmp_path / "queries.jsonl").unlink()
    with pytest.raises(SourceError, match=r"queries\.jsonl cannot be read: .*A BEIR folder holds queries\.jsonl"):
        load_collection(folder)
    with pytest.raises(SourceError, match=r"no collection \./scifacts: neither a folder, nor python-docs, nor"):
        load_collection("./scifacts")


def test_the_shipped_collection_is_whole() -> None:
    """Its questions are all judged, each with a document worth finding."""
    loaded = load_collection("python-docs")
    assert loaded.source == "pydoc:"
    assert loaded.queries.keys() == loaded.qrels.keys()
    assert all(max(grades.values()) > 0 for grades in loaded.qrels.values())


def test_measures_are_those_of_the_textbook() -> None:
    """Two relevant documents of three come second and third; the question without hits counts as zero."""
    qrels = {"1": {"a": 2, "b": 1, "c": 1, "x": 0}, "2": {"a": 1}}
    run = {"1": {"x": 9.0, "b": 8.0, "a": 7.0, "unjudged": 6.0}, "2": dict[str, float]()}
    ndcg = (1 / log2(3) + 2 / log2(4)) / (2 / log2(2) + 1 / log2(3) + 1 / log2(4))
    ap = (1 / 2 + 2 / 3) / 3
    expected = {"nDCG@10": ndcg / 2, "R@100": 2 / 3 / 2, "AP": ap / 2, "RR@10": 1 / 2 / 2, "Judged@10": 3 / 4 / 2}
    assert tuple(expected) == MEASURES
    assert measure(run, qrels) == pytest.approx(expected, abs=0.00005)


def test_measures_stop_at_their_cutoff() -> None:
    """Rank 11 counts for AP and recall, not for the measures at 10; rank 101 not for recall at 100."""
    ranks = {f"d{rank}": 1000.0 - rank for rank in range(1, 102)}
    found = measure({"1": ranks}, {"1": {"d11": 1, "d101": 1}})
    expected = {"nDCG@10": 0.0, "R@100": 1 / 2, "AP": (1 / 11 + 2 / 101) / 2, "RR@10": 0.0, "Judged@10": 0.0}
    assert found == pytest.approx(expected, abs=0.00005)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_percentile_is_the_nearest_rank(values: list[float], share: int) -> None:
    """The smallest of the values that at least that share of them does not exceed."""
    found = percentile(values, share)
    needed = ceil(share * len(values) / 100)
    assert found in values
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed


def test_default_modes_follow_what_the_index_has() -> None:
    """Each ranking alone, each two of them, all together; both forms of the sparse query where there are two."""
    assert default_modes(["bm25"]) == ["bm25"]
    assert default_modes(["bm25", "knn"]) == ["bm25", "knn", "bm25+knn", "bm25+knn:rrf"]
    assert default_modes(["bm25", "weighted-terms"])[:2] == ["bm25", "weighted-terms"]
    assert default_modes(["bm25", "neural-sparse", "knn"]) == [
        "bm25",
        "weighted-terms",
        "neural-sparse",
        "knn",
        "bm25+neural-sparse",
        "bm25+knn",
        "neural-sparse+knn",
        "bm25+neural-sparse+knn",
        "bm25+neural-sparse+knn:rrf",
    ]


@pytest.fixture
def animals(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> list[str]:
    """A tiny collection with its documents in the index; gives what follows ``osplade eval``."""
    texts = {"a": "A fox runs over the hill.", "b": "The dog sleeps by the fire.", "c": "Trains leave at noon."}
    corpus = "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items())
    folder = beir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    where = ["--index", index_name, "--url", node.url]
    how = ["--bundle", "splade-tiny", "--dense-bundle", "minilm-l6", "--dead-letters", str(tmp_path / "dead.jsonl")]
    result = CliRunner().invoke(main, ["ingest", folder, *where, *how])
    assert result.exit_code == 0, result.output
    assert client.count(index=index_name)["count"] == len(texts)
    return [folder, *where]


@pytest.mark.server
def test_eval_measures_every_system(animals: list[str]) -> None:
    """Every mode and query side is measured; the right document comes first; scores are exact within law 3."""
    result = CliRunner().invoke(main, ["eval", *animals, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["split"] == "test"
    asked = [SystemSpec.parse(one["spec"]) for one in report["systems"]]
    assert list(dict.fromkeys(str(spec.mode) for spec in asked)) == default_modes(["bm25", "neural-sparse", "knn"])
    assert {spec.query_side for spec in asked if "neural-sparse" in str(spec.mode)} == {"siamese", "inference-free"}
    assert {spec.query_side for spec in asked if str(spec.mode) in {"bm25", "knn", "bm25+knn"}} == {""}
    for one in report["systems"]:
        # Only one of the animals is judged for each question.
        assert one["measures"] | {"Judged@10": 1.0} == dict.fromkeys(MEASURES, 1.0), one
        assert 0 < one["latency"]["client_p50"] <= one["latency"]["client_p95"]
    assert report["score_error"].keys() == {"neural-sparse", "weighted-terms"}
    assert max(report["score_error"].values()) <= RELATIVE_ERROR


@pytest.mark.server
def test_eval_of_some_systems_prints_a_table(animals: list[str]) -> None:
    """Only the modes asked for, one query side; the table names the questions and the index."""
    modes = ["--mode", "bm25", "--mode", "weighted-terms", "--query-side", "siamese"]
    result = CliRunner().invoke(main, ["eval", *animals, *modes])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines if "1.0000" in line] == ["bm25", "weighted-terms"]
    assert "2 questions" in result.stdout
    assert animals[2] in result.stdout
    wrong = CliRunner().invoke(main, ["eval", *animals, "--mode", "bm52"])
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "unknown ranking 'bm52'" in wrong.stderr
