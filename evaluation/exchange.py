"""Exchange: sparse vectors as other engines name and weigh them. Each format has a file of its own (``exchange_*``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from opensearch_splade.errors import SourceError
from opensearch_splade.types import DOT, Features, Json, passage_id

SCALE = 100.0
"""Whole weights are ``round(SCALE * weight)``, as is usual for SPLADE in Anserini."""
FIELDS = ("sparse", "passages.sparse")
"""What is read of each document."""

Vector = tuple[str, Features]
"""The id of a document, passage or question, and its features as ``named`` gives them."""
Counts = dict[str, int]


def vectors_of(hit: Json, names: Mapping[str, str]) -> Iterator[Vector]:
    """Each vector of a document: one, or one for each passage that lies within it.

    Args:
        hit: ``_id`` and ``_source``.
        names: What a key of the sparse field is called, where it is not the feature itself.
    """
    source = hit["_source"]
    if "passages" in source:
        for number, passage in enumerate(source["passages"]):
            yield passage_id(hit["_id"], number), named(passage.get("sparse") or {}, names)
    else:
        yield hit["_id"], named(source.get("sparse") or {}, names)


def named(features: Mapping[str, float], names: Mapping[str, str]) -> Features:
    """Tokens have their dots again; white space, at which most engines cut, becomes an open box.

    Raises:
        SourceError: Two features of one vector would get one name.
    """
    plain = {_plain(names.get(key, key)): weight for key, weight in features.items()}
    if len(plain) < len(features):
        raise SourceError("Two features differ by white space alone, which other engines cannot tell apart.")
    return plain


def _plain(name: str) -> str:
    return "".join("␣" if c.isspace() else c for c in name.replace(DOT, "."))


def counts(features: Features, scale: float = SCALE, most: int = 2**31 - 1) -> Counts:
    """Whole weights: ``round(scale * weight)``, cut at ``most``; what rounds to nothing is left out."""
    return {name: min(most, count) for name, weight in features.items() if (count := round(scale * weight)) > 0}


def repeated(whole: Counts) -> str:
    """A question as text, in which each token stands as often as it weighs."""
    return " ".join(name for name, count in whole.items() for _ in range(count))


def write_topics(questions: Iterable[Vector], path: Path, scale: float = SCALE) -> int:
    """Questions as ``id TAB tokens``, each token as often as it weighs: Anserini's topics and BMP's queries.

    Raises:
        SourceError: As ``new_file``, or an id holds white space.
    """
    count = 0
    with new_file(path) as file:
        for id_, features in questions:
            file.write(f"{without_space(id_)}\t{repeated(counts(features, scale))}\n".encode())
            count += 1
    return count


def without_space(id_: str) -> str:
    """The id, which runs in TREC format must be able to hold.

    Raises:
        SourceError: It holds white space.
    """
    if not id_ or any(c.isspace() for c in id_):
        raise SourceError(f"The id {id_!r} is empty or holds white space, which this format cannot. Give another id.")
    return id_


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which is never one that exists; what fails midway is removed.

    Raises:
        SourceError: The file exists or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            try:
                yield file
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}. Name another folder, or make room.") from error
