"""The values that travel between the rooms. Plain data: no I/O, no heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from opensearch_splade.errors import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

Features = dict[str, float]
"""One sparse vector by name: feature to positive weight. What a ``rank_features`` field holds."""

DOT = "<dot>"
"""What a "." in a token is written as. A ``rank_feature`` query takes the part of its field *after the last dot* as the
feature, so a token that holds one matches nothing; and ingest processors since 2.19 refuse such keys. BERT's vocabulary
has three: ``.``, ``...`` and ``##.``."""

Json = dict[str, Any]
"""A JSON object as the OpenSearch client takes and returns it."""


Combination = Literal["arithmetic_mean", "geometric_mean", "harmonic_mean"]
"""What makes one score of those of several rankings."""


def feature_name(token: str) -> str:
    """What a token or another name is called as a feature."""
    return token.replace(".", DOT)


def passage_id(document_id: str, number: int) -> str:
    """The ``_id`` of a passage that is a document of the index."""
    return f"{document_id}#{number}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a source yields and the index holds.

    Attributes:
        id: The deterministic ``_id`` in the index.
        text: The body. May be empty where there is a title.
        title: Indexed with the text where present.
        metadata: Pass-through fields, stored under ``metadata``; of a document that is kept as it is, all its fields.
        routing: What decides its shard, where that is not its id.
        version: Sequence number and primary term that the index must still have it with when it is written; ``None``
            writes over whatever is there.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    routing: str = ""
    version: tuple[int, int] | None = None

    @property
    def passage(self) -> str:
        """The text that one vector stands for: title and body, as BEIR joins them."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class SparseVectors:
    """A batch of sparse vectors in compressed-sparse-row form.

    Row ``i`` is ``token_ids[indptr[i]:indptr[i + 1]]`` with the weights at the same places; token ids ascend
    within a row.

    Attributes:
        indptr: Shape ``(rows + 1,)``, int64.
        token_ids: Shape ``(nonzeros,)``, int32: places in the vocabulary.
        weights: Shape ``(nonzeros,)``, float32: positive and finite.
    """

    indptr: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Token ids and weights of one row (views, not copies)."""
        span = slice(int(self.indptr[index]), int(self.indptr[index + 1]))
        return self.token_ids[span], self.weights[span]

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]:
        return (self.row(index) for index in range(len(self)))


@runtime_checkable
class QueryEncoder(Protocol):
    """Turns a question into query weights. ``query`` is given one; it never loads a model itself."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the document vectors that these query weights may be matched with."""
        ...

    def encode_query(self, text: str) -> Features:
        """Feature to weight, strongest first."""
        ...


@runtime_checkable
class KnowsTokenIds(Protocol):
    """A query encoder whose features have numbers: what a ``sparse_vector`` field needs, since its keys are numbers."""

    @property
    def token_ids(self) -> Mapping[str, int]:
        """Feature to token id, the same as in the documents of its fingerprint."""
        ...


@runtime_checkable
class DenseQueryEncoder(Protocol):
    """Turns a question into one dense vector."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the document vectors that this vector may be matched with."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """A vector of the bundle's dimension."""
        ...


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a construct asks of the server. The tables of them stand where the constructs are built.

    Attributes:
        what: The construct as an error names it, e.g. ``hybrid by RRF``.
        since: The first version that has it, ``(major, minor)``.
        plugin: The plugin or module it lives in; empty for the core.
    """

    what: str
    since: tuple[int, int]
    plugin: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the connected server can do. Asked once (``plugin.capabilities``), given to every builder.

    Attributes:
        version: ``(major, minor, patch)``.
        plugins: Names of installed plugins and modules, e.g. ``opensearch-knn``, ``opensearch-neural-search``.
        max_clause_count: ``indices.query.bool.max_clause_count`` in force.
    """

    version: tuple[int, int, int]
    plugins: frozenset[str] = frozenset()
    max_clause_count: int = 1024

    @property
    def version_text(self) -> str:
        """The version as the server prints it."""
        return ".".join(map(str, self.version))

    def supports(self, requirement: Requirement) -> bool:
        """Whether this server is new enough and has the plugin."""
        return self.version[:2] >= requirement.since and (not requirement.plugin or requirement.plugin in self.plugins)

    def require(self, requirement: Requirement) -> None:
        """Refuse what this server cannot do.

        Raises:
            CapabilityError: The server is too old or lacks the plugin.
        """
        if self.supports(requirement):
            return
        major, minor = requirement.since
        if self.version[:2] < requirement.since:
            raise CapabilityError(
                f"{requirement.what} needs OpenSearch {major}.{minor} or later; this server is {self.version_text}"
            )
        raise CapabilityError(
            f"{requirement.what} needs the plugin {requirement.plugin}; "
            f"this server ({self.version_text}) does not have it on every node"
        )


@dataclass(frozen=True, slots=True)
class Contribution:
    """One feature's share of a hit's score: ``query_weight * stored_weight``.

    Attributes:
        feature: Its name.
        query_weight: As sent.
        stored_weight: Of the document, as the index keeps it.
        added: Whether feedback brought it: the question itself did not have it.
    """

    feature: str
    query_weight: float
    stored_weight: float
    added: bool = False

    @property
    def score(self) -> float:
        """The product."""
        return self.query_weight * self.stored_weight


@dataclass(frozen=True, slots=True)
class LegScore:
    """What one ranking gave to a hit.

    Attributes:
        leg: ``bm25``, ``weighted-terms``, ``neural-sparse`` or ``knn``.
        score: In that ranking, by the server.
        normalised: What the fusion made of it: a number in [0, 1], or 1 / (60 + rank) of RRF, or a z-score. Of a
            ranking asked alone, and of a linear combination, the score.
        weight: Of the ranking in the fusion.
        why: The parts of ``score``, strongest first; kNN has none.
    """

    leg: str
    score: float
    normalised: float
    weight: float
    why: Sequence[Contribution] = ()

    @property
    def contribution(self) -> float:
        """The product: a summand of the hit's score, where that is an arithmetic mean."""
        return self.weight * self.normalised


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: The document's ``_id``.
        score: The server's ``_score``.
        title: The document's title, may be empty.
        text: The document's text.
        metadata: Pass-through fields.
        why: What each feature gave, strongest first; empty unless the search was asked to explain.
        passage: Which part of the text that is of, where a document has passages within it.
        legs: What each ranking gave; empty unless the search was asked to explain.
        combination: What made one score of the legs: the sum of contributions (``arithmetic_mean``), or with weights w
            and normalised scores s of the legs that found it ``exp(sum(w ln s) / sum(w))`` (``geometric_mean``) or
            ``sum(w) / sum(w / s)`` (``harmonic_mean``).
        boosts: What each boost added to that; those that the hit does not match are left out.
    """

    id: str
    score: float
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    why: Sequence[Contribution] = ()
    passage: str = ""
    legs: Sequence[LegScore] = ()
    combination: Combination = "arithmetic_mean"
    boosts: Sequence[Contribution] = ()
