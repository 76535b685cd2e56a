"""Term budget: pruning learned over a corpus, by what a feature is worth among all documents.

A rule for each document alone (``pruning.py``) keeps a common feature's weak postings as readily as a rare one's. Here
two budgets hold for the corpus, both by thresholds that are taken of a sample (term-centric and global static index
pruning: Carmel et al., SIGIR 2001; for learned sparse vectors: Lassance et al., SIGIR 2023):

* per document: one threshold for all, such that documents keep so many features *on average*; a rich document may keep
  more than a poor one;
* per term: a threshold for each feature whose list of postings would otherwise be longer than the budget.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.pruning import Pruning, keep_strongest
from opensearch_splade.types import SparseVectors

TABLE = "table:"
"""``--prune table:FILE``."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be kept of a corpus.

    Attributes:
        per_document: Features that a document keeps on average.
        per_term: Share of the documents that a feature may stand in; 0 for no limit.

    Raises:
        OspladeError: A number is out of bounds.
    """

    per_document: float
    per_term: float = 0.0

    def __post_init__(self) -> None:
        if not (self.per_document > 0 and 0 <= self.per_term < 1):
            raise OspladeError(f"{self}: a budget is a number of features > 0 and a share between 0 and 1.")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Reads ``budget:96`` and ``budget:96:0.05``.

        Raises:
            OspladeError: It is neither.
        """
        kind, *numbers = text.split(":")
        try:
            if kind == "budget" and 1 <= len(numbers) <= 2:
                return cls(*map(float, numbers))
        except ValueError:
            pass
        raise OspladeError(
            f"{text}: write budget:FEATURES or budget:FEATURES:SHARE, e.g. budget:96:0.05 for 96 features a document "
            "on average and none in more than 5 % of the documents."
        )

    def __str__(self) -> str:
        return f"budget:{self.per_document:g}" + (f":{self.per_term:g}" if self.per_term else "")

    def learn(self, sample: SparseVectors, vocabulary: int) -> TermBudget:
        """Takes the thresholds of a sample.

        Args:
            sample: Vectors of documents that stand for the corpus.
            vocabulary: Its size.

        Raises:
            OspladeError: The sample has no features.
        """
        if not len(sample.weights):
            raise OspladeError("There is no feature in the sample that a budget could be taken of.")
        of_term = np.zeros(vocabulary, np.float32)
        kept = sample.weights
        if self.per_term:
            of_term = _term_thresholds(kept, sample.token_ids, vocabulary, self.per_term * len(sample))
            kept = kept[kept >= of_term[sample.token_ids]]
        count = round(self.per_document * len(sample))
        threshold = float(np.partition(kept, -count)[-count]) if 0 < count < len(kept) else 0.0
        return TermBudget(threshold, of_term, _name(threshold, of_term))

    def apply(self, vectors: SparseVectors) -> SparseVectors:
        """The rows of a whole corpus, pruned by what is learned of them."""
        if not len(vectors.weights):
            return vectors
        return self.learn(vectors, int(vectors.token_ids.max()) + 1).apply(vectors)


@dataclass(frozen=True)
class TermBudget:
    """Thresholds to prune by.

    Attributes:
        threshold: Of every weight.
        of_term: Shape ``(vocabulary,)``: of the weights of each feature, zero where there is none.
        name: What the index says of it: a hash of the thresholds.
    """

    threshold: float
    of_term: npt.NDArray[np.float32]
    name: str

    @classmethod
    def load(cls, path: Path) -> TermBudget:
        """Reads what ``save`` wrote.

        Raises:
            OspladeError: The file is none of ours or damaged.
        """
        try:
            content: dict[str, Any] = orjson.loads(path.read_bytes())
            of_term = np.zeros(content["vocabulary"], np.float32)
            of_term[np.array(content["token_ids"], np.int64)] = content["thresholds"]
            found = cls(float(content["threshold"]), of_term, str(content["name"]))
        except OSError as error:
            raise OspladeError(f"--prune {TABLE}{path}: it cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise OspladeError(
                f"{path} is no table of budgets ({error}): make one with osplade prune-table."
            ) from error
        if _name(found.threshold, found.of_term) != found.name:
            raise OspladeError(f"{path} was changed after it was made: make it anew with osplade prune-table.")
        return found

    def save(self, path: Path) -> None:
        """Writes a JSON file."""
        (token_ids,) = np.nonzero(self.of_term)
        content = {
            "name": self.name,
            "threshold": self.threshold,
            "vocabulary": len(self.of_term),
            "token_ids": token_ids.tolist(),
            "thresholds": [float(f"{value:.9g}") for value in self.of_term[token_ids].tolist()],
        }
        path.write_bytes(orjson.dumps(content))

    def __str__(self) -> str:
        return f"{TABLE}{self.name}"

    def apply(self, vectors: SparseVectors) -> SparseVectors:
        """The same rows with fewer features; the strongest of each always stays."""
        if vectors.token_ids.size and int(vectors.token_ids.max()) >= len(self.of_term):
            raise OspladeError(f"The table of budgets {self.name} is for another vocabulary than this bundle's.")
        weights = vectors.weights
        return keep_strongest(vectors, (weights >= self.threshold) & (weights >= self.of_term[vectors.token_ids]))


def _term_thresholds(
    weights: npt.NDArray[np.float32], token_ids: npt.NDArray[np.int32], vocabulary: int, room: float
) -> npt.NDArray[np.float32]:
    """The weight that the last posting within the budget has, for each term that has more."""
    order = np.lexsort((-weights, token_ids))
    counts = np.bincount(token_ids, minlength=vocabulary)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    kept = max(1, round(room))
    over = counts > kept
    thresholds = np.zeros(vocabulary, np.float32)
    thresholds[over] = weights[order][starts[over] + kept - 1]
    return thresholds


def _name(threshold: float, of_term: npt.NDArray[np.float32]) -> str:
    digest = hashlib.blake2b(np.float64(threshold).tobytes() + of_term.tobytes(), digest_size=6)
    return digest.hexdigest()


PruningRule = Pruning | TermBudget


def parse_rule(text: str) -> PruningRule:
    """Reads what ``--prune`` takes: ``max_ratio:0.1`` and the like, or ``table:FILE``.

    Raises:
        OspladeError: It is neither.
    """
    return TermBudget.load(Path(text.removeprefix(TABLE))) if text.startswith(TABLE) else Pruning.parse(text)
