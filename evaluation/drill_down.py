"""Drill-downs: the questions that a system wins and loses most by, and the terms that did it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opensearch_splade.evaluation.measures import trec_order
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.summary import baseline_of, primary_measure
from opensearch_splade.query import Mode, Searcher
from opensearch_splade.types import Contribution, Hit

SHOWN = 5  # hits a ranking
TEXT = 240  # characters of a hit's text that are kept

Ask: TypeAlias = Callable[[str, int, Sequence[str]], Sequence[Hit]]
"""Asks a system a question for so many hits, among all documents or among those ids only; hits say why."""


@dataclass(frozen=True, slots=True)
class JudgedHit:
    """A hit beside what people said of it.

    Attributes:
        id: The document's id.
        rank: From 1.
        score: What it was ranked by.
        grade: Of the judgements; ``None`` if nobody judged it.
        title: May be empty, as may the text: imported runs have neither.
        text: Its beginning.
        why: What each feature gave, strongest first; empty where a ranking has no such parts.
    """

    id: str
    rank: int
    score: float
    grade: int | None
    title: str = ""
    text: str = ""
    why: Sequence[Contribution] = ()


@dataclass(frozen=True, slots=True)
class Margin:
    """What one feature gave a relevant document over its rival, in the scores of one system.

    Attributes:
        feature: Its name.
        relevant: What it gave the relevant document.
        rival: What it gave the other one.
    """

    feature: str
    relevant: float
    rival: float

    @property
    def score(self) -> float:
        """Above 0 it speaks for the relevant document."""
        return self.relevant - self.rival


@dataclass(frozen=True, slots=True)
class Pair:
    """Two documents that system and baseline rank the other way round: where the difference comes from.

    Attributes:
        relevant: The id of a relevant document.
        rival: The id of one with a lower grade.
        system_ranks: Of the relevant document and its rival by the system; ``None`` where it is not in the ranking.
        baseline_ranks: The same by the baseline.
        system_terms: The features that told them apart, largest first; empty where a system has no parts.
        baseline_terms: The same by the baseline.
        titles: Of the two, or the beginnings of their texts; empty where neither side could be asked.
    """

    relevant: str
    rival: str
    system_ranks: tuple[int | None, int | None]
    baseline_ranks: tuple[int | None, int | None]
    system_terms: Sequence[Margin] = ()
    baseline_terms: Sequence[Margin] = ()
    titles: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class DrillDown:
    """One question that a system answers better or worse than the baseline.

    Attributes:
        query: Its id.
        text: The question.
        measure: What is compared.
        system: A name.
        baseline: The other name.
        value: The system's.
        baseline_value: The baseline's.
        hits: The system's best.
        baseline_hits: The baseline's best.
        pair: Two documents that changed places; ``None`` if there are none within the rankings.
    """

    query: str
    text: str
    measure: str
    system: str
    baseline: str
    value: float
    baseline_value: float
    hits: Sequence[JudgedHit]
    baseline_hits: Sequence[JudgedHit]
    pair: Pair | None = None

    @property
    def difference(self) -> float:
        """Above 0 the system wins."""
        return self.value - self.baseline_value


def asking(searcher: Searcher, mode: Mode | str, weights: Sequence[float] | None = None) -> Ask:
    """The way to ask one mode of an index."""

    def ask(text: str, size: int, ids: Sequence[str]) -> Sequence[Hit]:
        among = {"terms": {searcher.target.meta.name("id"): list(ids)}} if ids else None
        return searcher.search(text, mode=mode, size=size, filter=among, weights=weights, explain=True).hits

    return ask


def drill_down(
    evaluation: Evaluation,
    systems: Mapping[str, Ask],
    count: int = 3,
    on_question: Callable[[], None] = lambda: None,
) -> list[DrillDown]:
    """The biggest winners and losers of each system against the baseline, asked again for what gave the scores.

    Args:
        evaluation: What was measured; the baseline is that of its comparisons, else the first system.
        systems: How to ask each by its name. One that is missing, such as an imported run, is told from its ranking.
        count: Winners, and losers, of each system.
        on_question: Called after each.

    Raises:
        OspladeError: What ``Searcher.search`` raises.
    """
    measure, base = primary_measure(evaluation), baseline_of(evaluation)
    found: list[DrillDown] = []
    for system in evaluation.systems:
        if system is base:
            continue
        for query in extremes(system, base, measure, count):
            found.append(_one(evaluation, query, measure, (system, base), systems))
            on_question()
    return found


def extremes(system: SystemResult, baseline: SystemResult, measure: str, count: int) -> list[str]:
    """Ids of the questions a system wins most by, best first, then of those it loses most by, worst first."""
    values, others = system.per_question[measure], baseline.per_question[measure]
    differences = {query: value - others[query] for query, value in values.items() if query in others}
    by_gain = sorted(differences, key=lambda query: (-differences[query], query))
    won = [query for query in by_gain[:count] if differences[query] > 0]
    lost = [query for query in reversed(by_gain) if differences[query] < 0][:count]
    return won + lost


def _one(
    evaluation: Evaluation,
    query: str,
    measure: str,
    pair: tuple[SystemResult, SystemResult],
    systems: Mapping[str, Ask],
) -> DrillDown:
    system, base = pair
    text = evaluation.queries.get(query, "")
    grades = evaluation.qrels.get(query, {})
    rankings = [trec_order(each.run.get(query, {})) for each in pair]
    hits = [_hits(systems.get(each.name), text, each.run.get(query, {}), grades) for each in pair]
    value, baseline_value = (each.per_question[measure][query] for each in pair)
    decisive = changed_places(rankings[0], rankings[1], grades, won=value > baseline_value)
    found = None
    if decisive:
        answers = [_alone(systems.get(each.name), text, decisive) for each in pair]
        terms = [_margins(answer, decisive) for answer in answers]
        ranks = [(_rank(ranking, decisive[0]), _rank(ranking, decisive[1])) for ranking in rankings]
        titles = {key: hit.title or _beginning(hit) for answer in answers for key, hit in answer.items()}
        told = titles.get(decisive[0], ""), titles.get(decisive[1], "")
        found = Pair(*decisive, ranks[0], ranks[1], terms[0], terms[1], told)
    names = system.name, base.name
    return DrillDown(query, text, measure, *names, value, baseline_value, hits[0], hits[1], found)


def changed_places(
    system: Sequence[str], baseline: Sequence[str], grades: Mapping[str, int], *, won: bool
) -> tuple[str, str] | None:
    """The relevant document and the rival whose order differs most between two rankings.

    Of all pairs that one ranking has in the right order and the other not, the one that matters most to nDCG: by the
    difference of the two discounts, in the ranking that is right and in the one that is wrong.

    Args:
        system: Ids, best first.
        baseline: The same of the other ranking.
        grades: Document id to grade.
        won: Whether the system is the one that is right.
    """
    right, wrong = (_places(system), _places(baseline)) if won else (_places(baseline), _places(system))
    candidates = [
        (gain, relevant, rival)
        for relevant in right
        if grades.get(relevant, 0) > 0
        for rival in wrong
        if (gain := _gain(relevant, rival, right, wrong, grades)) > 0
    ]
    if not candidates:
        return None
    _, relevant, rival = max(candidates)
    return relevant, rival


def _gain(
    relevant: str, rival: str, right: Mapping[str, int], wrong: Mapping[str, int], grades: Mapping[str, int]
) -> float:
    """Above 0 if the right ranking has the relevant document first and the wrong one its rival."""
    worth = grades[relevant] - max(0, grades.get(rival, 0))
    before, after = (_discount(places, relevant) - _discount(places, rival) for places in (right, wrong))
    return worth * (before - after) if worth > 0 and before > 0 > after else 0.0


def _places(ranking: Sequence[str]) -> dict[str, int]:
    return {document: place for place, document in enumerate(ranking, start=1)}


def _discount(places: Mapping[str, int], document: str) -> float:
    from math import log2

    return 1 / log2(1 + places[document]) if document in places else 0.0


def _rank(ranking: Sequence[str], document: str) -> int | None:
    return ranking.index(document) + 1 if document in ranking else None


def _hits(ask: Ask | None, text: str, scores: Mapping[str, float], grades: Mapping[str, int]) -> list[JudgedHit]:
    if ask is None:
        best = enumerate(trec_order(scores)[:SHOWN], start=1)
        return [JudgedHit(document, rank, scores[document], grades.get(document)) for rank, document in best]
    return [
        JudgedHit(hit.id, rank, hit.score, grades.get(hit.id), hit.title, _beginning(hit), hit.why)
        for rank, hit in enumerate(ask(text, SHOWN, ()), start=1)
    ]


def _beginning(hit: Hit) -> str:
    text = " ".join((hit.passage or hit.text).split())
    return text if len(text) <= TEXT else f"{text[:TEXT].rsplit(' ', 1)[0]} …"


def _alone(ask: Ask | None, text: str, pair: tuple[str, str]) -> dict[str, Hit]:
    """Two documents as a system finds them, whatever their ranks; one that does not match at all is missing."""
    return {hit.id: hit for hit in ask(text, len(pair), pair)} if ask else {}


def _margins(answer: Mapping[str, Hit], pair: tuple[str, str]) -> list[Margin]:
    """What told two documents apart, by what a system gives each of them."""
    parts = [
        {part.feature: part.score for part in answer[document].why} if document in answer else {} for document in pair
    ]
    relevant, rival = parts
    features = dict.fromkeys([*relevant, *rival])
    margins = [Margin(feature, relevant.get(feature, 0.0), rival.get(feature, 0.0)) for feature in features]
    return sorted(margins, key=lambda margin: (-abs(margin.score), margin.feature))
