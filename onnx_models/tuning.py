"""Tuning: which plan is fastest here, for this bundle and these texts, as far as noise lets one say."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.prompt import NO_PROMPT
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.stream import in_order
from opensearch_splade.onnx_models.tokenizer import Tokenizer

BUDGETS = {"cpu": (256, 512, 1024, 2048, 4096), "cuda": (8192, 16_384, 32_768, 65_536)}
RUN_S = 1.0
"""Seconds that one run of the default plan takes at least."""


@dataclass(slots=True)
class Trial:
    """One plan and what was measured.

    Attributes:
        plan: Batches, threads, budget.
        rates: Documents per second, a round each.
        ratios: Rate over the default plan's of the same round.
    """

    plan: Plan
    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median documents per second."""
        return statistics.median(self.rates)

    @property
    def ratio(self) -> float:
        """Median ratio to the default plan."""
        return statistics.median(self.ratios)

    @property
    def surely_faster(self) -> bool:
        """Faster than the default in every round. A lead that some round takes back is noise."""
        return min(self.ratios) > 1


def tune(
    bundle: Bundle,
    device: Device,
    texts: Sequence[str],
    rounds: int = 5,
    on_run: Callable[[int, int], None] = lambda _, __: None,
) -> list[Trial]:
    """Runs every plan in every round, in random order; the first trial is the default plan.

    Args:
        bundle: What is to be run.
        device: Where.
        texts: Like those that will come; their lengths decide.
        rounds: Each plan runs so many times.
        on_run: Called with runs done and runs in all.

    Raises:
        OspladeError: There are no texts.
    """
    return _trials(bundle, device, texts, _plans(device), rounds, on_run)


def _trials(
    bundle: Bundle,
    device: Device,
    texts: Sequence[str],
    plans: Sequence[Plan],
    rounds: int,
    on_run: Callable[[int, int], None] = lambda _, __: None,
) -> list[Trial]:
    manifest = bundle.manifest
    tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length, manifest.prompt or NO_PROMPT)
    tokens = [one for one in tokenizer.encode(texts) if one]
    if not tokens:
        raise OspladeError("There is no text to tune with; give another --source.")
    output = "embedding" if manifest.kind == "dense" else "count"
    # Graphs are loaded once for each number of threads.
    loaded = {plan.threads: Session(bundle.model, device, plan) for plan in reversed(plans)}
    sessions = {plan: loaded[plan.threads].replanned(plan) for plan in plans}
    trials = [Trial(plan) for plan in plans]
    sample = _sample(tokens, sessions[plans[0]], output)
    for done in range(rounds):
        order = random.sample(trials, len(trials))
        for place, trial in enumerate(order):
            trial.rates.append(_rate(sample, sessions[trial.plan], output))
            on_run(done * len(trials) + place + 1, rounds * len(trials))
        for trial in trials:
            trial.ratios.append(trial.rates[-1] / trials[0].rates[-1])
    return trials


def fastest(trials: Sequence[Trial]) -> Trial:
    """The best plan that was faster than the default in every round, else the default."""
    return max((trial for trial in trials[1:] if trial.surely_faster), key=lambda trial: trial.ratio, default=trials[0])


def confirmed(bundle: Bundle, device: Device, texts: Sequence[str], trials: Sequence[Trial], rounds: int = 5) -> Trial:
    """The fastest plan, if it is again faster than the default in every one of some fresh rounds; else the default.

    Where all plans are alike, one of nine wins all of five rounds by luck in one run of five. In the fresh rounds there
    is only one, and the luck is one in thirty-two.
    """
    best = fastest(trials)
    if best is trials[0]:
        return best
    again = _trials(bundle, device, texts, [trials[0].plan, best.plan], rounds)
    return best if again[1].surely_faster else trials[0]


def _plans(device: Device) -> list[Plan]:
    """Every plan worth trying, the default first."""
    default = device.default_plan
    layouts = [
        (device.cores // threads, threads) for threads in range(1, device.cores + 1) if not device.cores % threads
    ]
    if device.kind != "cpu":
        layouts = [(batches, 1) for batches in (1, 2, 3)]
    budgets = BUDGETS["cpu" if device.kind == "cpu" else "cuda"]
    plans = [
        default.model_copy(update={"batches": batches, "threads": threads, "token_budget": budget})
        for batches, threads in layouts
        for budget in budgets
    ]
    return [default, *(plan for plan in plans if plan != default)]


def _sample(tokens: Sequence[Tokens], session: Session, output: str) -> list[Tokens]:
    """So many texts, over and over if need be, that a run takes ``RUN_S``."""
    sample = list(tokens[:16])
    while True:
        seconds = len(sample) / _rate(sample, session, output)
        if seconds >= RUN_S:
            return sample
        wanted = int(len(sample) * min(8, 1.3 * RUN_S / seconds)) + 1
        sample = [tokens[place % len(tokens)] for place in range(wanted)]


def _rate(tokens: Sequence[Tokens], session: Session, output: str) -> float:
    start = time.perf_counter()
    for _ in in_order(tokens, lambda batch: session.run(batch, [output])[0], session):
        pass
    return len(tokens) / (time.perf_counter() - start)
