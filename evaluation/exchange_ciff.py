"""CIFF: the Common Index File Format (Lin et al. 2020), an inverted index as protobuf messages, each after its length.

A header, then a list of postings for each term, then a record for each document. The few kinds of field that these have
are written here by hand: that spares a dependency that would serve nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import pack

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.exchange import SCALE, Vector, counts, new_file, without_space

_DESCRIPTION = "opensearch-splade; weights are round({scale:g} * weight), at most {most}"
_WHOLE, _DOUBLE, _BYTES = 0, 1, 2  # protobuf's wire types
MOST = 2**31 - 1


def write_ciff(vectors: Iterable[Vector], path: Path, scale: float = SCALE, most: int = MOST) -> int:
    """Turns vectors into lists of postings and says how many vectors there were.

    Terms come in the order of their bytes, as readers that search among them expect. Memory: 12 bytes a posting while
    reading, some 40 while sorting.

    Args:
        vectors: Id and features, in the order that documents are numbered.
        path: The file, which must not exist.
        scale: Weights are ``round(scale * weight)``.
        most: Larger ones are cut.

    Raises:
        SourceError: The file exists or cannot be written, or an id holds white space.
    """
    ids, lengths, numbers = list[str](), list[int](), dict[str, int]()
    terms, documents, weights = array("i"), array("i"), array("i")
    with new_file(path) as file:
        for id_, features in vectors:
            whole = counts(features, scale, most)
            terms.extend(numbers.setdefault(name, len(numbers)) for name in whole)
            documents.extend([len(ids)] * len(whole))
            weights.extend(whole.values())
            lengths.append(min(MOST, sum(whole.values())))
            ids.append(without_space(id_))
        description = _DESCRIPTION.format(scale=scale, most=most)
        file.write(_delimited(_header(len(numbers), lengths, description)))
        for message in _lists(numbers, np.asarray(terms), np.asarray(documents), np.asarray(weights)):
            file.write(_delimited(message))
        for number, (id_, length) in enumerate(zip(ids, lengths, strict=True)):
            file.write(_delimited(_whole(1, number) + _text(2, id_) + _whole(3, length)))
    return len(ids)


def _header(terms: int, lengths: list[int], description: str) -> bytes:
    documents, total = len(lengths), sum(lengths)
    whole = (1, terms, documents, terms, documents, total)
    fields = b"".join(_whole(number, value) for number, value in enumerate(whole, 1))
    return fields + _key(7, _DOUBLE) + pack("<d", total / max(1, documents)) + _text(8, description)


def _lists(
    numbers: dict[str, int],
    terms: npt.NDArray[np.int32],
    documents: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int32],
) -> Iterator[bytes]:
    order = np.argsort(terms, kind="stable")  # documents stay in their order
    starts = np.searchsorted(terms[order], np.arange(len(numbers) + 1))
    for name in sorted(numbers, key=str.encode):
        part = order[starts[numbers[name]] : starts[numbers[name] + 1]]
        gaps, own = np.diff(documents[part], prepend=0).tolist(), weights[part].tolist()
        postings = (_whole(1, gap) + _whole(2, weight) for gap, weight in zip(gaps, own, strict=True))
        yield b"".join(
            (_text(1, name), _whole(2, len(own)), _whole(3, sum(own)), *(_bytes(4, posting) for posting in postings))
        )


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
