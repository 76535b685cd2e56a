"""BMP: Block-Max Pruning reads CIFF. A weight is one byte there (larger ones would wrap around), a term number two.

A score is two bytes: a question of many heavy terms can wrap around. And bmp 0.2.8 never scores the last block of its
candidates, the one with the lowest bound: small indices and questions of one term may miss hits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.exchange import Counts, Vector, counts, new_file, repeated, without_space
from opensearch_splade.evaluation.exchange_ciff import write_ciff
from opensearch_splade.types import Features

MOST = 255
QUERY_MOST = 32
TERMS = 65_536


def write_bmp(vectors: Iterable[Vector], path: Path, scale: float | None = None) -> int:
    """CIFF for ``ciff2bmp`` and says how many vectors there were; unless told, the largest weight becomes 255.

    Raises:
        SourceError: As ``write_ciff``, or there are more terms than BMP can number.
    """
    return write_ciff(_numbered(vectors), path, scale, MOST)


def _numbered(vectors: Iterable[Vector]) -> Iterator[Vector]:
    seen = set[str]()
    for id_, features in vectors:
        seen.update(features)
        if len(seen) > TERMS:
            raise SourceError(f"BMP numbers terms by two bytes, and here are more than {TERMS:,}. Export ciff instead.")
        yield id_, features


def write_bmp_queries(questions: Iterable[Vector], path: Path) -> int:
    """Questions as ``id: tokens``, each token as often as it weighs, the heaviest 32 times as BMP would make it.

    Empty questions are left out, which BMP cannot read.

    Raises:
        SourceError: The file exists or cannot be written, or an id holds white space or a colon.
    """
    count = 0
    with new_file(path) as file:
        for id_, features in questions:
            if ":" in id_:
                raise SourceError(f"BMP ends a question's id at the first colon, and {id_!r} holds one. Rename it.")
            if whole := query_counts(features):
                file.write(f"{without_space(id_)}: {repeated(whole)}\n".encode())
                count += 1
    return count


def query_counts(features: Features) -> Counts:
    """A question's weights as BMP takes them: whole, the largest 32."""
    largest = max(features.values(), default=0)
    return counts(features, QUERY_MOST / largest) if largest > 0 else {}
