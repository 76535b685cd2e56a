"""Tables of query weights: what each kind makes of a question, and what is read as one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.onnx_models.query_weights import K3, saturation

any_text = st.text(st.characters(), max_size=80)  # lone surrogates included
fixture = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def free() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny-idf")


@pytest.fixture(scope="module")
def binary(free: SparseEncoder) -> SparseEncoder:
    return free.with_query_weights(QueryTable("binary").make(free.tokenizer, free.vocabulary), "binary")


@pytest.fixture(scope="module")
def idf(free: SparseEncoder) -> dict[str, float]:
    return QueryTable("idf", ["the fox", "the dog", "a duck, a duck"]).make(free.tokenizer, free.vocabulary)


@pytest.fixture(scope="module")
def counted(free: SparseEncoder, idf: dict[str, float]) -> SparseEncoder:
    return free.with_query_weights(idf, "idf")


@pytest.fixture(scope="module")
def bm25(free: SparseEncoder, idf: dict[str, float]) -> SparseEncoder:
    return free.with_query_weights(idf, "bm25")


def features_of(encoder: SparseEncoder, text: str) -> Counter[str]:
    """How often each feature stands in a text."""
    names = encoder.vocabulary.features
    [tokens] = encoder.tokenizer.encode([text], special=False)
    return Counter(names[token] for token in tokens if names[token])


@fixture
@given(any_text)
def test_binary_weighs_each_distinct_token_one(binary: SparseEncoder, text: str) -> None:
    """SPLADE-doc: what stands in the question is asked for, all alike."""
    assert binary.encode_query(text) == dict.fromkeys(features_of(binary, text), 1.0)


@fixture
@given(any_text, st.integers(2, 4))
def test_only_bm25_counts_how_often_a_token_stands_there(
    counted: SparseEncoder, bm25: SparseEncoder, idf: dict[str, float], text: str, times: int
) -> None:
    """``idf * qtf * (k3 + 1) / (qtf + k3)``, strongest first; for the other kinds a repeated text asks the same."""
    repeated = " ".join([text] * times)
    counts = features_of(bm25, repeated)
    found = bm25.encode_query(repeated)
    assert found == pytest.approx({feature: idf[feature] * saturation(count) for feature, count in counts.items()})
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert counted.encode_query(repeated) == {feature: idf[feature] for feature in counts}


@fixture
@given(st.sets(st.sampled_from(["fox", "dog", "the", "duck", "zebra", ","])))
def test_bm25_is_idf_where_nothing_is_repeated(counted: SparseEncoder, bm25: SparseEncoder, words: set[str]) -> None:
    """Exactly, and in the same order."""
    text = " ".join(sorted(words))
    assert list(bm25.encode_query(text).items()) == list(counted.encode_query(text).items())


@given(st.integers(1, 10_000))
def test_saturation_rises_and_is_bounded(count: int) -> None:
    """Each repetition adds, less than the one before, and all together less than ``k3 + 1``."""
    assert saturation(1) == 1
    steps = [saturation(count + more) for more in range(3)]
    assert steps[0] < steps[1] < steps[2] < K3 + 1
    assert steps[2] - steps[1] < steps[1] - steps[0]


@fixture
@given(any_text)
def test_a_batch_of_queries_equals_one_by_one(bm25: SparseEncoder, text: str) -> None:
    """Where repetition counts too."""
    [row] = bm25.encode_queries([text])
    assert bm25.features(*row) == pytest.approx(bm25.encode_query(text), rel=1e-6)


def tables(folder: Path, table: dict[str, float], encoder: SparseEncoder) -> list[Path]:
    """One table in each form that is read."""
    named = {".json": json.dumps(table), ".txt": "".join(f"{token}\t{weight}\r\n" for token, weight in table.items())}
    paths = [folder / f"table{suffix}" for suffix in (".json", ".txt", ".safetensors")]
    for path in paths[:2]:
        path.write_text(named[path.suffix], encoding="utf-8", newline="")
    by_id = np.zeros(len(encoder.vocabulary), np.float32)
    for token, weight in table.items():
        by_id[encoder.tokenizer.vocabulary.get(token, 0)] = weight
    save_file({"anything": by_id}, paths[2])
    return paths


def test_a_table_is_read_in_three_forms(free: SparseEncoder, tmp_path: Path) -> None:
    """JSON, lines and safetensors say the same; dots are renamed, what weighs nothing or is special is left out."""
    table = {"fox": 1.5, ".": 0.25, "[SEP]": 2.0, "the": 0.0, "dog": -1.0, "no such token": 3.0}
    for path in tables(tmp_path, table, free):
        found = QueryTable("table", file=path).make(free.tokenizer, free.vocabulary)
        assert found == {"<dot>": 0.25, "fox": 1.5}, path


@pytest.mark.parametrize("name", ["query_weights.json"])
def test_the_table_of_another_bundle_is_read(free: SparseEncoder, name: str) -> None:
    """It names features, not tokens."""
    path = free.bundle.folder / name
    assert QueryTable("table", file=path).make(free.tokenizer, free.vocabulary) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "none.json cannot be read"),
        ("none.safetensors", None, "none.safetensors cannot be read as safetensors"),
        ("a.json", b"[1]", "a.json must hold one JSON object of token: weight"),
        ("a.json", b'{"fox": "1"}', "must hold one JSON object"),
        ("a.json", b'{"fox": true}', "must hold one JSON object"),
        ("a.json", b'{"fox"', "a.json is not valid JSON"),
        ("a.json", b'{"schnabeltier": 2}', "no token of this vocabulary"),
        ("a.txt", b"fox\t1\ndog 2\n", "a.txt:2: a line is a token, a tab and a weight"),
        ("a.txt", b"fox\t1\n\n2\n", "a.txt:3: a line is a token, a tab and a weight"),
        ("a.txt", b"fox\tinf\n", "a.txt holds the weight inf; query weights are finite numbers"),
        ("a.txt", b"\xff\xfe\x00", "a.txt cannot be read"),
        ("a.safetensors", b"nonsense", "a.safetensors cannot be read as safetensors"),
    ],
)
def test_what_is_no_table(free: SparseEncoder, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    """One error that names the file, and the line where there are lines."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        QueryTable("table", file=path).make(free.tokenizer, free.vocabulary)


def test_tensors_that_do_not_fit(free: SparseEncoder, tmp_path: Path) -> None:
    """Too many weights, or too many tensors to choose from."""
    path = tmp_path / "a.safetensors"
    save_file({"weight": np.ones(len(free.vocabulary) + 1, np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"holds 30523 query weights for a vocabulary of 30522"):
        QueryTable("table", file=path).make(free.tokenizer, free.vocabulary)
    save_file({"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}, path)
    with pytest.raises(CheckpointError, match="holds a, b; query weights are one tensor"):
        QueryTable("table", file=path).make(free.tokenizer, free.vocabulary)
