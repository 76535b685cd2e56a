"""``osplade adapt`` from end to end, on a small checkpoint."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from checkpoints import masked_lm, sequence_classifier
from click.testing import CliRunner

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.types import Document

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a run: documents, a small checkpoint and its bundle."""
    folder = tmp_path_factory.mktemp("adapt")
    checkpoint, source = masked_lm("bert", folder / "bert"), folder / "docs.jsonl"
    documents = [one for one in islice(read_source("pydoc:"), 60) if isinstance(one, Document)]
    lines = [json.dumps({"_id": one.id, "title": one.title, "text": one.text}) for one in documents]
    source.write_text("\n".join(lines), encoding="utf-8")
    export_bundle(str(checkpoint), folder / "old", query_weights=QueryTable("binary"))
    given = ["--bundle", str(folder / "old"), "--checkpoint", str(checkpoint), "--out", str(folder / "new")]
    return ["adapt", str(source), *given, "--teacher", "bm25", "--steps", "3"]


def test_a_dry_run_says_what_and_how_long_and_writes_nothing(call: list[str]) -> None:
    """The plan has steps, questions and a duration; no folder is made."""
    folder = Path(call[1]).parent
    before = sorted(folder.iterdir())
    done = CliRunner().invoke(main, [*call, "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["documents"] == 60
    assert plan["recipe"]["steps"] == 3
    assert plan["seconds"] > 0
    assert sum(plan["questions"].values()) > plan["held_back"] > 0
    assert sorted(folder.iterdir()) == before


def test_a_budget_makes_fewer_steps(call: list[str]) -> None:
    """What does not fit the time is not begun; a time without a unit is a wrong call."""
    plan = json.loads(CliRunner().invoke(main, [*call, "--dry-run", "--json", "--budget", "0.001s"]).stdout)
    assert plan["recipe"]["steps"] == 1
    assert CliRunner().invoke(main, [*call, "--budget", "30"]).exit_code == 2


def test_what_users_asked_is_in_the_plan(call: list[str], tmp_path: Path) -> None:
    """Questions of a log are counted by their kind, and the command says which file has none."""
    documents = [json.loads(line) for line in Path(call[1]).read_text(encoding="utf-8").splitlines()]
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join(" ".join(one["text"].split()[:9]) for one in documents), encoding="utf-8")
    done = CliRunner().invoke(main, [*call, "--dry-run", "--json", "--queries", str(asked)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["questions"]["log"] > 5
    asked.write_text("zzzz\n", encoding="utf-8")
    refused = CliRunner().invoke(main, [*call, "--dry-run", "--queries", str(asked)])
    assert refused.exit_code != 0
    assert "asked.txt" in refused.output


def test_a_generator_is_asked(call: list[str]) -> None:
    """A dry run has its questions in the plan and keeps nothing; one that is not there is a clear error."""
    before = sorted(Path(call[1]).parent.iterdir())
    done = CliRunner().invoke(main, [*call, "--dry-run", "--json", "--generator", "asking:ask"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["questions"]["generated"] > 0
    assert sorted(Path(call[1]).parent.iterdir()) == before
    refused = CliRunner().invoke(main, [*call, "--dry-run", "--generator", "asking:nothing"])
    assert refused.exit_code == 1
    assert "--generator asking:nothing" in refused.output


def test_a_cross_encoder_teaches(call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pairs count in the plan, its scores are kept, and the same run again scores nothing anew."""
    folder = sequence_classifier(tmp_path / "cross")
    given = [*call, "--out", str(tmp_path / "new"), "--teacher", f"cross-encoder:{folder}=2", "--json", "--steps", "2"]
    with monkeypatch.context() as patched:
        patched.setattr("opensearch_splade.training.plan.pair_seconds", lambda *_: 1.0)
        plan = json.loads(CliRunner().invoke(main, [*given, "--dry-run"]).stdout)
    assert plan["step_seconds"] > 24 * 24
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    [pairs] = (tmp_path / "new.training" / "teachers").glob("*-pairs.sqlite")
    kept = pairs.read_bytes()
    assert len(kept) > 24 * 24 * 30
    (tmp_path / "new.training" / "state.safetensors").unlink()
    again = CliRunner().invoke(main, given)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["fingerprint"] == json.loads(done.stdout)["fingerprint"]
    assert pairs.read_bytes() == kept


def test_what_comes_out_is_an_inference_free_bundle(call: list[str]) -> None:
    """It encodes, asks without a model, has a fingerprint of its own, and both bundles are measured."""
    done = CliRunner().invoke(main, [*call, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    new, old = SparseEncoder.load(told["bundle"]), SparseEncoder.load(call[3])
    assert new.query_side == "inference-free"
    assert new.bundle.manifest.precision == "int8"
    assert new.bundle.manifest.query_weights == "idf"
    assert new.fingerprint == told["fingerprint"] != old.fingerprint
    assert told["steps"] == 3
    assert 0 <= told["old"]["ndcg"] <= 1
    assert told["interval"][0] <= told["new"]["ndcg"] - told["old"]["ndcg"] <= told["interval"][1]


def test_a_new_bundle_reads_as_much_as_documents_have(call: list[str], tmp_path: Path) -> None:
    """More tokens than the old one where they are needed, or as many as were asked for."""
    export_bundle(call[5], tmp_path / "short", ExportOptions(max_length=8), query_weights=QueryTable("binary"))
    given = [
        "adapt",
        call[1],
        "--bundle",
        str(tmp_path / "short"),
        *call[4:6],
        "--out",
        str(tmp_path / "new"),
        *call[8:],
    ]
    plan = json.loads(CliRunner().invoke(main, [*given, "--dry-run", "--json"]).stdout)
    assert 8 < plan["recipe"]["max_length"] <= 512
    done = CliRunner().invoke(main, [*given, "--max-length", "12"])
    assert done.exit_code == 0, done.output
    assert "12 tokens of each" in done.output
    assert SparseEncoder.load(tmp_path / "new").bundle.manifest.max_length == 12
    for more, expected in (([], 12), (["--max-length", "16"], 16)):  # a run that is gone on with, and another one
        plan = json.loads(CliRunner().invoke(main, [*given, *more, "--dry-run", "--json"]).stdout)
        assert plan["recipe"]["max_length"] == expected


def test_a_siamese_run_gives_a_siamese_bundle(call: list[str], tmp_path: Path) -> None:
    """Questions are encoded by the model, in the bundle as in the run; a table to learn is refused."""
    out = tmp_path / "siamese"
    given = [*call[:6], "--out", str(out), *call[8:], "--kind", "siamese"]
    refused = CliRunner().invoke(main, [*given, "--learned-queries"])
    assert refused.exit_code == 2
    assert "has no table" in refused.output
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "--query-weights" not in done.output
    bundle = SparseEncoder.load(out)
    assert bundle.query_side == "siamese"
    assert bundle.encode_query("read a csv file")


def test_both_bundles_are_measured_on_a_judged_collection(call: list[str], tmp_path: Path) -> None:
    """All its questions are asked, of all its documents, cut to the terms wanted; none of them is learned."""
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    documents = [json.loads(line) for line in Path(call[1]).read_text(encoding="utf-8").splitlines()]
    asked = [one for one in documents if len(one["title"].split()) > 1][:5]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    queries = [{"_id": one["_id"], "text": one["title"]} for one in asked]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    rows = ["query-id\tcorpus-id\tscore", *(f"{one['_id']}\t{one['_id']}\t1" for one in asked)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    begun = [*call[:3], "splade-tiny-idf", *call[4:6], "--out", str(tmp_path / "new"), *call[8:]]
    given = [*begun, "--collection", str(folder), "--terms", "7"]
    done = CliRunner().invoke(main, [*given, "--json"])
    assert done.exit_code == 0, done.output
    judged = json.loads(done.stdout)["collection"]
    assert judged["questions"] == len(asked) > 1
    assert 0.5 < judged["old"]["ndcg"] <= 1
    assert judged["old"]["terms"] <= 7
    assert judged["new"]["terms"] <= 7
    assert judged["interval"][0] <= judged["new"]["ndcg"] - judged["old"]["ndcg"] <= judged["interval"][1]
    told = CliRunner().invoke(main, [*given[:7], str(tmp_path / "other"), *given[8:]])
    assert f"judged, nDCG@10 of {len(asked)}: " in told.output


def test_a_bundle_alone_cannot_be_trained(call: list[str], tmp_path: Path) -> None:
    """The error says where its weights come from and which option names them."""
    given = [call[0], call[1], "--bundle", "splade-tiny-idf", "--out", str(tmp_path / "new")]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 1
    assert "--checkpoint FOLDER" in done.output
