"""``osplade eval`` on a real node: named systems, batches, kept runs, imported runs, gates and reports."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from opensearch_splade.cli.main import main
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.run_files import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

TOPICS = ("fox", "train", "bread", "river", "guitar", "planet", "castle", "doctor")
ACTIONS = ("runs over the hill", "is seen at noon", "was described in a book", "can be heard far away", "stays at home")
QUESTIONS = 150


@dataclass(frozen=True)
class Bench:
    """A small collection in an index of its own.

    Attributes:
        folder: In BEIR layout.
        index: Its documents, sparse and dense.
        url: Of the node.
    """

    folder: Path
    index: str
    url: str

    @property
    def where(self) -> list[str]:
        """What names collection and index on the command line."""
        return [str(self.folder), "--index", self.index, "--url", self.url]

    def eval(self, *arguments: str) -> Result:
        """``osplade eval`` of it."""
        return CliRunner().invoke(main, ["eval", *self.where, *arguments])

    def told(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The same as JSON."""
        result = self.eval(*arguments, "--json", "--no-latency")
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, node: RunningNode, client: OpenSearch) -> Iterator[Bench]:
    """Forty documents, and questions that some of their words make up."""
    folder, chance = tmp_path_factory.mktemp("topics"), random.Random(7)  # noqa: S311 - the same questions each time
    texts = {
        f"d{i}": f"The {topic} {action}." for i, (topic, action) in enumerate((t, a) for t in TOPICS for a in ACTIONS)
    }
    asked, judged = [], []
    for number in range(QUESTIONS):
        key = chance.choice(list(texts))
        words = texts[key].strip(".").split()
        asked.append({"_id": f"q{number}", "text": " ".join(chance.sample(words, 3))})
        judged.append(f"q{number}\t{key}\t1\n")
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("".join(judged), encoding="utf-8")
    for name, rows in (("queries", asked), ("corpus", [{"_id": key, "text": text} for key, text in texts.items()])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    index = f"test-eval-{os.getpid()}-{chance.getrandbits(32):x}-{time.time_ns():x}"
    how = ["--bundle", "splade-tiny", "--dense-bundle", "minilm-l6", "--dead-letters", str(folder / "dead.jsonl")]
    result = CliRunner().invoke(main, ["ingest", str(folder), "--index", index, "--url", node.url, *how])
    assert result.exit_code == 0, result.output
    yield Bench(folder, index, node.url)
    client.indices.delete(index=index)


pytestmark = pytest.mark.server

SYSTEMS = """
systems:
  exact: neural-sparse query-side=siamese
  two-step: {mode: neural-sparse, query-side: siamese, two-step: {top_k: 3}, window: 100}
  pruned: {mode: neural-sparse, query-side: siamese, query-prune: {top_k: 3}}
  rescored: {mode: bm25, rescore: weighted-terms, query-side: siamese}
  fused: {mode: bm25+knn, weights: [1, 3]}
  ours: {template: ours.json}
  both: {template: both.json}
  nothing: {mode: bm25, filter: {term: {id: d0}}}
"""
OURS = {"query": {"match": {"text": {"query": "{{query}}"}}}, "size": 3, "from": 2}
BOTH = {"query": {"bool": {"should": ["{{sparse}}", {"knn": {"dense": {"vector": "{{vector}}", "k": 5}}}]}}}


def test_named_systems_of_a_file(bench: Bench, tmp_path: Path) -> None:
    """Each is asked as it says; what must be equal is, and each spec is a line that asks the same again."""
    (tmp_path / "systems.yaml").write_text(SYSTEMS, encoding="utf-8")
    for name, body in (("ours", OURS), ("both", BOTH)):
        (tmp_path / f"{name}.json").write_text(json.dumps(body), encoding="utf-8")
    out = tmp_path / "out"
    told = bench.told("--systems", str(tmp_path / "systems.yaml"), "--system", "bm25=bm25", "--out", str(out))
    names = ["exact", "two-step", "pruned", "rescored", "fused", "ours", "both", "nothing", "bm25"]
    assert [one["name"] for one in told["systems"]] == names
    runs = {name: read_run(out / f"{name}.trec") for name in names}
    exact = runs["exact"]
    for query, found in runs["two-step"].items():
        assert found == pytest.approx({key: exact[query][key] for key in found})
        assert found.keys() == runs["pruned"][query].keys()
    for query, found in runs["rescored"].items():
        assert found.keys() == runs["bm25"][query].keys()
        assert found == pytest.approx({key: exact[query].get(key, 0.0) for key in found})
    assert runs["ours"] == runs["bm25"]
    assert all(set(found) <= {"d0"} for found in runs["nothing"].values())
    assert any(runs["both"][query] != exact[query] for query in exact)
    again = [part for one in told["systems"] for part in ("--system", f"{one['name']}={one['spec']}")]
    repeated = bench.told(*again)
    assert [one["measures"] for one in repeated["systems"]] == [one["measures"] for one in told["systems"]]


def test_batches_give_what_single_searches_give(bench: Bench, client: OpenSearch) -> None:
    """Every system of the default set: the ranking of a batch is that of the searcher, question by question."""
    from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
    from opensearch_splade.evaluation.asking import BATCH, ask
    from opensearch_splade.evaluation.systems import systems

    searchers = open_searchers(open_cluster(bench.url), bench.index, QueryBundles())
    queries = dict(list(load_collection(str(bench.folder)).queries.items())[: BATCH + 3])
    chosen = systems(searchers)
    assert len(chosen) > 8
    for system in chosen:
        asked = ask(client, system, queries, 20)
        assert list(asked.run) == list(queries)
        assert not asked.notices
        assert system.searcher
        assert system.spec.mode
        for query in list(queries)[::7]:
            single = system.searcher.search(queries[query], mode=system.spec.mode, size=20, ids_only=True)
            assert asked.run[query] == {hit.id: hit.score for hit in single.hits}


def test_a_question_that_fails_is_named_and_its_system_left_out(bench: Bench, tmp_path: Path) -> None:
    """It is not measured as if nothing had been found; the others are measured, and the command fails."""
    body = {"query": {"query_string": {"query": "{{query}}", "default_field": "text"}}}
    path = tmp_path / "strict.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    folder = tmp_path / "odd"
    (folder / "qrels").mkdir(parents=True)
    (folder / "qrels/test.tsv").write_text("q1\td0\t1\nq2\td1\t1\n", encoding="utf-8")
    rows = [{"_id": "q1", "text": "fox"}, {"_id": "q2", "text": "fox AND ("}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked = [str(folder), "--index", bench.index, "--url", bench.url, "--no-latency", "--json"]
    result = CliRunner().invoke(main, ["eval", *asked, "--system", f"strict=template={path}", "--system", "bm25=bm25"])
    assert result.exit_code == 1
    assert [one["name"] for one in json.loads(result.stdout)["systems"]] == ["bm25"]
    assert "strict: 1 of 2 questions were not answered (question 'q2': Failed to parse query" in result.stderr


def test_kept_runs_are_asked_once(bench: Bench, tmp_path: Path, client: OpenSearch) -> None:
    """A second call asks nothing; it asks again what has another spec, depth or index content, and says so."""
    how = ["--out", str(tmp_path / "out"), "--no-latency", "--json"]
    first = bench.eval(*how, "--system", "a=bm25", "--system", "b=knn")
    assert first.exit_code == 0, first.output
    second = bench.eval(*how, "--system", "a=bm25", "--system", "b=bm25+knn")
    assert "a: its kept run holds" in second.stderr
    assert "b: asked again: spec changed" in second.stderr
    third = bench.eval(*how, "--system", "a=bm25", "--depth", "7")
    assert "a: asked again: depth changed" in third.stderr
    assert "holds" not in bench.eval(*how, "--system", "a=bm25", "--depth", "7", "--again").stderr
    document = client.get(index=bench.index, id="d0")["_source"]
    client.index(index=bench.index, id="d0", body=document, params={"refresh": "true"})
    fourth = bench.eval(*how, "--system", "a=bm25", "--depth", "7")
    assert "a: asked again: index changed" in fourth.stderr
    run = tmp_path / "out" / "a.trec"
    run.write_text(run.read_text(encoding="utf-8").replace(" d0 ", " d1 "), encoding="utf-8")
    assert (
        "a: asked again: a.trec was written by someone else"
        in bench.eval(*how, "--system", "a=bm25", "--depth", "7").stderr
    )
    (tmp_path / "out" / "a.json").write_text("{", encoding="utf-8")
    assert "a: asked again: a.json cannot be read" in bench.eval(*how, "--system", "a=bm25", "--depth", "7").stderr


def test_killed_in_the_middle_it_goes_on(bench: Bench, tmp_path: Path) -> None:
    """SIGKILL loses at most the system that was being asked; the figures are those of a run without a kill."""
    out = tmp_path / "out"
    code = "from opensearch_splade.cli.main import main; main()"
    modes = ("bm25", "weighted-terms", "neural-sparse", "knn", "bm25+knn")
    how = [part for mode in modes for part in ("--mode", mode)] + ["--query-side", "siamese"]
    command = [sys.executable, "-c", code, "eval", *bench.where, *how, "--no-latency", "--out", str(out)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(out.glob("*.json"))) < 2:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    whole = len(list(out.glob("*.json")))
    result = bench.eval(*how, "--no-latency", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert 2 <= whole < len(told["systems"])
    assert result.stderr.count("its kept run holds") == whole
    assert "asked again" not in result.stderr
    fresh = bench.told(*how)
    assert [(one["name"], one["measures"]) for one in told["systems"]] == [
        (one["name"], one["measures"]) for one in fresh["systems"]
    ]


def test_runs_of_other_engines_need_no_cluster(bench: Bench, tmp_path: Path) -> None:
    """A kept run read back has the figures of its system; no address is asked."""
    told = bench.told("--system", "bm25=bm25", "--out", str(tmp_path))
    arguments = ["eval", str(bench.folder), "--run", f"lucene={tmp_path / 'bm25.trec'}", "--json"]
    result = CliRunner().invoke(main, [*arguments, "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 0, result.output
    [system] = json.loads(result.stdout)["systems"]
    assert (system["name"], system["measures"]) == ("lucene", told["systems"][0]["measures"])
    assert system["latency"] is None
    both = bench.told("--run", f"lucene={tmp_path / 'bm25.trec'}", "--system", "bm25=bm25", "--baseline", "lucene")
    assert [one["name"] for one in both["systems"]] == ["bm25", "lucene"]
    assert {(one["baseline"], one["difference"]) for one in both["comparisons"]} == {("lucene", 0.0)}


def test_a_dry_run_lists_and_refuses(bench: Bench, tmp_path: Path) -> None:
    """What would be asked, by spec; what cannot be asked is refused before anything is."""
    out = tmp_path / "out"
    result = bench.eval("--dry-run", "--system", "f=bm25+knn weights=1,2", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert f"  f: bm25+knn weights=1,2  (index {bench.index})" in result.stdout
    assert not out.exists()
    wrong = bench.eval("--system", "good=bm25", "--system", "bad=bm25+knn weights=0,1", "--out", str(out))
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert not list(out.glob("*.trec"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system", "bm25"], "'bm25' is no NAME=…"),
        (["--system", "a=bm25", "--system", "a=knn"], "two systems are called 'a'"),
        (["--system", "a=bm25", "--baseline", "b"], "--baseline b: there is no such system; choose one of a"),
        (["--system", "a=bm25 index=no-such"], "no index or alias 'no-such'"),
        (["--mode", "bm25", "--mode", "bm25"], "two systems are called 'bm25'"),
        (["--json", "--markdown"], "give one of them"),
    ],
)
def test_wrong_calls_say_why(bench: Bench, arguments: list[str], message: str) -> None:
    """In the last line, and nothing is printed that could be taken for a result."""
    result = bench.eval(*arguments)
    assert result.exit_code in {1, 2}
    assert result.stdout == ""
    assert message in result.stderr.splitlines()[-1]


def test_reports_are_written(bench: Bench, tmp_path: Path) -> None:
    """The page and the Markdown name every system; questions that differ are drilled down."""
    page = tmp_path / "report.html"
    asked = ["--system", "bm25=bm25", "--system", "dense=knn", "--system", "terms=weighted-terms query-side=siamese"]
    result = bench.eval(*asked, "--report", str(page), "--markdown", "--measure", "RR@5", "--measure", "nDCG@10")
    assert result.exit_code == 0, result.output
    for name in ("bm25", "dense", "terms"):
        assert f"| {name}" in result.stdout or f"| **{name}" in result.stdout
        assert name in page.read_text(encoding="utf-8")
    assert "RR@5" in result.stdout
    assert "p50 ms" in result.stdout


def test_a_pipeline_can_fail(bench: Bench, tmp_path: Path) -> None:
    """By a mean that is too low, by a system that became worse or is gone; exit code 1 and a sentence for each."""
    earlier = tmp_path / "evaluation.json"
    asked = ["--system", "a=bm25", "--save", str(earlier)]
    mean = bench.told(*asked)["systems"][0]["measures"]
    bench.told("--system", "a=bm25", "--no-regression", str(earlier), "--fail-under", f"a:nDCG@10={mean['nDCG@10']}")
    filtered = ["--system", 'a=bm25 \'filter={"term":{"id":"d0"}}\'', "--no-latency"]
    worse = bench.eval(
        *filtered, "--no-regression", str(earlier), "--fail-under", "nDCG@10=.9", "--fail-under", "P@1=.8"
    )
    assert worse.exit_code == 1
    failed = [line for line in worse.stderr.splitlines() if line.startswith("failed: ")]
    assert any("nDCG@10" in line and "below the 0.9 asked for" in line for line in failed)
    assert any("P@1" in line and "below the 0.8 asked for" in line for line in failed)
    assert any(line.startswith("failed: nDCG@10 of a fell from") for line in failed)
    gone = bench.eval("--system", "b=bm25", "--no-latency", "--no-regression", str(earlier))
    assert (gone.exit_code, "failed: a is in the baseline and was not measured now" in gone.stderr) == (1, True)


def test_where_nothing_is_answered_there_is_nothing_to_compare(bench: Bench, tmp_path: Path) -> None:
    """An error with the server's reason, and no table of nothing."""
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({"query": {"no_such_query": "{{query}}"}}), encoding="utf-8")
    result = bench.eval("--system", f"ours=template={path}", "--no-latency")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing to compare" in result.stderr
    assert "no_such_query" in result.stderr


def test_files_of_ones_own_are_measured_like_a_folder(bench: Bench, tmp_path: Path) -> None:
    """``--queries`` and ``--qrels`` in place of a collection; half of them, or both and a collection, are refused."""
    loaded = load_collection(str(bench.folder))
    queries, qrels = tmp_path / "queries.csv", tmp_path / "judged.csv"
    queries.write_text("id,text\n" + "".join(f"{one},{text}\n" for one, text in loaded.queries.items()), "utf-8")
    lines = [f"{query},{document},{grade}\n" for query, of in loaded.qrels.items() for document, grade in of.items()]
    qrels.write_text("query,document,grade\n" + "".join(lines), "utf-8")
    asked = ["eval", "--index", bench.index, "--url", bench.url, "--mode", "bm25", "--json", "--no-latency"]
    result = CliRunner().invoke(main, [*asked, "--queries", str(queries), "--qrels", str(qrels)])
    assert result.exit_code == 0, result.output
    ours, theirs = json.loads(result.stdout), bench.told("--mode", "bm25")
    assert ours["systems"][0]["per_question"] == theirs["systems"][0]["per_question"]
    assert CliRunner().invoke(main, [*asked, "--queries", str(queries)]).exit_code == 2
    both = [*asked, str(bench.folder), "--queries", str(queries), "--qrels", str(qrels)]
    assert CliRunner().invoke(main, both).exit_code == 2
    assert CliRunner().invoke(main, asked).exit_code == 2
