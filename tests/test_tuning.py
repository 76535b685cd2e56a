"""Tuning: what is kept, what is noise, and that a kept plan is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from opensearch_splade.cli.main import main
from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models import Bundle, Device, SparseEncoder
from opensearch_splade.onnx_models import plan as plan_module
from opensearch_splade.onnx_models.plan import Plan, default_plan, load_plan, save_plan
from opensearch_splade.onnx_models.tuning import Trial, confirmed, fastest, tune


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plans are kept in a folder of the test's, and runs are short."""
    monkeypatch.setattr(plan_module, "user_cache_path", lambda _: tmp_path)
    monkeypatch.setattr("opensearch_splade.onnx_models.tuning.RUN_S", 0.01)
    return tmp_path


def trial(*ratios: float) -> Trial:
    """A plan that was so much faster than the default, round by round."""
    return Trial(default_plan("cpu", 2), [100 * ratio for ratio in ratios], list(ratios))


def test_a_lead_that_a_round_takes_back_is_noise() -> None:
    """Only what was faster every time replaces the default, however large the lead of the others."""
    default, noisy, steady = trial(1, 1, 1), trial(2, 3, 0.99), trial(1.1, 1.05, 1.2)
    assert fastest([default, noisy]) is default
    assert fastest([default, noisy, steady]) is steady
    assert fastest([default, steady, trial(1.3, 1.2, 1.25)]).ratio == 1.25


def test_what_wins_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A winner by luck does not win the fresh rounds too."""
    default, lucky = trial(1, 1, 1), trial(1.1, 1.2, 1.3)
    fresh = [trial(1, 1, 1), trial(1.1, 0.9, 1.2)]
    monkeypatch.setattr("opensearch_splade.onnx_models.tuning._trials", lambda *_: fresh)
    arguments = Bundle.open("splade-tiny"), Device(), ["a text"], [default, lucky]
    assert confirmed(*arguments) is default
    fresh[1] = trial(1.2, 1.1, 1.2)
    assert confirmed(*arguments) is lucky


def test_every_layout_is_tried_and_the_default_comes_first() -> None:
    """All ways to share three cores, all budgets, each in every round."""
    device = Device(threads=3)
    trials = tune(Bundle.open("splade-tiny"), device, ["a text", "another, somewhat longer text"], rounds=2)
    assert trials[0].plan == device.default_plan
    assert trials[0].ratios == [1, 1]
    assert {(trial.plan.batches, trial.plan.threads) for trial in trials} == {(3, 1), (1, 3)}
    assert len({trial.plan for trial in trials}) == len(trials) == 10
    assert all(len(trial.rates) == 2 for trial in trials)


def test_tuning_needs_texts() -> None:
    """Said, not divided by."""
    with pytest.raises(OspladeError, match="no text to tune with"):
        tune(Bundle.open("splade-tiny"), Device(), [])


def test_a_kept_plan_is_used_by_the_next_encoder(cache: Path) -> None:
    """For this bundle, kind of device and number of cores; a file that is no plan is as good as none."""
    device, fingerprint = Device(threads=2), Bundle.open("splade-tiny").manifest.fingerprint
    plan = Plan(batches=1, threads=2, token_budget=777)
    path = save_plan(plan, fingerprint, "cpu", 2)
    assert cache in path.parents
    assert load_plan(fingerprint, "cpu", 2) == plan
    assert load_plan(fingerprint, "cpu", 4) is None
    assert SparseEncoder.load("splade-tiny", device)._session.plan == plan
    assert SparseEncoder.load("splade-tiny", device, plan=device.default_plan)._session.plan == device.default_plan
    path.write_text("{}")
    assert SparseEncoder.load("splade-tiny", device)._session.plan == device.default_plan


def test_a_plan_that_cannot_be_kept_is_an_error(cache: Path) -> None:
    """With the plan in it, so that the minute was not for nothing."""
    (cache / "plans").write_text("in the way")
    with pytest.raises(OspladeError, match=r"777 tokens a batch\) cannot be kept in .*: "):
        save_plan(Plan(batches=1, threads=2, token_budget=777), "abc", "cpu", 2)


def test_the_command_prints_and_keeps(cache: Path) -> None:
    """A dry run keeps nothing; otherwise the plan lies where the JSON says."""
    command = ["tune", "splade-tiny", "--rounds", "2", "--documents", "3", "--device", "cpu:1"]
    dry = CliRunner().invoke(main, [*command, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "nothing kept" in dry.stdout
    assert not list(cache.rglob("*.json"))
    found = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert Plan.model_validate_json(Path(found["kept"]).read_bytes()) == Plan(**found["plan"])
    assert len(found["trials"]) == 5
