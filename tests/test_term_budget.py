"""Budgets of the corpus: what they promise is what is left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.cli.main import main
from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.term_budget import Budget, TermBudget, parse_rule
from opensearch_splade.onnx_models.sparse_rows import maximum, stack
from opensearch_splade.types import SparseVectors

VOCABULARY = 40


@st.composite
def corpora(draw: st.DrawFn) -> SparseVectors:
    """Some rows of distinct weights."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = []
    for _ in range(draw(st.integers(1, 30))):
        ids = np.flatnonzero(generator.random(VOCABULARY) < generator.random()).astype(np.int32)
        rows.append((ids, generator.random(len(ids)).astype(np.float32) + np.float32(1e-3)))
    return stack(rows)


@given(corpora(), st.integers(1, 50), st.sampled_from([0.0, 0.1, 0.5]))
def test_budgets_hold_over_the_corpus(vectors: SparseVectors, per_document: int, share: float) -> None:
    """Counts stay within both budgets, but for the strongest feature of each document, which always stays."""
    pruned = Budget(per_document, share).apply(vectors)
    count = len(vectors)
    filled = int((np.diff(vectors.indptr) > 0).sum())
    assert len(pruned.weights) <= per_document * count + filled
    if share:
        postings = np.bincount(pruned.token_ids, minlength=VOCABULARY)
        strongest = np.bincount(
            [int(ids[weights.argmax()]) for ids, weights in vectors if len(ids)], minlength=VOCABULARY
        )
        assert (postings <= max(1, round(share * count)) + strongest).all()
    for (ids, weights), (kept, _) in zip(vectors, pruned, strict=True):
        assert set(kept) <= set(ids)
        assert not len(ids) or ids[weights.argmax()] in kept


@given(corpora())
def test_what_stays_is_worth_more_than_what_goes(vectors: SparseVectors) -> None:
    """One threshold for all documents: nothing goes that is worth more than it."""
    learned = Budget(3).learn(vectors, VOCABULARY) if len(vectors.weights) else None
    if learned is None:
        return
    pruned = learned.apply(vectors)
    for (ids, weights), (kept, _) in zip(vectors, pruned, strict=True):
        gone = ~np.isin(ids, kept)
        assert (weights[gone] < learned.threshold).all()


def test_a_table_is_kept_and_checked(tmp_path: Path) -> None:
    """Round trip; and a table that was changed, or is none, is refused."""
    vectors = stack([(np.array([1, 2], np.int32), np.array([0.5, 1.5], np.float32))] * 10)
    learned = Budget(1, 0.5).learn(vectors, VOCABULARY)
    path = tmp_path / "table.json"
    learned.save(path)
    again = parse_rule(f"table:{path}")
    assert isinstance(again, TermBudget)
    assert str(again) == str(learned)
    assert np.array_equal(again.of_term, learned.of_term)
    path.write_text(path.read_text().replace('"threshold":', '"threshold":1'))
    with pytest.raises(OspladeError, match="was changed"):
        parse_rule(f"table:{path}")
    path.write_text("{}")
    with pytest.raises(OspladeError, match="no table of budgets"):
        parse_rule(f"table:{path}")
    with pytest.raises(OspladeError, match="cannot be read: No such file"):
        parse_rule(f"table:{tmp_path / 'none'}")
    with pytest.raises(OspladeError, match="another vocabulary"):
        learned.apply(stack([(np.array([VOCABULARY], np.int32), np.ones(1, np.float32))]))


@pytest.mark.parametrize("text", ["budget", "budget:0", "budget:x", "budget:5:1", "budget:5:-1", "top_k:3"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(OspladeError, match="budget"):
        Budget.parse(text)


def test_the_command_makes_a_table_that_ingest_takes(tmp_path: Path) -> None:
    """By a real bundle; the budget is met on the documents it was learned from."""
    corpus = tmp_path / "corpus.jsonl"
    texts = [
        "A fox runs over the hill.",
        "The dog sleeps by the fire.",
        "Trains leave at noon.",
        "Rain fell all night.",
    ]
    corpus.write_text("\n".join(json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)))
    table = tmp_path / "table.json"
    command = ["prune-table", str(corpus), "--bundle", "splade-tiny", "--budget", "budget:8:0.5", "--out", str(table)]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["documents"] == 4
    assert 7 <= found["features_kept"] <= 9 < found["features"]
    assert str(parse_rule(f"table:{table}")).startswith("table:")
    told = CliRunner().invoke(main, command)
    assert f"--prune table:{table}" in told.stdout


@given(corpora())
def test_the_maximum_of_parts_is_that_of_the_whole(vectors: SparseVectors) -> None:
    """Merged rows equal the maximum of the dense ones, by ascending token id."""
    dense = np.zeros((len(vectors), VOCABULARY), np.float32)
    for number, (ids, weights) in enumerate(vectors):
        dense[number, ids] = weights
    token_ids, weights = maximum(list(vectors))
    assert np.array_equal(token_ids, np.flatnonzero(dense.max(axis=0)))
    assert np.array_equal(weights, dense.max(axis=0)[token_ids])
