"""Vectors that documents have already, copied as they are: no model runs, and scores stay what they were.

Tokens and token ids are the two languages of sparse vectors: ``rank_features`` fields speak the one, ``sparse_vector``
fields the other. ELSER writes the dots of tokens as ``__``, since Elasticsearch takes a dot for a path
(TextExpansionProcessor, ``buildSanitizedVocabMap``); here they are written as ``types.DOT``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opensearch_splade.errors import DocumentError
from opensearch_splade.ingest.document_encoder import DocumentEncoder, Piece, Tokenised
from opensearch_splade.ingest.documents import value_at
from opensearch_splade.ingest.passages import Passage
from opensearch_splade.onnx_models.sparse_rows import EMPTY, SparseRow
from opensearch_splade.types import Document, Features, Json, feature_name

ELSER_DOT = "__"


@dataclass(frozen=True, slots=True)
class WithVector(Document):
    """A document and the sparse vector that it came with.

    Attributes:
        vector: As its source has it: token, or token id, to weight.
    """

    vector: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Language:
    """What keys of the old and the new field are called.

    Attributes:
        token_ids: Feature to token id, of the bundle that asks; empty where a vector comes from a model of others.
        from_ids: Whether the old field is a ``sparse_vector``; only so is a key "2" told from the token "2".
        to_ids: Whether the new field is one.
    """

    token_ids: Mapping[str, int]
    from_ids: bool = False
    to_ids: bool = False
    _names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", {str(token_id): name for name, token_id in self.token_ids.items()})

    def features(self, vector: Any) -> Features:
        """The features of the new field.

        Raises:
            DocumentError: It is no sparse vector, or a key is no token of the bundle and token ids are wanted.
        """
        if not isinstance(vector, dict):
            raise DocumentError(f"The sparse vector is {type(vector).__name__}, not an object of tokens and weights.")
        found: Features = {}
        for key, weight in vector.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise DocumentError(
                    f"The sparse vector has the weight {weight!r} for {key!r}; it is above 0 and finite."
                )
            if weight > 0:
                found[self._called(key)] = float(weight)
        return found

    def _called(self, key: str) -> str:
        name = self._name(key)
        if not self.to_ids:
            return name
        if name not in self.token_ids:
            raise DocumentError(f"The sparse vector has {key!r}, which is no token of the bundle: it has no token id.")
        return str(self.token_ids[name])

    def _name(self, key: str) -> str:
        if self.from_ids:
            if key not in self._names:
                raise DocumentError(f"The sparse vector has the token id {key!r}, which the bundle does not know.")
            return self._names[key]
        name = feature_name(key)
        if not self.token_ids or name in self.token_ids:
            return name
        elser = feature_name(key.replace(ELSER_DOT, "."))
        return elser if elser in self.token_ids else name


def vector_at(source: Json, path: str) -> Json:
    """The sparse vector of a document; empty where it has none."""
    found = value_at(source, path)
    return found if isinstance(found, dict) else {} if found is None else {"": found}


@dataclass(frozen=True)
class VectorCopier(DocumentEncoder):
    """In the place of an encoder: documents bring their vectors along.

    Attributes:
        language: What features are called.
    """

    language: Language = field(default_factory=lambda: Language({}))

    def load(self) -> None:
        """There is no model to load, but perhaps a dense one."""
        if self.dense:
            self.dense.encode(["a"])

    def tokenise(self, documents: Sequence[Document]) -> list[Tokenised]:
        """Nothing is read of a text."""
        return [Tokenised([Passage(0, len(document.text))], [[]]) for document in documents]

    def sparse_rows(self, pieces: Iterable[Piece | None]) -> Iterator[list[SparseRow]]:
        """Nothing beside what documents bring along."""
        return ([EMPTY] for piece in pieces if piece is not None)

    def added_to(self, document: Document) -> tuple[Features, Features]:
        """The vector of a document.

        Raises:
            DocumentError: It is none.
        """
        vector = document.vector if isinstance(document, WithVector) else {}
        return self.language.features(vector), {}
