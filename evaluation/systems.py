"""Systems: the ways of asking that are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.templates import SPARSE, VECTOR, Template
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.query import Expansion, Mode, Options, Searcher, parse_boost
from opensearch_splade.query.body import ranking_only
from opensearch_splade.query.hit_json import flat
from opensearch_splade.query.mode import SPARSE_LEGS
from opensearch_splade.query.rescoring import SECOND_ALONE
from opensearch_splade.types import Json

CHECKED_QUESTIONS = 50


@dataclass(frozen=True, slots=True)
class System:
    """One way of asking, ready to ask.

    Attributes:
        name: Unique within an evaluation.
        spec: What was said of it.
        index: Where it asks.
        searcher: Builds its bodies; ``None`` for a template that needs no encoder, in an index of anyone's.
        template: The user's search body.
        encoders: What tells its query encoders from others, for who keeps rankings.
    """

    name: str
    spec: SystemSpec
    index: str
    searcher: Searcher | None = None
    template: Template | None = None
    encoders: str = field(default="", compare=False)

    @property
    def meta(self) -> IndexMeta:
        """What the index says of itself; nothing where a template asks any index."""
        return self.searcher.target.meta if self.searcher else IndexMeta()

    @property
    def fingerprints(self) -> frozenset[str]:
        """What every hit must be encoded by for its score to mean something."""
        if self.searcher is None or self.spec.mode is None:
            return frozenset()
        legs = self.spec.mode.legs or self.searcher.target.legs
        stages = legs if self.spec.rescore not in SPARSE_LEGS else (*legs, *SPARSE_LEGS)
        return self.searcher.target.fingerprints(stages)

    def expansions(self, texts: Sequence[str]) -> list[Expansion | OspladeError | None]:
        """What feedback makes of some questions: a first request where the spec has it; else ``None`` for each.

        Raises:
            OspladeError: What ``Searcher.expansions`` raises.
        """
        if self.spec.feedback is None:
            return [None] * len(texts)
        searcher, mode = self._asker()
        return searcher.expansions(texts, mode=mode, filter=self.spec.filter, feedback=self.spec.feedback)

    def ranking_body(self, text: str, size: int, expansion: Expansion | None = None) -> Json:
        """The search for ids and scores alone.

        Raises:
            OspladeError: What ``Searcher.body`` raises, or the server cannot rescore so.
        """
        body = self.page_body(text, size, expansion)
        if self.template is None:
            return ranking_only(body)
        return body | {"_source": False} | ({"docvalue_fields": ["id", "encoded"]} if self.searcher else {})

    def page_body(self, text: str, size: int, expansion: Expansion | None = None) -> Json:
        """The search for hits with their text, as one body.

        Args:
            text: The question.
            size: Hits to return.
            expansion: What feedback made of it.
        """
        if self.template is not None:
            filled = self.template.fill(text, self._values(text))
            return {key: value for key, value in filled.items() if key != "from"} | {"size": size}
        searcher, mode = self._asker()
        weights = None if self.spec.has_stages else self.spec.weights or None
        boosts = [parse_boost(self.spec.boost)] if self.spec.boost else []
        asked: Options = {"mode": mode, "size": size, "filter": self.spec.filter, "weights": weights, "boosts": boosts}
        asked["passages"] = self.spec.passages
        shares = self.spec.weights if self.spec.rescore and self.spec.weights else SECOND_ALONE
        asked |= {"two_step": self.spec.two_step, "rescore": self.spec.rescore, "window": self.spec.window}
        asked["rescore_weights"] = (shares[0], shares[1])
        return searcher.body(text, expansion=expansion, **asked)

    def documents(self, answer: Mapping[str, Any]) -> Sequence[Json]:
        """The hits of an answer to ``ranking_body``, passages gathered where the spec scores documents by them."""
        hits: Sequence[Json] = answer["hits"]["hits"]
        score = self.spec.passages
        if score and self.searcher and score.is_gathered(self.searcher.target.store):
            return score.gathered([flat(hit) for hit in hits])
        return hits

    def _values(self, text: str) -> dict[str, Callable[[], object]]:
        """What can be put into a template."""
        searcher = self.searcher
        if searcher is None:
            return {}
        values: dict[str, Callable[[], object]] = {}
        target = searcher.target
        if leg := next((leg for leg in ("neural-sparse", *SPARSE_LEGS) if leg in target.legs), None):
            values[SPARSE] = lambda: searcher.body(text, mode=Mode.parse(leg))["query"]
        if dense := target.dense:
            values[VECTOR] = lambda: dense.embed_query(text)
        return values

    def _asker(self) -> tuple[Searcher, Mode]:
        if self.searcher is None or self.spec.mode is None:
            raise QueryError(f"system {self.name!r} has nothing to ask with")
        return self.searcher, self.spec.mode


def systems(searchers: Mapping[str, Searcher], modes: Sequence[str] = ()) -> list[System]:
    """The systems worth comparing on an index, or the given modes with each query side.

    Args:
        searchers: Query side to searcher, the preferred one first.
        modes: Modes to run; empty for all that the index can answer.
    """
    first = next(iter(searchers.values()))
    chosen: list[System] = []
    defaults = default_modes(first.target.legs)
    if first.target.lacks("weighted-terms"):
        defaults = [mode for mode in defaults if mode != "weighted-terms"]
    for mode in map(Mode.parse, modes or defaults):
        legs = mode.legs or first.target.legs
        sparse = any(leg in SPARSE_LEGS for leg in legs)
        for side, searcher in searchers.items() if sparse else [("", first)]:
            spec = SystemSpec(mode, query_side=side)
            chosen.append(System(f"{mode} ({side})" if side else str(mode), spec, searcher.target.index, searcher))
    return chosen


def default_modes(legs: Iterable[str]) -> list[str]:
    """Each ranking alone, then every fusion of two and of all, the largest by RRF too."""
    have = list(legs)
    modes = ["bm25"] + (["weighted-terms"] if "neural-sparse" in have else []) + [leg for leg in have if leg != "bm25"]
    modes += ["+".join(pair) for pair in combinations(have, 2)]
    if len(have) > 2:
        modes.append("+".join(have))
    return modes + ([f"{'+'.join(have)}:rrf"] if len(have) > 1 else [])


def score_error(searcher: Searcher, mode: str, collection: Collection) -> float:
    """Largest relative difference between the server's score and the exact dot product of what is stored.

    Asked of the ten best hits of the first questions; law 3 of docs/design.md bounds it.
    """
    worst = 0.0
    for text in list(collection.queries.values())[:CHECKED_QUESTIONS]:
        for hit in searcher.search(text, mode=mode, size=10, explain=True).hits:
            exact = math.fsum(part.score for part in hit.why)
            worst = max(worst, abs(hit.score - exact) / exact)
    return worst
