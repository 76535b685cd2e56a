"""Added features: what a document has beside its text, searched together with it.

* Features of the sparse field beside the vocabulary: entities, keywords, categories, named ``KIND=VALUE``. A name that
  is a token of the vocabulary all the same is refused.
* Static features, such as popularity, in ``rank_feature`` fields of their own (``static.NAME``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opensearch_splade.errors import DocumentError, OspladeError
from opensearch_splade.index_meta import AddedMeta
from opensearch_splade.ingest.codec import storable
from opensearch_splade.ingest.plug_ins import plug_in
from opensearch_splade.types import Document, Features, feature_name

MOST_BYTES = 1_000
"""Of a feature's name; Lucene takes 32,766 of a term, and nobody asks for such."""


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """A field of the metadata, or a plug-in, that gives features.

    Attributes:
        name: The field, or ``module:function``.
        weight: What each value weighs; a field that maps names to numbers has its numbers multiplied.
        extract: The plug-in: document to feature to weight.
    """

    name: str
    weight: float = 1.0
    extract: Callable[[Document], Mapping[str, float]] | None = None

    @classmethod
    def parse(cls, text: str) -> FeatureSource:
        """Reads ``FIELD``, ``FIELD*WEIGHT`` and ``module:function``.

        Raises:
            OspladeError: The weight is none, or there is no such function.
        """
        name, star, factor = text.rpartition("*")
        if not star:
            name, factor = text, "1"
        try:
            weight = float(factor)
        except ValueError:
            weight = 0.0
        if not (name and 0 < weight < math.inf):
            raise OspladeError(
                f"--feature-field {text}: write FIELD, FIELD*WEIGHT with a weight > 0, or module:function."
            )
        return cls(name, weight, plug_in(name, "--feature-field") if ":" in name else None)

    def __str__(self) -> str:
        return self.name if self.weight == 1 else f"{self.name}*{self.weight:g}"

    def of(self, document: Document) -> Features:
        """Feature to weight.

        Raises:
            DocumentError: The field holds what cannot be features, or the plug-in fails.
        """
        if self.extract is None:
            return dict(self._values(document.metadata.get(self.name)))
        try:
            found = dict(self.extract(document))
        except Exception as error:
            raise DocumentError(f"The plug-in {self.name} failed: {type(error).__name__}: {error}") from error
        return {self._named(name): self._weighed(name, weight) for name, weight in found.items()}

    def _values(self, value: Any) -> Iterator[tuple[str, float]]:
        if value is None:
            return
        if isinstance(value, Mapping):
            for name, weight in value.items():
                yield self._named(f"{self.name}={name}"), self._weighed(name, weight)
            return
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping | list) or one is None:
                raise DocumentError(
                    f"'{self.name}' cannot be features: they are strings, numbers, or names with weights."
                )
            if str(one):
                yield self._named(f"{self.name}={one}"), self.weight

    def _weighed(self, name: Any, weight: Any) -> float:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not storable(weight * self.weight):
            raise DocumentError(
                f"The feature {str(name)[:60]!r} of '{self.name}' weighs {weight!r}: it must be a number > 0."
            )
        return weight * self.weight

    def _named(self, name: Any) -> str:
        if not isinstance(name, str) or "=" not in name:
            raise DocumentError(
                f"The plug-in {self.name} names a feature {str(name)[:60]!r}: write KIND=VALUE, so that it is no token."
            )
        if len(name.encode(errors="replace")) > MOST_BYTES:
            raise DocumentError(
                f"The feature {name[:60]!r} of '{self.name}' has a name of more than {MOST_BYTES:,} bytes."
            )
        return feature_name(name)


@dataclass(frozen=True, slots=True)
class AddedFeatures:
    """All that is added to a document's learned features.

    Attributes:
        sources: Of features in the sparse field.
        static: Fields of the metadata that are static features.
    """

    sources: Sequence[FeatureSource] = ()
    static: Sequence[str] = ()

    @property
    def meta(self) -> AddedMeta | None:
        """What the index says of it; nothing where nothing is added."""
        if not (self.sources or self.static):
            return None
        return AddedMeta(tuple(map(str, self.sources)), tuple(self.static))

    def features(self, document: Document) -> Features:
        """Those of the sparse field; of a name that comes twice the larger weight counts.

        Raises:
            DocumentError: As ``FeatureSource.of``.
        """
        together: Features = {}
        for source in self.sources:
            for name, weight in source.of(document).items():
                together[name] = max(weight, together.get(name, 0.0))
        return together

    def static_features(self, document: Document) -> Features:
        """Those that have a field of their own.

        Raises:
            DocumentError: A field holds what is no number > 0, which is all that a ``rank_feature`` takes.
        """
        found: Features = {}
        for name in self.static:
            value = document.metadata.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not storable(value):
                raise DocumentError(
                    f"The static feature '{name}' is {value!r}: it must be a number > 0; leave it out for none."
                )
            found[name] = value
        return found
