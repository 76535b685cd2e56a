"""An answer turned into hits, and what is missing in it or cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearch_splade.query.explanation import contributions, lexical_contributions
from opensearch_splade.query.hit_json import flat, once_each, with_ids
from opensearch_splade.query.kept_fields import renamed
from opensearch_splade.query.leg_scores import adds_up, single_leg
from opensearch_splade.types import Contribution, Hit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.query.leg_scores import Legs
    from opensearch_splade.query.legs import Question
    from opensearch_splade.query.plan import Plan
    from opensearch_splade.query.target import Target
    from opensearch_splade.types import Json


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one question.

    Attributes:
        hits: Best first.
        took_ms: Time the server took for the ranking, in milliseconds, and for the first one that feedback takes.
        body: The search body as sent, of the ranking where a hybrid needs two.
        notices: What was changed in the question, is missing in the index or incomplete in the answer.
        profile: What the server spent its time on, as it says it; ``None`` unless asked for.
        total: How many hits the whole ranking has (passages, where these are stored as documents and a single ranking
            is asked); ``None`` unless it is read to its end.
    """

    hits: tuple[Hit, ...]
    took_ms: int
    body: Json
    notices: tuple[str, ...] = ()
    profile: Json | None = None
    total: int | None = None


@dataclass(slots=True)
class Reading:
    """An answer on its way to a result.

    Attributes:
        plan: What was asked.
        answer: What came.
        found: The hits of the page, as JSON.
        notices: What a reader must know.
        legs: The rankings that were fused, where they were asked for.
    """

    plan: Plan
    answer: Json
    found: list[Json]
    notices: list[str]
    legs: Legs | None = None

    @classmethod
    def of(cls, plan: Plan, answer: Json) -> Reading:
        """The page of an answer to ``plan.sent``."""
        found = [flat(hit) for hit in answer["hits"]["hits"]]
        notices = [*plan.question.notices, *incomplete(answer)]
        if plan.is_ranking:
            start, size = plan.wanted.start, plan.wanted.size
            documents = plan.gathers.gathered(found) if plan.gathers else once_each(found)
            found = with_ids(documents[start : start + size], notices)
        return cls(plan, answer, found, notices)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Index and id of each document that is still to be read."""
        return [(hit["_index"], hit["_id"]) for hit in self.found] if self.plan.reads_documents else []

    def join(self, documents: Sequence[Json]) -> None:
        """Puts the documents of ``places`` to their hits; those that are gone are left out and told of."""
        joined = [{**hit, **document} for hit, document in zip(self.found, documents, strict=True)]
        if gone := [hit["_id"] for hit in joined if not hit.get("found")]:
            self.notices.append(
                f"{len(gone)} hits (e.g. {gone[0]!r}) could not be read any more: deleted in the meantime?"
            )
        self.found = [hit for hit in joined if hit.get("found")]

    def result(self, target: Target, names: Mapping[str, str]) -> SearchResult:
        """The hits with what gave their scores.

        Args:
            target: What was asked.
            names: Of the keys of stored weights, where these are token ids.
        """
        plan = self.plan
        self.notices += _foreign(self.found, target.fingerprints(plan.scoring))
        hits = tuple(_hit(hit, plan, names, self.legs) for hit in self.found)
        if inexact := sum(bool(hit.legs) and not adds_up(hit) for hit in hits):
            self.notices.append(
                f"what is told of {inexact} of {len(hits)} hits does not add up to the server's score: its "
                "candidates came from shards that cannot be asked alone, or its weights are approximate (SEISMIC)"
            )
        before = plan.question.expansion.took_ms if plan.question.expansion else 0
        took, sent = before + self.answer["took"], renamed(plan.sent, target.meta)
        return SearchResult(hits, took, sent, tuple(self.notices), self.answer.get("profile"))


def _hit(hit: Json, plan: Plan, names: Mapping[str, str], legs: Legs | None) -> Hit:
    source = hit["_source"]
    passage, sparse = _best_passage(source, plan.question, names)
    sparse = sparse if plan.wanted.explain else []
    explanation = hit.get("_explanation")
    why = lexical_contributions(explanation) if explanation and plan.legs == ("bm25",) else sparse
    is_single = plan.wanted.explain and len(plan.legs) == 1
    told = legs.of(hit, why) if legs else single_leg(plan, hit["_score"], why) if is_single else ()
    return Hit(
        id=source.get("id") or hit["_id"],  # of a passage the document's
        score=hit["_score"],
        title=source.get("title", ""),
        text=source.get("text", ""),
        metadata=source.get("metadata", {}),
        why=told[0].why if told and is_single else tuple(why),
        passage=passage,
        legs=told,
        combination=legs.combination if legs else "arithmetic_mean",
        boosts=legs.boosts(hit) if legs else (),
    )


def _best_passage(
    source: Mapping[str, Any], question: Question, names: Mapping[str, str]
) -> tuple[str, list[Contribution]]:
    """What gave a hit its sparse score, and the text of the passage that did, where passages lie in the document."""
    added = question.expansion.added if question.expansion else frozenset[str]()

    def why(vector: Mapping[str, float]) -> list[Contribution]:
        stored = {names.get(key, key): weight for key, weight in vector.items()}
        return contributions(question.weights, stored, added)

    passages = [(one, why(one["sparse"])) for one in source.get("passages", ()) if "sparse" in one]
    if not passages:
        return "", why(source.get("sparse", {}))
    best, found = max(passages, key=lambda each: sum(one.score for one in each[1]))
    return (source["text"][best["start"] : best["end"]] if found else ""), found


def incomplete(answer: Mapping[str, Any]) -> list[str]:
    """What an answer lacks, one sentence each."""
    notices = ["the server ran out of time: hits may be missing"] if answer["timed_out"] else []
    shards = answer["_shards"]
    if shards["failed"]:
        notices.append(f"{shards['failed']} of {shards['total']} shards did not answer: hits may be missing")
    return notices


def _foreign(found: Sequence[Mapping[str, Any]], fingerprints: frozenset[str]) -> list[str]:
    """Hits whose vectors come from another bundle than the question's: their scores mean nothing."""
    foreign = [hit["_id"] for hit in found if not fingerprints <= set(hit["_source"].get("encoded", []))]
    if not foreign:
        return []
    notice = (
        f"{len(foreign)} of {len(found)} hits (e.g. {foreign[0]!r}) were not encoded by the bundle that asks: "
        "their scores cannot be trusted; ingest them again, or make a new searcher if an alias has moved"
    )
    return [notice]
