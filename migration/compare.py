"""Compare: the users' questions, asked of the old index as they ask today and of the new one as they would.

Both are asked in turn, so that a busy minute of the cluster meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Protocol

from opensearch_splade.errors import MigrationError, OspladeError, QueryError
from opensearch_splade.evaluation.latency import percentile
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.questions import Question
from opensearch_splade.evaluation.results import Comparison, Latency, SystemResult
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.evaluation.templates import QUERY, Template
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.overlap import overlap, rank_biased_overlap
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.plugin.segments import refresh
from opensearch_splade.query import Searcher
from opensearch_splade.query.answer import incomplete
from opensearch_splade.transport import asking
from opensearch_splade.types import Hit, Json

DEPTH = 10
MEASURE = "nDCG@10"
_WARM_UP = 5  # questions that are asked once before any is timed
_OWN = KeptMeta(("text",), "title")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one index said.

    Attributes:
        hits: Best first.
        client_ms: Until it was there, encoding of the question included.
        server_ms: As the server says.
    """

    hits: tuple[Hit, ...]
    client_ms: float
    server_ms: float

    @property
    def ids(self) -> list[str]:
        """Of the hits."""
        return [hit.id for hit in self.hits]


@dataclass(frozen=True, slots=True)
class Both:
    """One question and both answers."""

    question: Question
    old: Answer
    new: Answer
    overlap: float
    rbo: float


@dataclass
class Compared:
    """What came of it. Means are weighted by how often questions were asked.

    Attributes:
        depth: Hits that were compared.
        old_way: How the old index was asked.
        new_way: How the new one was.
        answers: In the order of the questions.
        failed: Questions that one of both refused: id, which, why.
        judged: ``nDCG@10`` of both and whether the difference may be chance, where there are judgements.
    """

    depth: int
    old_way: str
    new_way: str
    answers: list[Both] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    judged: Judged | None = None

    def mean(self, value: Callable[[Both], float]) -> float:
        """Over all questions."""
        asked = sum(each.question.count for each in self.answers)
        return sum(value(each) * each.question.count for each in self.answers) / asked if asked else 0.0

    def latency(self, side: Callable[[Both], Answer]) -> Latency:
        """Of one side, every question once."""
        client = [side(each).client_ms for each in self.answers]
        server = [side(each).server_ms for each in self.answers]
        return Latency(percentile(client, 50), percentile(client, 95), percentile(server, 50))

    def to_json(self) -> Json:
        """For machines; hits by id."""
        questions = [
            {
                **asdict(each.question),
                "overlap": each.overlap,
                "rbo": each.rbo,
                "old": each.old.ids,
                "new": each.new.ids,
            }
            for each in self.answers
        ]
        return {
            "depth": self.depth,
            "old_way": self.old_way,
            "new_way": self.new_way,
            "overlap": self.mean(lambda each: each.overlap),
            "rbo": self.mean(lambda each: each.rbo),
            "latency": {"old": asdict(self.latency(old_side)), "new": asdict(self.latency(new_side))},
            "judged": asdict(self.judged) if self.judged else None,
            "failed": [dict(zip(("id", "index", "reason"), one, strict=True)) for one in self.failed],
            "questions": questions,
        }


def old_side(both: Both) -> Answer:
    """The old index' answer."""
    return both.old


def new_side(both: Both) -> Answer:
    """The new index' answer."""
    return both.new


@dataclass(frozen=True, slots=True)
class Judged:
    """Quality by judgements.

    Attributes:
        questions: Judged ones.
        old: Mean ``nDCG@10``.
        new: The same.
        comparison: The paired difference.
    """

    questions: int
    old: float
    new: float
    comparison: Comparison


class _Way(Protocol):
    """A way of asking an index."""

    def __call__(self, text: str, size: int) -> tuple[Sequence[Hit], float]:
        """Hits, and the server's milliseconds."""
        ...


def compare(
    job: Job,
    questions: Sequence[Question],
    *,
    template: Template | None = None,
    mode: str = "hybrid",
    depth: int = DEPTH,
    qrels: Mapping[str, Mapping[str, int]] | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Compared:
    """Asks both indices every question.

    Args:
        job: Whose indices are asked; it must have been begun.
        questions: The users'.
        template: How the old index is asked; by default the question in all its fields of text.
        mode: How the new one is.
        depth: Hits that are compared.
        qrels: Judgements, by the ids of the questions, if there are some.
        tell: Told how many questions were asked.

    Raises:
        MigrationError: There is no new index yet, or no question could be asked.
        QueryError: The template has places that only the new index could fill.
        MissingExtraError: There are judgements, and ir-measures is not installed.
    """
    if not job.state.last("begun"):
        raise MigrationError("there is no new index to compare with yet: begin with `osplade migrate run`.")
    template = template or default_template(job)
    if template.places != {QUERY}:
        raise QueryError(f"template {template.name}: of an old index only {QUERY} can be asked.")
    refresh(job.client, job.spec.target)  # so that what was just brought over is found
    found = Compared(depth, template.name, mode)
    ways = {"old": _old_way(job, template), "new": _new_way(job, mode)}
    size = max(depth, DEPTH) if qrels else depth
    for number, question in zip(count(-min(_WARM_UP, len(questions))), [*questions[:_WARM_UP], *questions]):
        answers = _both(ways, question, size, found if number >= 0 else None, turned=number % 2 == 1)
        if number >= 0:
            tell(number + 1)
            if len(answers) == 2:
                found.answers.append(_compared(question, answers["old"], answers["new"], depth))
    if not found.answers:
        reasons = "; ".join(f"{side}: {reason}" for _, side, reason in found.failed[:2])
        raise MigrationError(f"no question could be asked of both indices ({reasons or 'there was none'}).")
    if qrels is not None:
        found.judged = _judged(found.answers, qrels)
    return found


def default_template(job: Job) -> Template:
    """A question in all fields of text, as a search box would ask."""
    fields = job.rules.kept.spoken if job.rules.kept else ("text",)
    if len(fields) == 1:
        return Template(f"match {fields[0]}", {"query": {"match": {fields[0]: {"query": QUERY}}}}, "")
    body = {"query": {"multi_match": {"query": QUERY, "fields": list(fields)}}}
    return Template(f"multi_match {', '.join(fields)}", body, "")


def _both(
    ways: Mapping[str, _Way], question: Question, size: int, found: Compared | None, *, turned: bool
) -> dict[str, Answer]:
    answers = dict[str, Answer]()
    for side in sorted(ways, reverse=turned):
        start = time.perf_counter()
        try:
            hits, server_ms = ways[side](question.text, size)
        except OspladeError as error:
            if found:
                found.failed.append((question.id, side, str(error)))
            continue
        answers[side] = Answer(tuple(hits), (time.perf_counter() - start) * 1000, server_ms)
    return answers


def _compared(question: Question, old: Answer, new: Answer, depth: int) -> Both:
    one, other = old.ids[:depth], new.ids[:depth]
    return Both(question, old, new, overlap(one, other, depth), rank_biased_overlap(one, other))


def _old_way(job: Job, template: Template) -> _Way:
    kept, index = job.rules.kept or _OWN, job.source.name

    def ask(text: str, size: int) -> tuple[Sequence[Hit], float]:
        body = {key: value for key, value in template.fill(text, {}).items() if key != "from"} | {"size": size}
        with asking(index):
            answer = job.source_client.search(index=index, body=body)
        if parts := incomplete(answer):
            raise QueryError("; ".join(parts))
        hits = dict[str, Hit]()
        for hit in answer["hits"]["hits"]:
            title, words = kept.read(hit.get("_source") or {})
            hits.setdefault(hit["_id"], Hit(hit["_id"], hit["_score"] or 0.0, title, words))
        return list(hits.values()), float(answer["took"])

    return ask


def _new_way(job: Job, mode: str) -> _Way:
    meta = IndexMeta.read(job.client, job.spec.target)
    sparse = None if job.spec.foreign else job.sparse
    if sparse and meta.query_weights:
        table = load_query_weights(job.client, meta.query_weights)
        sparse = sparse.with_query_weights(table, meta.query_weights.kind)
    searcher = Searcher(job.client, job.spec.target, capabilities=job.capabilities, sparse=sparse, dense=job.dense)

    def ask(text: str, size: int) -> tuple[Sequence[Hit], float]:
        result = searcher.search(text, mode=mode, size=size)
        return result.hits, float(result.took_ms)

    return ask


def _judged(answers: Sequence[Both], qrels: Mapping[str, Mapping[str, int]]) -> Judged:
    judged = {each.question.id: qrels[each.question.id] for each in answers if qrels.get(each.question.id)}
    if not judged:
        raise MigrationError("none of the questions is judged: judgements name them by the ids of the questions' file.")
    results = []
    for name, side in (("old", old_side), ("new", new_side)):
        run = {each.question.id: {id_: -float(rank) for rank, id_ in enumerate(side(each).ids)} for each in answers}
        results.append(SystemResult(name, "", run, measure_each(run, judged, (MEASURE,))))
    [comparison] = compare_all(results, "old", (MEASURE,))
    old, new = (result.measures[MEASURE] for result in results)
    return Judged(len(judged), old, new, comparison)
