"""What came of tuning: choices, rankings of questions they were not chosen on, and whether they beat the best leg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.measures import measure, measure_each
from opensearch_splade.evaluation.results import Comparison, Evaluation, Run, SystemResult
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.evaluation.tuning import OBJECTIVE, Chosen, Qrels, Tuner, cross_validate, ndcg_each

MEASURES = (OBJECTIVE, "AP", "R@100")
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Tuned:
    """One tuner's outcome.

    Attributes:
        name: The tuner's.
        final: Chosen on all training questions: what to use from now on.
        training: Its mean nDCG@10 on these, which is too good to be true.
        run: Of the judged questions, none of which it was chosen on.
        tuned_on: What the parameters behind ``run`` were chosen on.
        folds: The choice of each fold where it was cross-validated.
    """

    name: str
    final: Chosen
    training: float
    run: Run
    tuned_on: str
    folds: Sequence[Chosen] = ()


def tune_and_judge(
    tuners: Sequence[Tuner],
    training: Mapping[str, str],
    judged: Mapping[str, str],
    qrels: Qrels,
    *,
    tuned_on: str,
    folds: int = 0,
    seed: int = 0,
) -> list[Tuned]:
    """Every tuner: chosen on all training questions, and ranking the judged ones by what was not chosen on them.

    Args:
        tuners: What to tune.
        training: Query id to text.
        judged: The same; with ``folds`` the training questions.
        qrels: Judgements of the training questions.
        tuned_on: Collection and split, for the report.
        folds: Of a cross-validation; 0 for none.
        seed: Of the folds.

    Raises:
        QueryError: There are too few questions for so many folds.
    """
    found: list[Tuned] = []
    for tuner in tuners:
        final = tuner.choose(list(training))
        reached = ndcg_each(final.rank(list(training)), {query: qrels[query] for query in training})
        mean = sum(reached.values()) / max(1, len(reached))
        if folds:
            validated = cross_validate(tuner, training, folds, seed)
            how = f"cross-validated on {tuned_on} ({folds} folds, seed {seed})"
            found.append(Tuned(tuner.name, final, mean, validated.run, how, validated.choices))
        else:
            found.append(Tuned(tuner.name, final, mean, final.rank(list(judged)), tuned_on))
    return found


def evaluated(
    collection: Collection,
    split: str,
    index: str,
    server: str,
    legs: Mapping[str, Run],
    found: Sequence[Tuned],
    untuned: Mapping[str, Run] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Legs and tuned systems on the judged questions, each against the best leg.

    The best leg is the one that these very judgements prefer, which is in its favour.
    """
    runs = {name: {query: run.get(query, {}) for query in collection.qrels} for name, run in legs.items()}
    best = max(runs, key=lambda name: measure(runs[name], collection.qrels, [OBJECTIVE])[OBJECTIVE])
    results = [
        SystemResult(name, name.removeprefix("untuned "), run, measure_each(run, collection.qrels, MEASURES))
        for name, run in (runs | {name: dict(run) for name, run in (untuned or {}).items()}).items()
    ]
    for one in found:
        spec = one.final.spec if not one.folds else ""  # each fold has its own
        values = measure_each(one.run, collection.qrels, MEASURES)
        results.append(SystemResult(one.name, spec, one.run, values, tuned_on=one.tuned_on))
    comparisons = compare_all(results, best, MEASURES[:2], seed=seed)
    notes = [f"{one.name}: parameters chosen by {OBJECTIVE}, {one.tuned_on}" for one in found[:1]]
    notes += [verdict(each) for each in comparisons if found and each.system == found[0].name]
    if untuned and found:
        rivals = [one for one in results if one.name in untuned or one.name == found[0].name]
        notes += [gain(one) for one in compare_all(rivals, found[0].name, MEASURES[:1], seed=seed)]
    return Evaluation(
        collection.name,
        split,
        getattr(collection, "judged_by", "people"),
        index,
        server,
        collection.queries,
        collection.qrels,
        results,
        comparisons,
        notes,
    )


def verdict(one: Comparison) -> str:
    """One honest sentence."""
    figures = (
        f"{one.measure} {one.difference:+.4f}, 95 % interval {one.low:+.4f} to {one.high:+.4f}, p {p_value(one.p)}"
    )
    if one.p >= LEVEL:
        return f"{one.system} does NOT differ from the best leg, {one.baseline}, beyond chance: {figures}"
    word = "beats" if one.difference > 0 else "is WORSE than"
    return f"{one.system} {word} the best leg, {one.baseline}: {figures}"


def gain(one: Comparison) -> str:
    """What tuning itself was worth: the tuned system, here the baseline, against one without weights."""
    word = "is no different from" if one.p >= LEVEL else "is worse than" if one.difference > 0 else "is better than"
    return f"{one.baseline} {word} {one.system}: {one.measure} {-one.difference:+.4f}, p {p_value(one.p)}"


def p_value(p: float) -> str:
    """Four decimals; a sampled test knows nothing below them."""
    return "< .0001" if p < 0.0001 else f"{p:.4f}"
