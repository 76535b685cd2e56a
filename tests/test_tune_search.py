"""Tuning of a search: fusion on the client is the server's, nothing is chosen on what is judged, and it learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.cli.main import main
from opensearch_splade.cli.tune_search import options_of
from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.fused_runs import Pool, fused_runs
from opensearch_splade.evaluation.leakage import folds, normal_text, refuse_overlap, refuse_test_split
from opensearch_splade.evaluation.learned_rescorer import RescorerTuner
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.search_tuners import tuners, untuned
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.tuning import OTHERS, SHIPPED, FusionTuner, cross_validate, ndcg_each, spec_of
from opensearch_splade.evaluation.tuning_report import evaluated, tune_and_judge
from opensearch_splade.index_meta import DenseMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import knn, match, neural_sparse, search_body
from opensearch_splade.query.fusion_spec import Fusion

QUERIES = {f"q{number}": f"question {number}" for number in range(40)}


def made(seed: int = 0, noise: tuple[float, ...] = (0.6, 0.9, 3.0)):
    """Judgements, and legs that know them with more or less noise."""
    random = np.random.default_rng(seed)
    qrels, legs = {}, [dict[str, dict[str, float]]() for _ in noise]
    for query in QUERIES:
        truth = random.normal(size=60)
        qrels[query] = {f"d{place}": 1 for place in np.argsort(-truth)[:4]}
        for leg, sigma in zip(legs, noise, strict=True):
            scores = truth + random.normal(size=60) * sigma + 5
            leg[query] = {f"d{place}": float(scores[place]) for place in np.argsort(-scores)[:40]}
    return qrels, dict(zip(("bm25", "neural-sparse query-side=siamese", "knn"), legs, strict=True))


def test_min_max_is_the_formula() -> None:
    """(score - least) / (most - least), .001 for the least, 0 where not found; the weighted mean of the legs."""
    pool = Pool.of([{"a": 3.0, "b": 2.0, "c": 1.0}, {"d": 9.0, "b": 5.0}])
    found = fused_runs(Fusion("min_max", "arithmetic_mean", (3.0, 1.0)), {"q": pool})["q"]
    expected = {"a": 0.75 * 1, "b": 0.75 * 0.5 + 0.25 * 0.001, "d": 0.25 * 1, "c": 0.75 * 0.001}
    assert found == pytest.approx(expected, abs=1e-6)
    assert list(found) == list(expected)


def test_reciprocal_ranks_are_the_formula() -> None:
    """1 / (60 + rank), ranks in the order in which the hits came, whatever their scores."""
    pool = Pool.of([{"a": 1.0, "b": 1.0}, {"b": 7.0}])
    found = fused_runs(Fusion("rrf", "arithmetic_mean", (1.0, 1.0)), {"q": pool})["q"]
    assert found == pytest.approx({"b": (1 / 62 + 1 / 61) / 2, "a": 1 / 61 / 2})


def test_only_candidates_are_fused() -> None:
    """What lies beyond the depth of a leg is not in its pool, and a run is cut at its depth."""
    pool = Pool.of([{"a": 3.0, "b": 2.0, "c": 1.0}, {"c": 1.0}], depth=2)
    assert set(pool.ids) == {"a", "b", "c"}
    assert pool.ranks[pool.ids.index("c")].tolist() == [0, 1]
    assert list(fused_runs(Fusion("min_max", "arithmetic_mean", (2.0, 1.0)), {"q": pool}, depth=1)["q"]) == ["a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("z_score", "geometric_mean", (1.0, 1.0)), "z_score goes with arithmetic_mean"),
        (("min_max", "arithmetic_mean", (-1.0, 1.0)), "none negative"),
        (("min_max", "arithmetic_mean", (0.0, 0.0)), "one is above 0"),
    ],
)
def test_fusions_that_the_server_lacks_are_refused(arguments, message) -> None:
    """A choice must be one that can be searched with."""
    with pytest.raises(QueryError, match=message):
        Fusion(*arguments)


@given(st.integers(0, 10_000))
def test_ndcg_is_that_of_trec_eval(seed: int) -> None:
    """The objective equals ir-measures' on random rankings with ties and grades, question by question."""
    random = np.random.default_rng(seed)
    qrels = {"q": {f"d{place}": int(random.integers(-1, 4)) for place in range(15)}}
    run = {"q": {f"d{place}": float(random.integers(0, 6)) for place in random.permutation(25)[:18]}}
    expected = measure_each(run, qrels, ["nDCG@10"])["nDCG@10"]
    assert ndcg_each(run, qrels) == pytest.approx(expected, abs=1e-9)


def test_a_choice_is_a_system() -> None:
    """The spec of a fusion can be read again; legs of weight 0 are left out, a single leg is itself."""
    legs = ["bm25", "neural-sparse query-side=siamese", "knn"]
    spec = spec_of(legs, Fusion("rrf", "arithmetic_mean", (0.2, 0.8, 0.0)))
    assert spec == "bm25+neural-sparse:rrf query-side=siamese weights=0.2,0.8"
    assert SystemSpec.parse(spec).weights == (0.2, 0.8)
    assert spec_of(legs, Fusion("min_max", "arithmetic_mean", (0.0, 0.0, 1.0))) == "knn"
    for fusion in (Fusion("raw", weights=(0.01, 0, 0.4)), Fusion("l2", "geometric_mean", (0.01, 0, 0.4))):
        spec = SystemSpec.parse(spec_of(legs, fusion))
        assert (str(spec.mode), spec.weights) == (f"bm25+knn:{fusion.method}", (0.01, 0.4))


def test_tuning_prefers_the_legs_that_know() -> None:
    """The leg of most noise weighs least, and the fusion is better than any leg on other questions too."""
    qrels, legs = made()
    tuner = FusionTuner("tuned", legs, qrels)
    weights = tuner.choose(list(QUERIES)).parameters["weights"]
    assert weights[2] == min(weights) < weights[0]
    run = cross_validate(tuner, QUERIES, 5).run
    mean = np.mean(list(ndcg_each(run, qrels).values()))
    assert mean > max(np.mean(list(ndcg_each(leg, qrels).values())) for leg in legs.values())


def test_the_rescorer_learns() -> None:
    """Out of fold it is better than every leg, and the noisy leg gets the smallest min-max coefficient."""
    qrels, legs = made(1)
    tuner = RescorerTuner("learned", legs, qrels)
    run = cross_validate(tuner, QUERIES, 5).run
    mean = np.mean(list(ndcg_each(run, qrels).values()))
    assert mean > max(np.mean(list(ndcg_each(leg, qrels).values())) for leg in legs.values())


@pytest.mark.parametrize("place", range(5))
def test_judgements_left_out_change_nothing(place: int) -> None:
    """Law of leakage: with other judgements of the judged questions, every tuner chooses the same."""
    qrels, legs = made(2)
    held_out = folds(QUERIES, 5)[place]
    spoilt = qrels | {query: {"d0": 3, "d1": 1} for query in held_out}
    rest = [query for query in QUERIES if query not in held_out]
    for one, other in zip(tuners(legs, qrels, all_fusions=True), tuners(legs, spoilt, all_fusions=True), strict=True):
        assert one.choose(rest).parameters == other.choose(rest).parameters, one.name
        assert one.choose(rest).rank(held_out) == other.choose(rest).rank(held_out), one.name


def test_judgements_of_training_questions_do_change_choices() -> None:
    """So the test above can fail."""
    qrels, legs = made(2)
    spoilt = {query: {f"d{place}": 1 for place in (0, 1)} for query in qrels}
    one, other = (tuners(legs, found)[0].choose(list(QUERIES)).parameters for found in (qrels, spoilt))
    assert one != other


@given(st.dictionaries(st.text(max_size=4), st.sampled_from(["a", "A.", "b", "c c", "d", "e"]), min_size=12))
def test_folds_part_questions_by_their_text(queries: dict[str, str]) -> None:
    """Each question is in one fold, the same text in one fold only, and the seed decides."""
    if len({normal_text(text) for text in queries.values()}) < 3:
        return
    parts = folds(queries, 3, seed=4)
    assert sorted(query for part in parts for query in part) == sorted(queries)
    texts = [{normal_text(queries[query]) for query in part} for part in parts]
    assert sum(map(len, texts)) == len(set.union(*texts))
    assert parts == folds(queries, 3, seed=4)


def test_test_splits_are_refused() -> None:
    """Tuning on what is for measuring, or on what is judged, needs a word."""
    refuse_test_split("train", "test", allow_test=False)
    refuse_test_split("dev", "test", allow_test=False)
    refuse_test_split("test", "test", allow_test=True)
    for split, judge in (("test", "dev"), ("dev", "dev")):
        with pytest.raises(QueryError, match="--cross-validate"):
            refuse_test_split(split, judge, allow_test=False)


def test_questions_on_both_sides_are_refused() -> None:
    """The same question by another id, case, width or punctuation is the same."""
    refuse_overlap({"1": "a fox"}, {"2": "a dog"})
    refuse_overlap({"1": "a fox"}, {"2": "a fox"}, allow_test=True)
    with pytest.raises(QueryError, match=r"1 training questions are among those that are judged .*'1' is '2'"):
        refuse_overlap({"1": "A fox,  ran!"}, {"2": "\uff41 fox ran"})


def test_the_report_says_what_was_tuned_on_what() -> None:
    """Tuned systems carry it, legs do not; the verdict is of the tuned hybrid, against the best leg."""
    from opensearch_splade.evaluation.collection import Collection

    qrels, legs = made(3)
    found = tune_and_judge(tuners(legs, qrels), QUERIES, QUERIES, qrels, tuned_on="made/test", folds=4, seed=7)
    report = evaluated(Collection("made", "", QUERIES, qrels), "test", "i", "3.6.0", legs, found, untuned(legs))
    said = {system.name: system.tuned_on for system in report.systems}
    assert {said[name] for name in legs} == {""}
    assert {one.tuned_on for one in found} == {"cross-validated on made/test (4 folds, seed 7)"}
    assert all(said[one.name] == one.tuned_on for one in found)
    assert report.notes[1].startswith("tuned hybrid beats the best leg, bm25: nDCG@10 +")
    by_name = {system.name: system.measures["nDCG@10"] for system in report.systems}
    [name] = untuned(legs)
    assert f"{name}: nDCG@10 {by_name['tuned hybrid'] - by_name[name]:+.3f}" in report.notes[-1]


# The command


def collection(folder: Path, **splits: dict[str, str]) -> str:
    """A BEIR folder with a question for each entry of a split: id to text; the first word is the right document."""
    animals = ("fox", "dog", "cat", "owl", "bee", "cow")
    corpus = [{"_id": one, "title": "", "text": f"The {one} is an animal; it lives here."} for one in animals]
    queries = {query: text for split in splits.values() for query, text in split.items()}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in corpus), encoding="utf-8")
    lines = "".join(json.dumps({"_id": query, "text": text}) + "\n" for query, text in queries.items())
    (folder / "queries.jsonl").write_text(lines, encoding="utf-8")
    (folder / "qrels").mkdir()
    for name, split in splits.items():
        rows = "".join(f"{query}\t{text.split()[0]}\t1\n" for query, text in split.items())
        (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")
    return str(folder)


TRAIN = {"1": "fox animal", "2": "dog life", "3": "cat here"}
TEST = {"4": "owl animal", "5": "bee life", "6": "cow here"}


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": TRAIN, "test": TEST}, ["--split", "test"], "split 'test' is for measuring"),
        ({"train": TRAIN, "dev": TEST}, ["--split", "dev", "--judge", "dev"], "the same split 'dev'"),
        ({"train": TRAIN, "test": {**TEST, "9": "FOX animal."}}, [], "'1' is '9'"),
    ],
)
def test_the_command_refuses_leaks(tmp_path: Path, splits, options, message) -> None:
    """Before the cluster is asked anything."""
    where = ["--index", "none", "--url", "http://127.0.0.1:1"]
    result = CliRunner().invoke(main, ["tune-search", collection(tmp_path, **splits), *where, *options])
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("", ""),
        ("bm25+knn:rrf weights=1,2", "--mode bm25+knn:rrf --weights 1,2"),
        ("neural-sparse two-step=top_k:8 window=500", "--mode neural-sparse --two-step top_k:8 --window 500"),
        ("bm25 weights=1,0.3 rescore=neural-sparse", "--mode bm25 --rescore-weights 1,0.3 --rescore neural-sparse"),
    ],
)
def test_a_spec_as_options_of_a_search(spec: str, options: str) -> None:
    """Keys are options, but for the weights of a rescoring, which a search tells from those of a hybrid."""
    assert options_of(spec) == options


@pytest.mark.server
def test_the_command_tunes(tmp_path: Path, node, index_name) -> None:
    """By training questions for test ones, and within one split; what it prints can be asked."""
    folder = collection(tmp_path, train={**TRAIN, "7": "cow here"}, test=TEST)
    where = ["--index", index_name, "--url", node.url]
    how = ["--bundle", "splade-tiny", "--dense-bundle", "minilm-l6", "--dead-letters", str(tmp_path / "dead.jsonl")]
    done = CliRunner().invoke(main, ["ingest", folder, *where, *how, "--no-ledger"])
    assert done.exit_code == 0, done.output
    kept = ["--save-rescorer", str(tmp_path / "model.json")]
    result = CliRunner().invoke(main, ["tune-search", folder, *where, "--leave-out-overlap", *kept, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    hybrid = found["tuned"][0]
    assert hybrid["tuned_on"] == f"{tmp_path.name}/train without 1 that are judged too"
    assert found["measures"]["tuned hybrid"]["nDCG@10"] == 1.0
    asked = ["--system", f"tuned={hybrid['spec']}", "--no-latency", "--json"]
    again = CliRunner().invoke(main, ["eval", folder, *where, *asked])
    assert again.exit_code == 0, again.output
    options = options_of(hybrid["spec"]).split()
    searched = CliRunner().invoke(main, ["search", "fox animal", *where, *options, "--json"])
    assert json.loads(searched.stdout)["hits"][0]["id"] == "fox"
    learned = ["search", "fox animal", *where, "--rescorer", kept[1]]
    searched = CliRunner().invoke(main, [*learned, "--json"])
    assert json.loads(searched.stdout)["hits"][0]["id"] == "fox"
    beside = CliRunner().invoke(main, [*learned, "--two-step", "top_k:8"])
    assert "with, as they are: no --two-step" in beside.stderr
    wrong = CliRunner().invoke(main, ["search", "fox", *where, "--mode", "bm25+knn", "--weights", "1,x"])
    assert "--weights 1,x: numbers with commas" in wrong.stderr
    crossed = ["--split", "test", "--cross-validate", "--folds", "3", "--save", str(tmp_path / "saved.json")]
    result = CliRunner().invoke(main, ["tune-search", folder, *where, *crossed])
    assert result.exit_code == 0, result.output
    assert "cross-validated on" in result.stdout
    assert "does NOT differ" in result.stdout
    assert (tmp_path / "saved.json").exists()


# On the real node


@pytest.fixture
def questions(client, index_name):
    """Three legs over 120 documents of one shard, some found by one leg only, without ties."""
    capabilities = probe(client)
    sparse, dense = SparseMeta("s", "tiny", "siamese"), DenseMeta("d", "mini", 2)
    body = index_body(sparse=sparse, dense=dense, capabilities=capabilities)
    client.indices.create(index=index_name, body=body)
    [found] = client.indices.get_settings(index=index_name).values()
    assert found["settings"]["index"]["number_of_shards"] == "1"
    random = np.random.default_rng(5)
    lines = []
    for place in range(120):
        features = {"fox": float(random.uniform(0.1, 3))} if place % 3 else {"bear": float(random.uniform(0.1, 3))}
        angle = float(random.uniform(0, 1.5))
        words = " ".join(["fox"] * int(random.integers(1, 9)) + [f"w{n}" for n in range(int(random.integers(1, 90)))])
        source = {"id": str(place), "sparse": features, "dense": [np.cos(angle), np.sin(angle)]}
        source["text"] = words if place % 2 else "dog"
        lines += [{"index": {"_id": str(place)}}, source]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    tokens = neural_sparse({"fox": 2.0}, capabilities=capabilities)
    return [match("fox"), tokens, knn([1.0, 0.0], 50, capabilities=capabilities)]


@pytest.mark.server
@pytest.mark.parametrize("depth", [30, 200])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 0.2, 0.3)])
@pytest.mark.parametrize(("normaliser", "combination"), SHIPPED + OTHERS)
def test_the_client_fuses_as_the_server(client, index_name, questions, normaliser, combination, weights, depth) -> None:
    """The same documents with the same scores within 1e-6, in the same order but for ties; what is cut may tie."""

    def ask(query, pipeline=None):
        body = search_body(query, size=depth, search_pipeline=pipeline)
        return {hit["_id"]: hit["_score"] for hit in client.search(index=index_name, body=body)["hits"]["hits"]}

    fusion = Fusion(normaliser, combination, weights)
    hybrid = {"hybrid": {"queries": questions, "pagination_depth": depth}}
    server = ask(hybrid, fusion.pipeline())
    legs = [ask(leg) for leg in questions]
    own = fused_runs(fusion, {"q": Pool.of(legs, depth)}, depth)["q"]
    assert list(own.values()) == pytest.approx(list(server.values()), abs=1e-6)
    least = min(server.values()) + 1e-6
    assert {key for key, score in own.items() if score > least} == {
        key for key, score in server.items() if score > least
    }
    assert {key: own[key] for key in own if key in server} == pytest.approx(
        {key: server[key] for key in own if key in server}, abs=1e-6
    )
