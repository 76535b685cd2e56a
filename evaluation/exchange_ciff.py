"""CIFF: the Common Index File Format (Lin et al. 2020), an inverted index as protobuf messages, each after its length.

A header, then a list of postings for each term, then a record for each document. The few kinds of field that these have
are written here by hand: that spares a dependency that would serve nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import pack

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.exchange import SCALE, Vector, new_file, without_space

_WHOLE, _DOUBLE, _BYTES = 0, 1, 2  # protobuf's wire types
MOST = 2**31 - 1


def write_ciff(vectors: Iterable[Vector], path: Path, scale: float | None = SCALE, most: int = MOST) -> int:
    """Turns vectors into lists of postings and says how many vectors there were.

    Terms come in the order of their bytes, as readers that search among them expect. Postings are held in memory until
    all are known: 16 bytes each while reading, some 60 while sorting.

    Args:
        vectors: Id and features, in the order in which documents are numbered.
        path: The file, which must not exist.
        scale: Weights are ``round(scale * weight)``; none makes the largest one ``most``.
        most: Larger ones are cut.

    Raises:
        SourceError: The file exists or cannot be written, or an id holds white space.
    """
    ids, numbers = list[str](), dict[str, int]()
    terms, documents, weights = array("i"), array("i"), array("d")
    with new_file(path) as file:
        for id_, features in vectors:
            terms.extend(numbers.setdefault(name, len(numbers)) for name in features)
            documents.extend([len(ids)] * len(features))
            weights.extend(features.values())
            ids.append(without_space(id_))
        exact = np.asarray(weights)
        if scale is None:
            scale = most / exact.max(initial=1e-9)
        whole = np.minimum(np.rint(scale * exact), most).astype(np.int64)
        kept = whole > 0
        postings = _Postings(np.asarray(terms)[kept], np.asarray(documents)[kept], whole[kept])
        about = f"opensearch-splade; weights are round({scale:g} * weight), at most {most}"
        lengths = postings.lengths(len(ids))
        file.write(_delimited(_header(postings.used(), lengths, about)))
        for message in postings.lists(numbers):
            file.write(_delimited(message))
        for number, (id_, length) in enumerate(zip(ids, lengths, strict=True)):
            file.write(_delimited(_whole(1, number) + _text(2, id_) + _whole(3, min(MOST, length))))
    return len(ids)


@dataclass(frozen=True, eq=False)
class _Postings:
    """A place a posting: number of its term, number of its document, whole weight."""

    terms: npt.NDArray[np.int32]
    documents: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int64]

    def used(self) -> int:
        """How many terms have postings."""
        return len(np.unique(self.terms))

    def lengths(self, documents: int) -> list[int]:
        """The sum of each document's weights."""
        found: list[int] = np.bincount(self.documents, self.weights, documents).astype(np.int64).tolist()
        return found

    def lists(self, numbers: dict[str, int]) -> Iterator[bytes]:
        """The message of each term that has postings."""
        order = np.argsort(self.terms, kind="stable")  # documents stay in their order
        starts = np.searchsorted(self.terms[order], np.arange(len(numbers) + 1))
        for name in sorted(numbers, key=str.encode):
            part = order[starts[numbers[name]] : starts[numbers[name] + 1]]
            gaps, own = np.diff(self.documents[part], prepend=0).tolist(), self.weights[part].tolist()
            if own:
                head = _text(1, name) + _whole(2, len(own)) + _whole(3, sum(own))
                pairs = zip(gaps, own, strict=True)
                yield head + b"".join(_bytes(4, _whole(1, gap) + _whole(2, weight)) for gap, weight in pairs)


def _header(terms: int, lengths: list[int], about: str) -> bytes:
    documents, total = len(lengths), sum(lengths)
    whole = (1, terms, documents, terms, documents, total)
    fields = b"".join(_whole(number, value) for number, value in enumerate(whole, 1))
    return fields + _key(7, _DOUBLE) + pack("<d", total / max(1, documents)) + _text(8, about)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _whole(number: int, value: int) -> bytes:
    return _key(number, _WHOLE) + _varint(value) if value else b""  # zero is what a missing field means


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _delimited(message: bytes) -> bytes:
    return _varint(len(message)) + message
