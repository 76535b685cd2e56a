"""A ranking read to its end: pages out of one point in time, each from after the last hit of the one before.

``from`` ends at 10,000 hits, and between two pages the index may change; a point in time (since 2.4, so in every
server that has an index of ours) stands still. ``search_after`` needs an order without ties: score, then the fields
``id`` and, of passages, ``number``, then ``_index``, since behind an alias an id may stand twice. All of them have doc
values. ``_id`` would be loaded into memory whole (deprecated), and ``_shard_doc`` is undocumented and younger than the
servers that are supported.

A hybrid, and a ranking that finds only the nearest (kNN, SEISMIC), is read whole before its first page: fusion needs
the scores of all candidates, and a search for the nearest need not find the same twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from opensearch_splade.errors import ClusterError, OspladeError, QueryError, TargetError
from opensearch_splade.query.answer import Reading, SearchResult
from opensearch_splade.query.body import MAX_RESULT_WINDOW, ranking_only, search_body
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.conversation import Call
from opensearch_splade.query.fusion import chosen
from opensearch_splade.query.hit_json import flat, with_ids
from opensearch_splade.query.mode import Mode
from opensearch_splade.query.plan import Plan, Wanted, plan
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.target import Target
    from opensearch_splade.types import Json


class ExhaustOptions(TypedDict, total=False):
    """``ToTheEnd`` as keyword arguments."""

    mode: Mode | str
    filter: Json | None
    weights: Sequence[float] | None
    depth: int | None
    page: int
    ids_only: bool
    keep_alive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToTheEnd:
    """How a ranking is read to its end.

    Attributes:
        mode: A ``Mode`` or its text.
        filter: One query object that hits must match.
        weights: Of the legs of a hybrid, in their order.
        depth: Documents after which it ends; ``None`` reads all that match.
        page: Hits of a request, at most 10,000.
        ids_only: Hits come without text, which is faster where only the ranking matters.
        keep_alive: How long the cluster keeps the place between two pages, e.g. ``5m``; at most 24 h, unless the
            cluster allows more (``point_in_time.max_keep_alive``).

    Raises:
        QueryError: Depth or page is out of bounds.
    """

    mode: Mode | str = "hybrid"
    filter: Json | None = None
    weights: Sequence[float] | None = None
    depth: int | None = None
    page: int = 500
    ids_only: bool = False
    keep_alive: str = "5m"

    def __post_init__(self) -> None:
        if not 1 <= self.page <= MAX_RESULT_WINDOW:
            raise QueryError(f"a page of {self.page} hits: it takes 1 to {MAX_RESULT_WINDOW:,}")
        if self.depth is not None and self.depth < 1:
            raise QueryError(f"a depth of {self.depth}: it is at least 1; None reads to the end")


class Exhaustion:
    """One question on its way: the point in time, and what was given already. Made anew for each.

    Args:
        text: The question.
        target: The index and the encoders.
        wanted: How it is asked.
        names: Of the keys of stored weights, where these are token ids.

    Raises:
        QueryError: The question, mode or weights are out of bounds.
        TargetError: The index or the encoders lack what the mode asks.
        CapabilityError: The server cannot do what the mode asks.
    """

    def __init__(self, text: str, target: Target, wanted: ToTheEnd, names: Mapping[str, str]) -> None:
        self._target, self._wanted, self._names = target, wanted, names
        mode = wanted.mode if isinstance(wanted.mode, Mode) else Mode.parse(wanted.mode)
        legs = mode.legs or target.legs
        self._fusion = chosen(mode.fusion or "min_max", wanted.weights) if len(legs) > 1 else None
        if self._fusion is None and wanted.weights is not None:
            raise QueryError(f"weights are for the legs of a hybrid; here {legs[0]} is asked alone")
        if self._fusion and self._fusion.weights:
            self._fusion.check_legs(len(legs))
        self._bounded = [leg for leg in legs if _is_bounded(leg, target)]
        if self._bounded and self._fusion and self._fusion.normaliser == "raw":
            raise QueryError(
                f"a linear combination needs a document's score in every ranking, and {self._bounded[0]} ends after "
                f"{MAX_RESULT_WINDOW:,} hits; fuse by min_max or rrf, or leave it out"
            )
        whole = len(legs) > 1 or bool(self._bounded)
        size = MAX_RESULT_WINDOW if whole else min(wanted.page, wanted.depth or wanted.page)
        asked = Wanted(size=size, filter=wanted.filter, ids_only=whole or wanted.ids_only)
        self._legs = [_Leg(plan(text, target, replace(asked, mode=Mode((leg,)))), leg in self._bounded) for leg in legs]
        self._whole: Iterator[list[Json]] | None = iter(()) if whole else None
        self._total: int | None = None
        self._notices = [notice for leg in self._legs for notice in leg.plan.question.notices] + self._bounds()
        self._place, self._given, self._took = "", 0, 0

    @property
    def bodies(self) -> list[Json]:
        """The first request of each ranking, without its point in time."""
        return [leg.body for leg in self._legs]

    def page(self) -> Conversation[SearchResult | None]:
        """The next hits, or ``None`` after the last one.

        Raises:
            TargetError: There is no such index.
            ClusterError: The cluster does not answer, or has lost the place.
        """
        if not self._place:
            with asking(self._target.index):
                opened = yield Call(
                    "create_pit", None, self._target.index, params={"keep_alive": self._wanted.keep_alive}
                )
            self._place = opened["pit_id"]
            if self._whole is not None:
                self._whole = self._cut((yield from self._ranked()))
        found = (yield from self._streamed()) if self._whole is None else (yield from self._read(self._whole))
        if not found:
            return None
        self._given += len(found)
        first = self._legs[0]
        notices = list(dict.fromkeys(self._notices))
        answer: Json = {"took": self._took, "timed_out": False}
        result = Reading(first.plan, answer, with_ids(found, notices), notices).result(self._target, self._names)
        self._took = 0
        return replace(result, body=first.body, total=self._total)

    def end(self) -> Conversation[None]:
        """Lets the point in time go. What the cluster makes of it does not matter: it would go by itself."""
        if not self._place:
            return
        try:
            with asking(self._target.index):
                yield Call("delete_pit", {"pit_id": [self._place]})
        except OspladeError:
            return

    def _streamed(self) -> Conversation[list[Json]]:
        """A page as it comes; one whose passages are all of known documents is passed over."""
        [leg] = self._legs
        left = math.inf if self._wanted.depth is None else self._wanted.depth - self._given
        while left > 0 and not leg.is_done:
            found = yield from self._next(leg)
            if found:
                return found[: int(min(left, len(found)))]
        return []

    def _ranked(self) -> Conversation[list[Json]]:
        """All hits of a ranking that is read whole."""
        for leg in self._legs:
            while not leg.is_done:
                leg.hits += with_ids((yield from self._next(leg)), self._notices)
        known: dict[str, Json] = {}
        for leg in self._legs:
            known = {hit["_source"]["id"]: hit for hit in leg.hits} | known  # the text is that of the first leg
        if self._fusion is None:
            ranked = self._legs[0].hits
        else:
            rankings = [{hit["_source"]["id"]: hit["_score"] for hit in leg.hits} for leg in self._legs]
            fused = fuse(rankings, self._fusion, candidates=len(known) + 1)
            ranked = [{**known[identity], "_score": score} for identity, score in fused.items()]
        self._total = len(ranked)
        return ranked[: self._wanted.depth]

    def _cut(self, ranked: Sequence[Json]) -> Iterator[list[Json]]:
        page = self._wanted.page
        return (list(ranked[start : start + page]) for start in range(0, len(ranked), page))

    def _read(self, pages: Iterator[list[Json]]) -> Conversation[list[Json]]:
        """The next hits with their documents, as they were when the point in time was made."""
        found = next(pages, [])
        if self._wanted.ids_only or not found:
            return found
        query = {"ids": {"values": [hit["_id"] for hit in found]}}
        answer = yield from self._search(search_body(query, size=MAX_RESULT_WINDOW))
        documents = {(hit["_index"], hit["_id"]): hit for hit in answer["hits"]["hits"]}
        there = [hit for hit in found if (hit["_index"], hit["_id"]) in documents]
        if strange := len(found) - len(there):
            self._notices.append(f"{strange} hits are left out: others wrote them, with an _id that is not their id")
        return [{**documents[hit["_index"], hit["_id"]], "_score": hit["_score"]} for hit in there]

    def _next(self, leg: _Leg) -> Conversation[list[Json]]:
        answer = yield from self._search(leg.body)
        total = answer["hits"].get("total")
        self._total = total["value"] if total and self._whole is None else self._total
        return leg.take(answer["hits"]["hits"])

    def _search(self, body: Json) -> Conversation[Json]:
        """One request at the place."""
        held: Json = {"pit": {"id": self._place, "keep_alive": self._wanted.keep_alive}}
        try:
            with asking(self._target.index):
                answer: Json = yield Call("search", {**body, **held})
        except TargetError as error:  # 404: it is the place that is not found
            raise self._lost(str(error.__cause__)) from error
        if answer["timed_out"] or answer["_shards"]["failed"]:
            failures = answer["_shards"].get("failures") or [{"reason": {"reason": "it ran out of time"}}]
            raise self._lost(failures[0]["reason"]["reason"])
        self._place = answer.get("pit_id", self._place)
        self._took += answer["took"]
        return answer

    def _lost(self, reason: str) -> ClusterError:
        return ClusterError(
            f"the place in index {self._target.index!r} is lost after {self._given:,} hits ({reason}): no page was "
            f"asked for within keep_alive={self._wanted.keep_alive!r}, or a node went away. Ask again from the "
            "beginning, with a longer keep_alive if the time between two pages needs it"
        )

    def _bounds(self) -> list[str]:
        return [
            f"{leg} has no end: it gives its nearest {MAX_RESULT_WINDOW:,} hits (of each segment or shard), and "
            "approximately; documents beyond them are found by the other rankings only"
            for leg in self._bounded
        ]


class _Leg:
    """One ranking, read from where the last page ended."""

    def __init__(self, plan: Plan, is_bounded: bool) -> None:
        self.plan, self.is_done = plan, False
        self.hits: list[Json] = []
        self._is_bounded, self._seen = is_bounded, set[object]()
        order: list[Json | str] = ["_score", {"id": "asc"}]
        if "collapse" in plan.body:  # passages: the server cannot go on after a hit where it collapses
            order.append({"number": "asc"})
        body = ranking_only(plan.body) if plan.wanted.ids_only else plan.body
        kept = {key: value for key, value in body.items() if key not in {"collapse", "from"}}
        self.body: Json = {**kept, "sort": [*order, {"_index": "asc"}], "track_total_hits": True}

    def take(self, page: Sequence[Json]) -> list[Json]:
        """The hits of an answer whose document is new; the first is the best of its passages."""
        self.is_done = self._is_bounded or len(page) < self.body["size"]
        if page:
            self.body = {**self.body, "search_after": page[-1]["sort"], "track_total_hits": False}
        found: list[Json] = []
        for hit in map(flat, page):
            key = (hit["_index"], hit["_source"].get("id") or hit["_id"])
            if hit["_id"] is None or key not in self._seen:
                self._seen.add(key)
                found.append({**hit, "_score": hit["sort"][0]})
        return found


def _is_bounded(leg: Leg, target: Target) -> bool:
    """Whether it finds so many nearest and no more."""
    return leg == "knn" or (leg == "neural-sparse" and target.seismic is not None)
