"""The curve of size against quality, and what it recommends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.cli.main import main
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.prune_curve import (
    CurvePoint,
    default_rules,
    json_bytes,
    posting_bytes,
    prune_curve,
    recommend,
)
from opensearch_splade.ingest.codec import round_weights
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.types import SparseVectors

WEIGHTS = st.floats(2**-7, 4, width=32)
ROWS = st.lists(st.dictionaries(st.integers(0, 12), WEIGHTS, max_size=8), min_size=1, max_size=6)


def vectors(rows: list[dict[int, float]]) -> SparseVectors:
    """Rows of token to weight."""
    parts = [(token, row[token]) for row in rows for token in sorted(row)]
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    tokens, weights = zip(*parts, strict=True) if parts else ((), ())
    return SparseVectors(indptr, np.array(tokens, np.int32), np.array(weights, np.float32))


@given(documents=ROWS, questions=ROWS)
def test_exact_scores_are_dot_products(documents: list[dict[int, float]], questions: list[dict[int, float]]) -> None:
    """Of every question with every document, the best first, and without those that share nothing."""
    ids = [f"d{number}" for number in range(len(documents))]
    ranked = list(ExactIndex(ids, vectors(documents)).rank(vectors(questions), 3))
    assert len(ranked) == len(questions)
    for question, found in zip(questions, ranked, strict=True):
        exact = {
            id_: sum(weight * row[token] for token, weight in question.items() if token in row)
            for id_, row in zip(ids, documents, strict=True)
        }
        best = sorted((score for score in exact.values() if score > 0), reverse=True)[:3]
        assert list(found.values()) == pytest.approx(best)
        assert found == pytest.approx({id_: exact[id_] for id_ in found})


def test_bytes_of_json() -> None:
    """As they are sent, but for the braces."""
    rows = [{0: 0.5, 1: 1.25}, {1: 2.0}]
    names = ['a"b', "ü"]
    sent = [orjson.dumps({names[token]: weight for token, weight in row.items()}) for row in rows]
    lengths = np.array([len(orjson.dumps(name)) for name in names])
    # a brace less and a comma more for each document; two brackets in all
    assert json_bytes(vectors(rows), lengths) == sum(map(len, sent)) - 2 * len(rows) + len(rows) - 1 + 2


@given(rows=ROWS)
def test_the_estimate_follows_the_features(rows: list[dict[int, float]]) -> None:
    """Fewer features never take more, and each takes at least its weight and a step to the next."""
    whole = vectors(rows)
    pruned = Pruning("top_k", 1).apply(whole)
    assert posting_bytes(pruned) <= posting_bytes(whole)
    assert posting_bytes(whole) >= len(whole.weights) * 17 / 8
    assert all(rule.apply(whole) for rule in default_rules(whole))


def test_the_first_point_is_unpruned_and_weights_are_those_stored() -> None:
    """A question finds the document that the rule still lets it find."""
    collection = Collection("x", "", {"q": "?"}, {"q": {"good": 1}})
    documents = vectors([{0: 0.3, 1: 3.0}, {0: 0.2}])
    rules = [Pruning("max_ratio", 0.5)]
    whole, pruned = prune_curve(collection, ["good", "other"], documents, vectors([{0: 1.0}]), ["fox", "dog"], rules)
    assert (whole.pruning, whole.features, whole.ndcg) == (None, 1.5, 1.0)
    assert (pruned.pruning, pruned.features, pruned.ndcg) == (rules[0], 1.0, 0.0)
    (found,) = ExactIndex(
        ["a"], SparseVectors(documents.indptr[:2], documents.token_ids[:2], round_weights(documents.weights[:2]))
    ).rank(vectors([{0: 1.0}]), 1)
    assert found["a"] == pytest.approx(0.3, rel=2**-9)


@pytest.mark.parametrize(("tolerance", "expected"), [(0.0, "top_k:9"), (0.002, "top_k:8"), (0.1, "top_k:6")])
def test_the_smallest_within_the_tolerance(tolerance: float, expected: str) -> None:
    """At the very edge too; of two that are as small, the better one."""
    sizes = [(9, 90.0, 0.5), (8, 80.0, 0.498), (7, 60.0, 0.41), (6, 60.0, 0.42), (5, 50.0, 0.3)]
    points = [CurvePoint(None, 10, 100.0, {"nDCG@10": 0.5})]
    points += [CurvePoint(Pruning("top_k", count), count, size, {"nDCG@10": ndcg}) for count, size, ndcg in sizes]
    assert str(recommend(points, tolerance).pruning) == expected
    assert recommend(points[:1], tolerance).pruning is None


@pytest.fixture
def animals(tmp_path: Path) -> str:
    """A tiny judged collection."""
    texts = {"a": "A fox runs over the hill.", "b": "The dog sleeps by the fire.", "c": "Trains leave at noon."}
    lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "fox"}\n{"_id": "2", "text": "dog"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("1\ta\t1\n2\tb\t1\n")
    return str(tmp_path)


@pytest.mark.parametrize("bundle", ["splade-tiny", "splade-tiny-idf"])
def test_the_command(animals: str, bundle: str) -> None:
    """Siamese and inference-free: a table, and the same as JSON; what it recommends is a rule that ingest takes."""
    command = ["prune-curve", animals, "--bundle", bundle]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    first, *rest = found["points"]
    assert first["prune"] is None
    assert first["nDCG@10"] == 1.0
    assert all(point["features"] <= first["features"] for point in rest)
    assert {point["prune"].partition(":")[0] for point in rest} == {
        "max_ratio",
        "top_k",
        "alpha_mass",
        "abs_value",
        "budget",
    }
    best = found["recommended"]
    assert best["nDCG@10"] == 1.0
    assert best["bytes"] == min(point["bytes"] for point in found["points"] if point["nDCG@10"] >= 0.998)
    shown = CliRunner().invoke(main, [*command, "--prune", "top_k:1", "--prune", best["prune"]])
    assert shown.exit_code == 0, shown.output
    assert any(f"{how} {best['prune']}" in shown.stdout for how in ("--prune", "--budget")) or "top_k:1" in shown.stdout


def test_calls_that_cannot_be(animals: str, tmp_path: Path) -> None:
    """Each is one line."""
    for more, message in (
        (["--prune", "best:3"], "--prune best:3: unknown"),
        (["--split", "dev"], "Splits there: test"),
    ):
        result = CliRunner().invoke(main, ["prune-curve", animals, "--bundle", "splade-tiny-idf", *more])
        assert result.exit_code == 1
        assert message in result.stderr
    (tmp_path / "corpus.jsonl").write_text("")
    result = CliRunner().invoke(main, ["prune-curve", animals, "--bundle", "splade-tiny-idf"])
    assert (result.exit_code, "holds no documents" in result.stderr) == (1, True)
