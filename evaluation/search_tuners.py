"""What is tuned of a search: the systems to ask, and the tuners that choose among and from their rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opensearch_splade.evaluation.fused_runs import Pool, fused_runs
from opensearch_splade.evaluation.learned_rescorer import RescorerTuner
from opensearch_splade.evaluation.results import Run
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.tuning import (
    OTHERS,
    SHIPPED,
    Chosen,
    FusionTuner,
    Qrels,
    RunTuner,
    Tuner,
    ndcg_each,
    spec_of,
)
from opensearch_splade.query.fusion_spec import Fusion, Normaliser
from opensearch_splade.types import Combination

PRUNINGS = ("top_k:8", "top_k:16", "top_k:32", "max_ratio:0.2", "max_ratio:0.1", "max_ratio:0.05")
TWO_STEPS = ("top_k:4", "top_k:8", "top_k:16")
WINDOW = 200
RAW: tuple[tuple[Normaliser, Combination], ...] = (("raw", "arithmetic_mean"),)
_SPARSE = "neural-sparse"


def variants(specs: Sequence[SystemSpec]) -> list[str]:
    """The systems to ask: each leg of an index, and of siamese questions prunings and two-steps, cheapest first.

    Args:
        specs: What the index can answer (``systems``).
    """
    lines: list[str] = []
    for spec in specs:
        legs = spec.mode.legs if spec.mode else ()
        if len(legs) == 1 and legs[0] != "weighted-terms":
            side = f" query-side={spec.query_side}" if spec.query_side else ""
            lines.append(f"{legs[0]}{side}")
    siamese = f"{_SPARSE} query-side=siamese"
    if siamese in lines:
        lines += [f"{siamese} query-prune={rule}" for rule in PRUNINGS]
        lines += [f"{siamese} two-step={rule} window={WINDOW}" for rule in TWO_STEPS]
    return list(dict.fromkeys(lines))


def leg_specs(runs: Mapping[str, Run]) -> list[str]:
    """Those of the systems that are plain legs."""
    return [spec for spec in runs if "query-prune=" not in spec and "two-step=" not in spec]


def tuners(runs: Mapping[str, Run], qrels: Qrels, *, all_fusions: bool = False) -> list[Tuner]:
    """All tuners that these rankings allow; the first one is the tuned hybrid.

    Args:
        runs: Spec of each system (``variants``) to its ranking.
        qrels: Judgements of all questions; which ones are chosen on is the caller's to say.
        all_fusions: Also normalisers and combinations that need a pipeline of one's own.
    """
    legs, sets = leg_specs(runs), _hybrids(runs)
    found: list[Tuner] = []
    if sets:
        found.append(_fusions("tuned hybrid", sets, runs, qrels, SHIPPED))
        found.append(_fusions("tuned linear combination", sets, runs, qrels, RAW))
        if all_fusions:
            found.append(_fusions("tuned hybrid, all fusions", sets, runs, qrels, SHIPPED + OTHERS))
        found.append(RescorerTuner("learned rescorer", {leg: runs[leg] for leg in legs}, qrels))
    for name, key in (("pruned questions", "query-prune="), ("two-step", "two-step=")):
        chosen = {spec: run for spec, run in runs.items() if key in spec}
        if chosen:
            found.append(RunTuner(name, chosen, qrels))
    return found


def untuned(runs: Mapping[str, Run]) -> dict[str, Run]:
    """What ``hybrid`` gives without any weights, by each query side: what tuning has to beat."""
    found: dict[str, Run] = {}
    for legs in _hybrids(runs):
        fusion = Fusion("min_max", "arithmetic_mean", (1.0,) * len(legs))
        queries = dict.fromkeys(query for leg in legs for query in runs[leg])
        pools = {query: Pool.of([runs[leg].get(query, {}) for leg in legs]) for query in queries}
        found[f"untuned {spec_of(legs, fusion).partition(' weights=')[0]}"] = fused_runs(fusion, pools)
    return found


def _hybrids(runs: Mapping[str, Run]) -> list[list[str]]:
    """The legs of each hybrid of all there is: a search has one query side."""
    legs = leg_specs(runs)
    sparse = [leg for leg in legs if leg.startswith(_SPARSE)]
    others = [leg for leg in legs if leg not in sparse]
    sets = [_ordered([*others, side]) for side in sparse] or [_ordered(others)]
    return [one for one in sets if len(one) > 1]


def _ordered(legs: Sequence[str]) -> list[str]:
    """As ``hybrid`` has them: bm25, sparse, dense."""
    return sorted(legs, key=lambda leg: ("bm25", _SPARSE, "knn").index(leg.split()[0]))


def _fusions(
    name: str,
    sets: Sequence[Sequence[str]],
    runs: Mapping[str, Run],
    qrels: Qrels,
    kinds: Sequence[tuple[Normaliser, Combination]],
) -> Tuner:
    each = [FusionTuner(name, {leg: runs[leg] for leg in legs}, qrels, kinds) for legs in sets]
    return each[0] if len(each) == 1 else BestOf(name, each, qrels)


class BestOf:
    """Chooses the best of several tuners' choices on the same questions: which query side to fuse.

    Args:
        name: As a table prints it.
        tuners: Those that choose first.
        qrels: Judgements.
    """

    def __init__(self, name: str, tuners: Sequence[Tuner], qrels: Qrels) -> None:
        self.name = name
        self._tuners = tuners
        self._qrels = qrels

    def choose(self, queries: Sequence[str]) -> Chosen:
        """The choice with the best mean over these questions; of equals the first."""
        choices = [tuner.choose(queries) for tuner in self._tuners]
        return max(choices, key=lambda one: self._mean(one, queries))

    def _mean(self, chosen: Chosen, queries: Sequence[str]) -> float:
        values = ndcg_each(chosen.rank(queries), {query: self._qrels[query] for query in queries})
        return round(sum(values.values()) / len(values), 9)
