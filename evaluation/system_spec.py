"""System specs: one way of asking as a line or as an entry of a YAML file, so that an evaluation can be said again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

from opensearch_splade.errors import QueryError
from opensearch_splade.query import (
    DocumentScore,
    Feedback,
    Mode,
    QueryPruning,
    SeismicSearch,
    parse_boost,
)
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.mode import SPARSE_LEGS
from opensearch_splade.query.rescoring import RESCORERS
from opensearch_splade.types import Json

SIDES = ("siamese", "inference-free")


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """One way of asking. ``str(spec)`` is a line that ``parse`` reads.

    Attributes:
        mode: The rankings and their fusion; ``None`` for a template.
        template: File of the user's own search body.
        index: Where to ask; empty for the evaluation's index.
        bundle: Sparse bundle for questions; empty for the evaluation's.
        dense_bundle: The same for the dense bundle.
        query_side: ``siamese`` or ``inference-free``; empty for the preferred one.
        query_prune: Which features of a sparse question are asked with.
        seismic: How thoroughly a ``sparse_vector`` field is searched.
        filter: A query that hits must match.
        boost: Added to the scores of hits, as ``parse_boost`` reads it; to one ranking or a linear combination.
        weights: Of the legs of a hybrid; of first ranking and rescoring where there is one.
        feedback: How the best hits expand its sparse rankings.
        two_step: Which features find the candidates, which all features then score.
        rescore: The leg that scores the first ranking's best hits again; empty for none.
        window: How many of a shard are scored again, at least the page.
        passages: How documents are scored by their passages; ``None`` by the best one.
        tuned_on: What the numbers above were chosen on, e.g. ``scifact/train``.

    Raises:
        QueryError: Parts do not go together, or a value is out of range.
    """

    mode: Mode | None = None
    template: str = ""
    index: str = ""
    bundle: str = ""
    dense_bundle: str = ""
    query_side: str = ""
    query_prune: QueryPruning | None = None
    seismic: SeismicSearch | None = None
    filter: Json | None = None
    boost: str = ""
    weights: tuple[float, ...] = ()
    feedback: Feedback | None = None
    two_step: QueryPruning | None = None
    rescore: str = ""
    window: int = CANDIDATES
    passages: DocumentScore | None = None
    tuned_on: str = ""

    def __post_init__(self) -> None:
        if (self.mode is None) == (not self.template):
            raise QueryError("a system is a mode such as bm25+knn, or template=FILE")
        if self.query_side not in {"", *SIDES}:
            raise QueryError(f"query-side={self.query_side}: choose {' or '.join(SIDES)}")
        if self.mode is None:
            self._check_template()
        else:
            self._check_stages(self.mode)
        self._check_weights()

    def _check_template(self) -> None:
        names = ("filter", "boost", "weights", "feedback", "two_step", "rescore", "passages")
        taken = {name.replace("_", "-"): getattr(self, name) for name in names}
        if said := [name for name, value in taken.items() if value]:
            raise QueryError(f"{said[0]} goes with a mode; write it into the template instead")

    def _check_stages(self, mode: Mode) -> None:
        if self.feedback and mode.legs and not set(mode.legs) & set(SPARSE_LEGS):
            raise QueryError(f"feedback expands sparse rankings ({' or '.join(SPARSE_LEGS)}); {mode} has none")
        if self.two_step and self.rescore:
            raise QueryError("two-step is a rescoring by all features already; leave rescore out")
        if self.two_step and not (len(mode.legs) == 1 and mode.legs[0] in SPARSE_LEGS):
            raise QueryError(f"two-step goes with one sparse ranking ({' or '.join(SPARSE_LEGS)}), not with {mode}")
        if self.rescore and self.rescore not in RESCORERS:
            raise QueryError(f"rescore={self.rescore}: choose one of {', '.join(RESCORERS)}")
        if self.rescore and len(mode.legs) != 1:
            raise QueryError(f"rescore goes with one ranking, not with {mode}")
        if self.boost:
            parse_boost(self.boost)
            if self.has_stages or (len(mode.legs) != 1 and mode.fusion != "linear"):
                raise QueryError("boost goes with one ranking of one stage, or with a linear combination (:linear)")
        if self.window != CANDIDATES and not self.has_stages:
            raise QueryError("window goes with two-step or rescore")

    def _check_weights(self) -> None:
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            raise QueryError(f"weights={self.weights}: weights are finite and not negative")
        if not self.weights or self.mode is None:
            return
        wanted = 2 if self.rescore else len(self.mode.legs)
        if self.two_step or wanted == 1:
            raise QueryError(f"weights are for the legs of a hybrid or for a rescoring; {self.mode} has one score")
        if wanted and len(self.weights) != wanted:
            raise QueryError(f"{len(self.weights)} weights where {wanted} are needed")

    @property
    def has_stages(self) -> bool:
        """Whether hits are scored twice."""
        return bool(self.two_step or self.rescore)

    @classmethod
    def parse(cls, text: str) -> SystemSpec:
        """Reads ``MODE`` and ``KEY=VALUE`` with spaces between them, quoted as in a shell.

        Example:
            >>> str(SystemSpec.parse("bm25+knn:rrf weights=1,2"))
            'bm25+knn:rrf weights=1,2'

        Raises:
            QueryError: It is none; says what is wrong.
        """
        try:
            parts = shlex.split(text)
        except ValueError as error:
            raise QueryError(f"system {text!r}: {error}") from error
        found: dict[str, object] = {}
        for place, part in enumerate(parts):
            key, equals, value = part.partition("=")
            if not equals and place:
                raise QueryError(f"system {text!r}: {part!r} is no KEY=VALUE; known: {', '.join(_READERS)}")
            key, value = (key, value) if equals else ("mode", part)
            if key in found:
                raise QueryError(f"system {text!r} names {key} twice")
            found[key] = value
        return cls.read(found, f"system {text!r}")

    @classmethod
    def read(cls, found: Mapping[str, object], where: str) -> SystemSpec:
        """Reads values by their keys, as text or as YAML has them.

        Raises:
            QueryError: A key is unknown, or a value cannot be read or does not go with the others.
        """
        if unknown := [key for key in found if key not in _READERS]:
            raise QueryError(f"{where}: {unknown[0]!r} is unknown; known: {', '.join(_READERS)}")
        try:
            return cls(**{_attribute(key): _READERS[key](as_text(key, value)) for key, value in found.items()})
        except (QueryError, ValueError) as error:
            raise QueryError(f"{where}: {error}") from error

    def __str__(self) -> str:
        said = [str(self.mode)] if self.mode else []
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                key = field.name.replace("_", "-")
                said.append(shlex.quote(f"{key}={as_text(key, value)}"))
        return " ".join(said)


def as_text(key: str, value: object) -> str:
    """A value as it stands in a line: lists with commas, rules as ``KIND:VALUE``, filters as JSON.

    Raises:
        QueryError: Nothing of the kind can stand there.
    """
    if key == "filter" and not isinstance(value, str):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(value, Mapping):
        return ",".join(f"{kind}:{one}" for kind, one in value.items())
    if isinstance(value, list | tuple):
        return ",".join(str(one).removesuffix(".0") for one in value)
    if value is None or isinstance(value, bool):
        raise QueryError(f"{key}: {value} is no value")
    return str(value)


def _attribute(key: str) -> str:
    return key.replace("-", "_")


def _filter(text: str) -> Json:
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise QueryError(f"the filter is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise QueryError('the filter is one query object, for example {"term": {"metadata.kind": "class"}}')
    return found


def _weights(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


_READERS: dict[str, Callable[[str], Any]] = {
    "mode": Mode.parse,
    "template": str,
    "index": str,
    "bundle": str,
    "dense-bundle": str,
    "query-side": str,
    "query-prune": QueryPruning.parse,
    "seismic": SeismicSearch.parse,
    "filter": _filter,
    "boost": str,
    "weights": _weights,
    "feedback": Feedback.parse,
    "two-step": QueryPruning.parse,
    "rescore": str,
    "window": int,
    "passages": DocumentScore.parse,
    "tuned-on": str,
}
"""Key to what reads its text, in the order of ``SystemSpec``."""
