"""Quality gate: passages of low quality get no vector, so that they are neither encoded nor stored as one.

Leaving out the quarter of the passages that a quality model likes least costs no effectiveness (Chang et al., "Neural
Passage Quality Estimation for Static Pruning", SIGIR 2024). The scorer is a plug-in; the built-in one needs no model.
The text of a passage that does not pass stays in the index, and BM25 finds it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.plug_ins import plug_in

Scorer = Callable[[str], float]
"""A passage's text to its quality; more is better."""
SAMPLE = 2_000
"""Documents whose passages a quantile is taken of."""
_WORD = re.compile(r"\w+")
_WORDS = 8


def density(text: str) -> float:
    """Quality in [0, 1] without a model: share of letters, times share of distinct words, times length.

    Tables, rulers and markup lack letters, boilerplate and lists repeat words, and a heading alone is short: half of
    the length term is reached with eight words. In the spirit of the surface features of web quality classifiers.
    """
    words = _WORD.findall(text.lower())
    visible = len(text) - text.count(" ")
    if not words or not visible:
        return 0.0
    letters = sum(map(str.isalpha, text)) / visible
    # Long texts repeat words lawfully (Heaps' law): the first hundred are compared.
    first = words[:100]
    return letters * len(set(first)) / len(first) * len(words) / (len(words) + _WORDS)


@dataclass(frozen=True)
class QualityGate:
    """A scorer and the least score that passes.

    Attributes:
        name: ``density``, or ``module:function`` of a plug-in.
        scorer: What it stands for.
        threshold: Passages that score less get no vector; ``None`` until it is taken from a quantile.
        quantile: The share of passages that shall not pass, if the threshold is to be taken from it.
    """

    name: str
    scorer: Scorer
    threshold: float | None = None
    quantile: float | None = None

    @classmethod
    def parse(cls, text: str) -> QualityGate:
        """Reads ``density@0.2``, ``density@p25`` (the lowest quarter) and ``package.module:function@p25``.

        Raises:
            OspladeError: It is none of these, or there is no such function.
        """
        name, _, least = text.rpartition("@")
        try:
            value = float(least.removeprefix("p"))
        except ValueError:
            name = ""
        if not name or (least.startswith("p") and not 0 < value < 100):
            raise OspladeError(
                f"--gate {text}: write SCORER@LEAST, with a score or p25 for the lowest quarter as LEAST and density "
                "or module:function as SCORER; e.g. density@p25."
            )
        if least.startswith("p"):
            return cls(name, _scorer(name), quantile=value / 100)
        return cls(name, _scorer(name), threshold=value)

    def __str__(self) -> str:
        least = f"p{self.quantile * 100:g}" if self.quantile is not None and self.threshold is None else None
        return f"{self.name}@{least or f'{self.threshold:.6g}'}"

    def settled(self, passages: Iterable[str]) -> QualityGate:
        """The gate with its threshold, taken of a sample where a quantile was given.

        Raises:
            OspladeError: The sample is empty, or the plug-in gives what is no number.
        """
        if self.threshold is not None or self.quantile is None:
            return self
        scores = [self.score(text) for text in passages]
        if not scores:
            raise OspladeError(f"--gate {self}: there is no passage to take the quantile of.")
        # As the name says it, so that another run reads the very same threshold from the index.
        threshold = float(f"{np.quantile(scores, self.quantile):.6g}")
        return QualityGate(self.name, self.scorer, threshold, self.quantile)

    def score(self, text: str) -> float:
        """A passage's quality.

        Raises:
            OspladeError: The plug-in fails, or gives what is no number.
        """
        try:
            score = float(self.scorer(text))
        except Exception as error:
            raise OspladeError(f"The scorer {self.name} failed at {text[:60]!r}: {error!r}.") from error
        if math.isnan(score):
            raise OspladeError(f"The scorer {self.name} gave NaN for {text[:60]!r}.")
        return score

    def passes(self, text: str) -> bool:
        """Whether a passage gets a vector."""
        return self.threshold is None or self.score(text) >= self.threshold


def _scorer(name: str) -> Scorer:
    return density if name == "density" else plug_in(name, "--gate")
