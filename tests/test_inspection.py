"""Inspection: each figure against small vectors that are reckoned by hand, and the command on a real index."""

from __future__ import annotations

import json
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch

from opensearch_splade.cli.inspect_tables import bars
from opensearch_splade.cli.main import main
from opensearch_splade.evaluation.inspection import Asked, Histogram, Section
from opensearch_splade.evaluation.inspection_all import SECTIONS, inspect_all
from opensearch_splade.evaluation.inspection_bounds import bm25_impacts, idf_weighted, posting_lists, work
from opensearch_splade.evaluation.inspection_dense import inspect_dimensions, principal_axes, truncated
from opensearch_splade.evaluation.inspection_features import in_text, inspect_dead, inspect_expansion, inspect_stop_like
from opensearch_splade.evaluation.inspection_quantisation import before_rounding, cut_off, inspect_quantisation, stepped
from opensearch_splade.evaluation.inspection_ranking import best, dense_scores, quality, sparse_scores
from opensearch_splade.evaluation.inspection_redundancy import coverage, inspect_redundancy
from opensearch_splade.evaluation.inspection_vectors import Reading, StoredVectors, numbered, read_vectors
from opensearch_splade.evaluation.inspection_weights import gini, inspect_flops, inspect_weights
from opensearch_splade.ingest.codec import RELATIVE_ERROR, round_weights
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.types import Features, SparseVectors

TEXTS = {
    "a": "A fox runs over the hill.",
    "b": "The dog sleeps by the fire.",
    "c": "Trains leave at noon.",
    "d": "Trains leave at noon!",
}


def vectors(*rows: Features) -> SparseVectors:
    """Rows whose features ``a``, ``b``, ... are 0, 1, ..."""
    return numbered(rows, {letter: place for place, letter in enumerate("abcdefgh")})


def stored(
    *rows: Features,
    words: tuple[Features, ...] | None = None,
    dense: list[list[float]] | None = None,
    documents: list[int] | None = None,
    sampled: int | None = None,
) -> StoredVectors:
    """Documents ``0``, ``1``, ... with a row each unless told otherwise."""
    places = documents or list(range(len(rows)))
    ids = [str(one) for one in range(max(places) + 1)]
    return StoredVectors(
        ids,
        np.array(places),
        vectors(*rows),
        vectors(*words) if words else None,
        np.array(dense, np.float32) if dense else None,
        np.arange(len(dense or ())),
        {letter: place for place, letter in enumerate("abcdefgh")},
        len(ids),
        len(ids) if sampled is None else sampled,
    )


def figures(section: Section) -> dict[str, float | int | None]:
    """By name."""
    return {one.name: one.value for one in section.figures}


def test_flops_is_the_multiplications_of_a_pair() -> None:
    """The sum over features of both shares: counted over all pairs it is the same."""
    documents = vectors({"a": 1, "b": 1}, {"a": 2}, {"c": 1}, {})
    questions = vectors({"a": 1}, {"a": 1, "c": 5})
    section = inspect_flops(documents, {"side": questions}, 8)
    assert figures(section)["FLOPS documents"] == pytest.approx((2 / 4) ** 2 + (1 / 4) ** 2 + (1 / 4) ** 2)
    pairs = [len(set(one.tolist()) & set(two.tolist())) for one, _ in documents for two, _ in questions]
    assert section.tables[0].rows == [["side", pytest.approx(sum(pairs) / len(pairs)), pytest.approx(2.5), 1.5]]


def test_weak_features_are_below_a_tenth_of_the_strongest() -> None:
    """Of their own vector; a tenth itself is not weak, as ``max_ratio:0.1`` has it."""
    found = figures(inspect_weights(vectors({"a": 2.0, "b": 0.25, "c": 0.125}, {"a": 0.125}), {}))
    assert found["weak features"] == 1 / 4
    assert found["weight of weak features"] == 0.125 / 2.5


def test_gini() -> None:
    """0 where all are alike; 1 - 1/n where one has all; of 1 and 3 a quarter."""
    assert gini(np.array([2.0, 2.0, 2.0], np.float32)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 5])) == pytest.approx(3 / 4)
    assert gini(np.array([3.0, 1.0], np.float32)) == pytest.approx(1 / 4)
    assert gini(np.array([], np.float32)) == 0


def test_lists_and_their_bounds() -> None:
    """Mean, bound, deviation and skew of each list; a feature that nothing has is an empty list."""
    lists = posting_lists(vectors({"a": 1.0, "b": 2.0}, {"a": 3.0}), 3)
    assert lists.lengths.tolist() == [2, 1, 0]
    assert lists.means.tolist() == [2.0, 2.0, 0.0]
    assert lists.largest.tolist() == [3.0, 2.0, 0.0]
    assert lists.deviations.tolist() == [1.0, 0.0, 0.0]
    assert lists.tightness.tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    assert lists.ginis.tolist() == pytest.approx([1 / 4, 0.0, 0.0])


def test_a_block_is_128_postings_of_a_list() -> None:
    """In the order of the index: the 129th posting begins a block, whatever other features stand between."""
    rows = [{"a": 1.0, "b": 9.0} if place % 2 else {"a": 1.0} for place in range(130)]
    rows[3], rows[128] = {"a": 4.0, "b": 9.0}, {"a": 2.0}
    documents = vectors(*rows)
    of_a = posting_lists(documents, 2).block_bounds[documents.token_ids == 0]
    assert of_a.tolist() == [4.0] * 128 + [2.0] * 2


@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.125, 8, width=32)), min_size=1, max_size=30),
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.125, 8, width=32), min_size=1), min_size=1),
)
def test_bounds_never_lose_a_document(rows: list[Features], asked: list[Features]) -> None:
    """What may be left out are documents below the tenth score, so the ten best are always among those looked at."""
    documents, questions = vectors(*rows), vectors(*asked)
    found = work(documents, posting_lists(documents, 8), questions)
    scores = np.hstack(list(sparse_scores(documents, questions)))
    least = [min(10, int((row > 0).sum())) / max(1, int((row > 0).sum())) for row in scores]
    assert sum(least) / len(least) - 1e-9 <= found.block_max <= found.wand + 1e-9
    assert found.wand <= 1
    assert 0 <= found.maxscore <= 1


def test_maxscore_walks_the_essential_lists() -> None:
    """The tenth score is 2; the common feature's bound of 1 alone cannot reach it, so its list is looked up only."""
    documents = vectors(*[{"a": 1.0, "b": 1.0}] * 10, *[{"a": 1.0}] * 30)
    found = work(documents, posting_lists(documents, 8), vectors({"a": 1.0, "b": 1.0}))
    assert found.maxscore == 10 / 50
    assert (found.wand, found.block_max) == (10 / 40, 10 / 40)


def test_one_large_weight_keeps_a_whole_list_in_play() -> None:
    """By bounds of lists all documents; by bounds of blocks those of its own block alone."""
    rows: list[Features] = [{"a": 2.0}] * 9 + [{"a": 9.0}] + [{"a": 1.0}] * 246
    documents = vectors(*rows)
    found = work(documents, posting_lists(documents, 8), vectors({"a": 1.0}))
    assert (found.maxscore, found.wand, found.block_max) == (1.0, 1.0, 128 / 256)


def test_bm25() -> None:
    """Impacts without idf, and questions with it, as Lucene has them."""
    impacts = bm25_impacts(vectors({"a": 2, "b": 1}, {"a": 1}))
    norms = [1.2 * (0.25 + 0.75 * length / 2) for length in (3, 1)]
    expected = [2 / (2 + norms[0]), 1 / (1 + norms[0]), 1 / (1 + norms[1])]
    assert impacts.weights.tolist() == pytest.approx(expected)
    question = idf_weighted(vectors({"a": 1, "c": 1}), np.array([2, 1, 0]), 2)
    assert question.weights.tolist() == pytest.approx([log(1 + 0.5 / 2.5), log(1 + 2.5 / 0.5)])


def test_expansion_is_what_the_text_lacks() -> None:
    """Each vector by its own text: what stands in another's does not count."""
    one = stored({"a": 3.0, "b": 1.0}, {"b": 4.0}, words=({"a": 2, "c": 1}, {"b": 1}))
    assert one.words is not None
    assert in_text(one.sparse, one.words).tolist() == [True, False, True]
    asked = Asked(["q"], {"q": {"0": 1}}, {"side": vectors({"b": 1.0})})
    section = inspect_expansion(one, asked, list(one.numbers))
    found = figures(section)
    assert found["expansion features"] == pytest.approx(1 / 3)
    assert found["weight of expansion"] == pytest.approx(1 / 8)
    assert found["words without weight"] == pytest.approx(1 / 3)
    # document 0 is found by its expansion alone, second to the other
    assert section.tables[1].rows == [["side", pytest.approx(0.6309, abs=1e-4), 0.0, pytest.approx(-0.6309, abs=1e-4)]]


def test_stop_like_is_common_and_even() -> None:
    """A common feature whose weights differ is none, nor is a rare one."""
    rows = [{"a": 1.0, "b": 0.125 if place % 4 else 4.0} for place in range(8)]
    rows[0]["c"] = 1.0
    one = stored(*rows)
    section = inspect_stop_like(one, posting_lists(one.sparse, 8), None, list(one.numbers))
    assert [row[0] for row in section.tables[0].rows] == ["a"]
    assert figures(section)["postings of stop-like"] == 8 / 17


def test_dead_features() -> None:
    """Of the vocabulary, and of what questions ask with."""
    lists = posting_lists(vectors({"a": 1.0, "b": 1.0}), 8)
    asked = Asked(["q", "r"], {}, {"side": vectors({"a": 1.0, "c": 2.0}, {"c": 1.0})})
    section = inspect_dead(lists, asked, list("abcdefgh"), ["a", "b", "c", "z"])
    assert figures(section)["dead features"] == 2
    assert figures(section)["asked in vain side"] == 3 / 4
    assert section.tables[0].rows == [["c", 2]]


def test_rankings_are_of_documents() -> None:
    """A document counts once, by its best row; what scores nothing is left out of sparse rankings."""
    one = stored({"a": 1.0}, {"a": 3.0}, {"a": 2.0}, {"b": 1.0}, documents=[0, 0, 1, 2])
    run = best(sparse_scores(one.sparse, vectors({"a": 2.0})), one.documents, one.ids)
    assert run == [{"0": 6.0, "1": 4.0}]
    assert list(run[0]) == ["0", "1"]
    dense = np.array([[1, 0], [-1, 0]], np.float32)
    assert best(dense_scores(dense, dense[:1]), np.arange(2), ["x", "y"], floor=-np.inf) == [{"x": 1.0, "y": -1.0}]


def test_false_positives_stand_before_the_first_relevant_one() -> None:
    """None if it comes first, ten if none of the ten is relevant."""
    wrong = {str(place): 20.0 - place for place in range(10)}
    run = [{"good": 9.0, "x": 1.0}, {"x": 9.0, "y": 8.0, "good": 7.0, "z": 1.0}, wrong]
    qrels = {query: {"good": 1, "x": 0} for query in "123"}
    assert quality(run, list("123"), qrels).false_positives == (0 + 2 + 10) / 3


def test_principal_axes_keep_inner_products() -> None:
    """All axes give the same scores; vectors of a plane need but two."""
    plane = np.random.default_rng(5).normal(size=(40, 2)) @ np.random.default_rng(6).normal(size=(2, 6))
    flat = plane.astype(np.float32)
    axes = principal_axes(flat)
    assert (flat @ axes) @ (flat @ axes).T == pytest.approx(flat @ flat.T, abs=1e-4)
    assert (flat @ axes[:, :2]) @ (flat @ axes[:, :2]).T == pytest.approx(flat @ flat.T, abs=1e-4)
    assert truncated(np.array([[3, 4, 5], [0, 0, 1]], np.float32), 2).tolist() == [
        [0.6000000238418579, 0.800000011920929],
        [0, 0],
    ]


def test_fewer_dimensions_and_larger_indices_bring_false_positives() -> None:
    """Of random vectors the right one is found by all dimensions, and lost by few, the more so the larger the index."""
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(400, 48))
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    noisy = dense[:60] + rng.normal(size=(60, 48)) * 0.2
    one = stored(*[{"a": 1.0}] * 400, dense=dense.tolist())
    asked = Asked(
        list(map(str, range(60))), {str(q): {str(q): 1} for q in range(60)}, {}, None, noisy.astype(np.float32)
    )
    by_dimension, by_size = inspect_dimensions(one, asked, 1).tables
    assert [row[0] for row in by_dimension.rows] == [48, 32]
    assert by_dimension.rows[0][2] == by_dimension.rows[0][4]  # all of them: projecting changes nothing
    assert by_dimension.rows[0][5] < by_dimension.rows[1][5]  # type: ignore[operator]
    sizes = {row[0]: row for row in by_size.rows}
    assert list(sizes) == [60, 100, 200, 400]  # the judged ones are always there
    assert by_size.rows[0][2] < by_size.rows[-1][2]  # type: ignore[operator]
    assert by_size.rows[-1][-2:] == by_dimension.rows[0][4:]


@given(st.lists(st.floats(2**-20, 1e6, width=32), min_size=1), st.integers(0, 5))
def test_drawn_originals_are_rounded_to_what_is_stored(weights: list[float], seed: int) -> None:
    """What is drawn could have been the original; cutting off errs below, and by a step at most."""
    kept = round_weights(np.array(weights, np.float32))
    original = before_rounding(kept, seed)
    assert round_weights(original).tolist() == kept.tolist()
    assert (np.abs(original - kept) <= RELATIVE_ERROR * original * (1 + 1e-6)).all()
    assert (cut_off(original) <= original).all()
    assert (original - cut_off(original) < 2 * RELATIVE_ERROR * original * (1 + 1e-6)).all()


def test_steps() -> None:
    """Equal ones up to the largest; a weight that is not zero keeps one step."""
    assert stepped(np.array([4.0, 1.0, 0.9, 0.1], np.float32), 4).tolist() == [4.0, 1.0, 1.0, 1.0]


def test_quantisation_tells_what_rankings_lose() -> None:
    """Sixteen bits lose nothing that counts; with four bits the second weighs 2 + 1 and the first 1 + 1."""
    one = stored({"a": 1.4375, "b": 1.4375}, {"a": 1.625, "b": 1.125}, {"c": 15.0}, dense=[[1, 0.01], [1, 0], [0, 1]])
    asked = Asked(["q"], {"q": {"0": 1}}, {"s": vectors({"a": 1.0, "b": 1.0})}, None, np.array([[1, 0]], np.float32))
    sparse, dense = inspect_quantisation(one, asked, 0).tables
    found = {str(row[0]): row for row in sparse.rows}
    assert found["float32, drawn"][-2:] == [1.0, 0.0]
    assert found["16-bit float"][-2:] == [1.0, 0.0]
    assert found["4 bits, equal steps"][-2] == pytest.approx(0.6309, abs=1e-4)
    assert found["9 bits, rounded: here"][2] <= RELATIVE_ERROR  # type: ignore[operator]
    assert dense.rows[0][2:5] == [0.0, 0.0, 0.0]


def test_coverage_is_what_other_passages_have_as_strongly() -> None:
    """The strongest of a document is covered as far as the second goes; other documents do not count."""
    passages = vectors({"a": 4.0, "b": 1.0}, {"a": 3.0}, {"a": 1.0, "c": 1.0}, {"a": 9.0})
    assert coverage(passages, np.array([0, 0, 0, 1])).tolist() == pytest.approx([3 / 5, 1.0, 1 / 2, 0.0])
    section = inspect_redundancy(stored({"a": 1.0}, {"a": 2.0}, {"b": 1.0}, documents=[0, 0, 1]), 0)
    assert figures(section)["covered passages"] == 1 / 2


def test_near_duplicates_are_of_other_documents() -> None:
    """Passages of one document are no duplicates of each other."""
    rows = ({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, {"c": 1.0})
    apart = inspect_redundancy(stored(*rows, dense=[[1, 0], [0.8, 0.6], [0, 1]]), 0)
    assert figures(apart)["near-duplicates sparse"] == 2 / 3
    assert apart.tables[0].rows[0] == ["0", "1", pytest.approx(1.0)]
    assert figures(apart)["near-duplicates dense"] == 0
    assert apart.tables[1].rows[0] == ["0", "1", pytest.approx(0.8)]
    assert figures(inspect_redundancy(stored(*rows, documents=[0, 0, 1]), 0))["near-duplicates sparse"] == 0


def test_an_index_without_features_is_told_as_such() -> None:
    """Nothing fails and nothing is not a number, with questions and without."""
    one = stored({}, {}, words=({}, {}), dense=[[0, 0], [0, 0]])
    asked = Asked(["q"], {"q": {"0": 1}}, {"s": vectors({"a": 1.0})}, vectors({"a": 1}), np.zeros((1, 2), np.float32))
    for questions in (None, asked):
        sections = inspect_all(one, questions, ["a"])
        assert [section.name for section in sections] == list(SECTIONS)
        assert "NaN" not in json.dumps([section.to_json() for section in sections])


def test_bars() -> None:
    """The fullest bin is the highest, and one that has something is seen."""
    assert bars([0, 1, 50, 100]) == " ▁▄█"
    assert bars([]) == ""
    assert Histogram.of("x", [1, 1, 3]).counts[0] == 2
    assert sqrt(Histogram.of("x", [1, 4, 4], logarithmic=True).high) == pytest.approx(2)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A tiny judged collection."""
    lines = [json.dumps({"_id": key, "text": text}) for key, text in TEXTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "fox"}\n{"_id": "2", "text": "dog"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("1\ta\t1\n2\tb\t1\n")
    return tmp_path


def osplade(*arguments: str) -> str:
    """What a command that works prints."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def ingested(folder: Path, node: RunningNode, index: str, *more: str) -> list[str]:
    """Brings it into an index; gives the options that name it."""
    where = ["--index", index, "--url", node.url]
    osplade("ingest", str(folder), *where, "--dead-letters", str(folder / "dead.jsonl"), *more)
    return where


@pytest.mark.server
def test_the_command_tells_all_of_an_index(animals: Path, node: RunningNode, index_name: str) -> None:
    """Every section, for people and for machines, of vectors as they are stored; without questions what needs them."""
    where = ingested(animals, node, index_name, "--bundle", "splade-tiny", "--dense-bundle", "minilm-l6")
    found = json.loads(osplade("inspect", *where, "--collection", str(animals), "--json"))
    assert (found["documents"], found["inspected"], found["vectors"], found["questions"]) == (4, 4, 4, 2)
    sections = found["sections"]
    assert list(sections) == [name.replace("-", "_") for name in SECTIONS]
    assert not any(section["missing"] for name, section in sections.items() if name != "redundancy")
    assert sections["expansion"]["tables"]["without_expansion"][0]["nDCG@10"] == 1.0
    assert 0 < sections["expansion"]["figures"]["expansion_features"] < 1
    assert {row["question"] for row in sections["flops"]["tables"]["questions_against_documents"]} == {
        "inference-free",
        "siamese",
    }
    nearest = sections["redundancy"]["tables"]["nearest_pairs_dense"][0]
    assert (nearest["document"], nearest["other"]) == ("c", "d")
    shown = osplade("inspect", *where, "--collection", str(animals))
    assert all(f"{name} ─" in shown for name in SECTIONS)
    assert "█" in shown
    alone = osplade("inspect", *where, "--only", "bounds", "--only", "dimensions")
    assert alone.count("give --collection") == 2
    assert "weights ─" not in alone


@pytest.mark.server
def test_a_sample_is_the_seeds_and_the_judged_are_read_beside_it(
    animals: Path, node: RunningNode, client: OpenSearch, index_name: str
) -> None:
    """The same seed gives the same documents; judged ones serve rankings and are not counted."""
    where = ingested(animals, node, index_name, "--bundle", "splade-tiny-idf")
    capabilities = probe(client)
    chosen = [read_vectors(client, capabilities, Reading(index_name, sample=2, seed=seed)) for seed in (*range(6), 0)]
    assert all((one.total, one.sampled, len(one.ids)) == (4, 2, 2) for one in chosen)
    assert chosen[0].ids == chosen[-1].ids
    assert len({tuple(one.ids) for one in chosen}) > 1
    whole = read_vectors(client, capabilities, Reading(index_name))
    assert set(whole.ids) == set(TEXTS)
    assert whole.words is None
    beside = read_vectors(client, capabilities, Reading(index_name, sample=1, named=["a", "b", "gone"]))
    assert {"a", "b"} <= set(beside.ids)
    assert (beside.sampled, len(beside.sample().sparse)) == (1, 1)
    found = json.loads(osplade("inspect", *where, "--collection", str(animals), "--sample", "1", "--json"))
    assert (found["inspected"], found["vectors"]) == (1, 1)
    assert found["sections"]["expansion"]["tables"]["without_expansion"][0]["nDCG@10"] == 1.0
    assert any("of a sample" in line for line in found["sections"]["dead"]["missing"])
    again = json.loads(osplade("inspect", *where, "--collection", str(animals), "--sample", "1", "--json"))
    assert found == again


@pytest.mark.server
@pytest.mark.parametrize("store", ["nested", "documents"])
@pytest.mark.parametrize("sample", ["2", "50000"])
def test_passages_are_vectors_of_their_document(
    animals: Path, node: RunningNode, index_name: str, store: str, sample: str
) -> None:
    """However they are stored, whole or a sample: a document has several, and a text that repeats is covered."""
    again = " ".join(["The fox runs over the green hill."] * 12)
    lines = [json.dumps({"_id": key, "text": text}) for key, text in (("a", again), ("b", "A dog."))]
    (animals / "corpus.jsonl").write_text("\n".join(lines))
    how = ["--passages", "windows:16", "--store-passages", store]
    where = ingested(animals, node, index_name, "--bundle", "splade-tiny-idf", *how)
    found = json.loads(osplade("inspect", *where, "--collection", str(animals), "--sample", sample, "--json"))
    assert (found["documents"], found["inspected"]) == (2, 2)
    assert found["vectors"] > 3
    assert found["sections"]["expansion"]["tables"]["without_expansion"][0]["nDCG@10"] == 1.0
    assert found["sections"]["redundancy"]["figures"]["covered_passages"] > 0.5


@pytest.mark.server
def test_keys_of_a_sparse_vector_field_get_their_names(animals: Path, node: RunningNode, index_name: str) -> None:
    """Token ids mean nothing to people, and questions are asked by name."""
    where = ingested(animals, node, index_name, "--bundle", "splade-tiny-idf", "--sparse-field", "sparse_vector")
    found = json.loads(osplade("inspect", *where, "--collection", str(animals), "--json"))["sections"]
    assert found["expansion"]["tables"]["without_expansion"][0]["nDCG@10"] == 1.0
    assert not any(row["feature"].isdigit() for row in found["postings"]["tables"]["longest_lists"])


@pytest.mark.server
def test_an_index_that_cannot_be_inspected(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """Missing, foreign: one line each."""
    for message in ("there is no index", "was not made by opensearch-splade"):
        result = CliRunner().invoke(main, ["inspect", "--index", index_name, "--url", node.url])
        assert (result.exit_code, message in result.stderr) == (1, True), result.output
        client.indices.create(index=index_name, params={"ignore": 400})
