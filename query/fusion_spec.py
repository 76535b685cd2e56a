"""How several rankings become one: what makes their scores comparable, and what makes one score of several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from opensearch_splade.errors import QueryError
from opensearch_splade.query.requirements import LOWER_BOUNDS, RRF, RRF_WEIGHTS, UPPER_BOUNDS, Z_SCORE

if TYPE_CHECKING:
    from opensearch_splade.types import Combination, Json, Requirement

Normaliser = Literal["min_max", "l2", "z_score", "rrf", "raw"]
"""``raw`` leaves scores as they are: a linear combination, which is no processor of the server but a ``bool``."""

FusionMethod = Literal[
    "min_max",
    "rrf",
    "l2",
    "z_score",
    "min_max/geometric",
    "min_max/harmonic",
    "l2/geometric",
    "l2/harmonic",
    "linear",
]
"""``min_max``: scores of each leg scaled to [0, 1], then the weighted mean. ``rrf``: reciprocal rank fusion
(Cormack et al., SIGIR 2009), sum of 1 / (60 + rank). ``l2``: scores divided by the length of the leg's scores.
``z_score``: their distance from the mean in standard deviations, what is below it .001. ``/geometric`` and
``/harmonic``: means over the legs that found a document, so that one missing leg costs nothing. ``linear``: weighted
sum of the scores as they are."""

FUSION_METHODS: tuple[FusionMethod, ...] = get_args(FusionMethod)
RANK_CONSTANT = 60
MAX_BOUND = 10_000.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What min-max takes for a leg's least (or largest) score instead of what its candidates have.

    Attributes:
        score: In [-10,000, 10,000].
        mode: ``apply`` scales scores above (of an upper bound: below) it from there, the others as without a bound.
            ``clip`` also gives all beyond it .001 (of an upper bound 1). ``ignore``: as if there were none.

    Raises:
        QueryError: The score is out of range or the mode unknown.
    """

    score: float
    mode: Literal["apply", "clip", "ignore"] = "apply"

    def __post_init__(self) -> None:
        if self.mode not in {"apply", "clip", "ignore"}:
            raise QueryError(f"unknown mode {self.mode!r} of a bound: choose apply, clip or ignore")
        if not abs(self.score) <= MAX_BOUND:
            raise QueryError(f"a bound is {self.score}: the server takes -{MAX_BOUND:,.0f} to {MAX_BOUND:,.0f}")


@dataclass(frozen=True, slots=True)
class Fusion:
    """How legs' scores become one.

    Attributes:
        normaliser: What makes legs comparable.
        combination: What makes one of several; ``rrf`` and ``raw`` are sums, named arithmetic.
        weights: One for each leg, not negative; 0 leaves a leg out. Empty: all alike.
        rank_constant: Of ``rrf``, in [1, 10,000]: the larger, the less the first ranks stand out.
        lower_bounds: Of ``min_max``, one for each leg; ``None`` for a leg without. Empty: none.
        upper_bounds: The same for the largest score.

    Raises:
        QueryError: The server has no such pair, or a number is out of bounds.
    """

    normaliser: Normaliser = "min_max"
    combination: Combination = "arithmetic_mean"
    weights: tuple[float, ...] = ()
    rank_constant: int = RANK_CONSTANT
    lower_bounds: tuple[Bound | None, ...] = ()
    upper_bounds: tuple[Bound | None, ...] = ()

    def __post_init__(self) -> None:
        if self.normaliser in {"rrf", "raw", "z_score"} and self.combination != "arithmetic_mean":
            raise QueryError(f"{self.normaliser} goes with arithmetic_mean, not with {self.combination}")
        if not all(math.isfinite(one) and one >= 0 for one in self.weights):
            raise QueryError(f"fusion weights {self.weights}: they are finite, none negative, and one is above 0")
        if self.weights and not any(self.weights):
            raise QueryError(f"fusion weights {self.weights}: they are finite, none negative, and one is above 0")
        if not 1 <= self.rank_constant <= 10_000:
            raise QueryError(f"a rank constant is {self.rank_constant}: the server takes 1 to 10,000")
        if (self.lower_bounds or self.upper_bounds) and self.normaliser != "min_max":
            raise QueryError(f"bounds go with min_max, not with {self.normaliser}")

    @classmethod
    def parse(cls, method: str) -> Fusion:
        """Read a ``FusionMethod``.

        Raises:
            QueryError: It is unknown; names the known ones.
        """
        if method not in FUSION_METHODS:
            raise QueryError(f"unknown fusion {method!r}: choose one of {', '.join(FUSION_METHODS)}")
        if method == "linear":
            return cls("raw")
        normaliser, _, mean = method.partition("/")
        return cls(_NORMALISERS[normaliser], _COMBINATIONS[mean])

    @property
    def method(self) -> str:
        """As the text of a mode has it."""
        if self.normaliser == "raw":
            return "linear"
        mean = self.combination.removesuffix("_mean")
        return self.normaliser if mean == "arithmetic" else f"{self.normaliser}/{mean}"

    @property
    def requirements(self) -> list[Requirement]:
        """What the server must have beyond a hybrid; nothing for ``raw``, which is no hybrid."""
        needed = [
            (self.normaliser == "rrf", RRF),
            (self.normaliser == "rrf" and bool(self.weights), RRF_WEIGHTS),
            (self.normaliser == "z_score", Z_SCORE),
            (bool(self.lower_bounds), LOWER_BOUNDS),
            (bool(self.upper_bounds), UPPER_BOUNDS),
        ]
        return [requirement for is_needed, requirement in needed if is_needed]

    def check_legs(self, legs: int) -> None:
        """Weights and bounds are one for each leg.

        Raises:
            QueryError: They are more or fewer.
        """
        for what, values in (("weights", self.weights), ("bounds", self.lower_bounds), ("bounds", self.upper_bounds)):
            if values and len(values) != legs:
                raise QueryError(f"{len(values)} {what} for {legs} queries: a hybrid needs one each")

    def shares(self, legs: int) -> list[float]:
        """The weights with the sum 1 that the server asks for."""
        weights = self.weights or (1.0,) * legs
        total = math.fsum(weights)
        return [weight / total for weight in weights]

    def pipeline(self, legs: int = 0) -> Json:
        """The search pipeline that fuses so, for the legs whose weight is not 0.

        Args:
            legs: How many there are, where weights do not say it.

        Raises:
            QueryError: ``raw`` has none: boosts in one ``bool`` do that.
        """
        if self.normaliser == "raw":
            raise QueryError("a linear combination of raw scores is no pipeline; `linear` makes one bool query of it")
        kept = [leg for leg, share in enumerate(self.shares(legs)) if share]
        weights: Json = {"weights": [self.shares(legs)[leg] for leg in kept]}
        if self.normaliser == "rrf":
            one: Json = {"technique": "rrf", "rank_constant": self.rank_constant}
            if self.weights:
                one["parameters"] = weights
            return {"phase_results_processors": [{"score-ranker-processor": {"combination": one}}]}
        normalisation: Json = {"technique": self.normaliser}
        if parameters := self._bounds(kept):
            normalisation["parameters"] = parameters
        parts = {
            "normalization": normalisation,
            "combination": {"technique": self.combination, "parameters": weights},
        }
        return {"phase_results_processors": [{"normalization-processor": parts}]}

    def _bounds(self, kept: list[int]) -> Json:
        found: Json = {}
        for name, score, bounds in (
            ("lower_bounds", "min_score", self.lower_bounds),
            ("upper_bounds", "max_score", self.upper_bounds),
        ):
            chosen = [bounds[leg] for leg in kept] if bounds else []
            if chosen:
                found[name] = [{"mode": one.mode, score: one.score} if one else {"mode": "ignore"} for one in chosen]
        return found


_NORMALISERS: dict[str, Normaliser] = {"min_max": "min_max", "l2": "l2", "z_score": "z_score", "rrf": "rrf"}
_COMBINATIONS: dict[str, Combination] = {
    "": "arithmetic_mean",
    "geometric": "geometric_mean",
    "harmonic": "harmonic_mean",
}
