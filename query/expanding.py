"""The first request of a search with feedback: the documents that a question is expanded by, with their features."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.query.answer import incomplete
from opensearch_splade.query.batches import together
from opensearch_splade.query.expansion import Evidence, Expansion, positive
from opensearch_splade.query.hit_json import flat
from opensearch_splade.query.limits import Fit
from opensearch_splade.query.mode import SPARSE_LEGS, Mode
from opensearch_splade.query.plan import Wanted, asked_legs, plan
from opensearch_splade.query.rocchio import Rocchio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.query.feedback import Feedback
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.plan import Plan
    from opensearch_splade.query.target import Target
    from opensearch_splade.types import Features, Json

_SOURCE = {"includes": ["id", "encoded", "sparse", "passages.sparse"]}
_NAMED = 5  # features of a notice


def first_plan(text: str, target: Target, wanted: Wanted, feedback: Feedback | Rocchio) -> Plan:
    """The search for the documents: the best hits of the first sparse ranking, or the judged ones with their scores.

    Judged documents are found whatever the search's filter says, and of passages that are documents of their own the
    best one is.

    Raises:
        QueryError: No ranking of the mode is sparse, or what ``plan`` raises.
    """
    mode = Mode((_sparse_leg(asked_legs(wanted, target), wanted),))
    if isinstance(feedback, Rocchio):
        only = target.only(feedback.ids)
        made = plan(text, target, Wanted(mode=mode, size=len(feedback.ids), filter=only, timeout=wanted.timeout))
        query = {"bool": {"filter": [only], "should": [made.body["query"]]}}  # those that share no feature too
    else:
        made = plan(text, target, Wanted(mode=mode, size=feedback.docs, filter=wanted.filter, timeout=wanted.timeout))
        query = made.body["query"]
    return replace(made, body={**made.body, "query": query, "_source": _SOURCE})


def expansions(
    texts: Sequence[str], target: Target, names: Mapping[str, str], wanted: Wanted, patience_s: float | None
) -> Conversation[list[Expansion | OspladeError | None]]:
    """What feedback makes of some questions, in their order; ``None`` for all where none is wanted.

    Args:
        texts: The questions.
        target: What is asked.
        names: Of the keys of stored weights, where these are token ids.
        wanted: How it is asked.
        patience_s: How long one search may take.
    """
    feedback = wanted.feedback
    if feedback is None:
        return [None for _ in texts]
    plans = [_tried(text, target, wanted, feedback) for text in texts]
    bodies = [each.body for each in plans if not isinstance(each, OspladeError)]
    answers = iter((yield from together(target.index, bodies, patience_s=patience_s)))
    return [
        each if isinstance(each, OspladeError) else _expansion(each, next(answers), target, names, feedback)
        for each in plans
    ]


def _sparse_leg(legs: Sequence[Leg], wanted: Wanted) -> Leg:
    for leg in legs:
        if leg in SPARSE_LEGS:
            return leg
    raise QueryError(
        f"feedback expands sparse rankings, and mode {wanted.mode} asks {' and '.join(legs)}: ask neural-sparse or "
        "weighted-terms, alone or in a hybrid"
    )


def _tried(text: str, target: Target, wanted: Wanted, feedback: Feedback | Rocchio) -> Plan | OspladeError:
    try:
        return first_plan(text, target, wanted, feedback)
    except OspladeError as error:
        return error


def _expansion(
    first: Plan,
    answer: Json | OspladeError,
    target: Target,
    names: Mapping[str, str],
    feedback: Feedback | Rocchio,
) -> Expansion | OspladeError:
    if isinstance(answer, OspladeError):
        return answer
    question = first.question.features
    ours = target.fingerprints(first.legs)
    hits = [flat(hit) for hit in answer["hits"]["hits"]]
    own = [hit for hit in hits if ours <= set(hit["_source"].get("encoded", ()))]
    evidence = [
        Evidence(hit["_source"].get("id") or hit["_id"], hit["_score"], features)
        for hit in own
        if (features := _features(hit["_source"], question, names))
    ]
    weights = feedback.apply(question, evidence)
    added = [feature for feature in weights if feature not in question]
    notices = _notices(feedback, evidence, added, foreign=len(hits) - len(own))
    told = (*incomplete(answer), *Fit({}, dropped=len(question) - len(positive(question))).notices, *notices)
    return Expansion(weights, frozenset(added), told, answer["took"])


def _features(source: Mapping[str, Any], question: Features, names: Mapping[str, str]) -> Features:
    """Of a document, or of that passage of it which the question likes best.

    Names with a dot, which others' ingest writes, are left out: weighted terms cannot ask for them.
    """
    vectors = [one["sparse"] for one in source.get("passages", ()) if "sparse" in one] or [source.get("sparse") or {}]
    named = [
        {name: float(weight) for key, weight in vector.items() if "." not in (name := names.get(key, key))}
        for vector in vectors
    ]
    return max(named, key=lambda vector: math.fsum(question.get(name, 0) * weight for name, weight in vector.items()))


def _notices(
    feedback: Feedback | Rocchio, evidence: Sequence[Evidence], added: Sequence[str], *, foreign: int
) -> Iterator[str]:
    if foreign:
        yield f"feedback without {foreign} documents: another bundle encoded them"
    if isinstance(feedback, Rocchio):
        known = {one.id for one in evidence}
        if missing := [one for one in feedback.ids if one not in known]:
            yield f"feedback without {len(missing)} judged documents (e.g. {missing[0]!r}): not there, or no features"
    if not evidence:
        yield f"feedback {feedback}: no document to learn from, so the question alone was asked"
    else:
        more = ", …" if len(added) > _NAMED else ""
        said = f" ({', '.join(added[:_NAMED])}{more})" if added else ""
        yield f"feedback {feedback}: {len(added)} features added{said} from {len(evidence)} documents"
