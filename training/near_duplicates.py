"""Near-duplicates: texts that are copies but for some words, by MinHash over their shingles (Broder, 1997).

A copy of the answer is an answer, so it must not be shown as a negative; a question that is a copy of one that is
measured later must not be trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.collection_split import words

_SHINGLE, _BANDS, _ROWS = 3, 16, 4
"""Two texts that share 70 % of their shingles meet in one of 16 bands of 4 with a chance of 99 %, at 30 % of 12 %."""
ALIKE = 0.6
"""Share of equal MinHash values from which two texts that met are copies."""


def signatures(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """MinHash values, shape ``(texts, 64)``."""
    chance = np.random.default_rng(12)
    factors = chance.integers(1, 1 << 63, _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)
    offsets = chance.integers(0, 1 << 63, _BANDS * _ROWS, dtype=np.uint64)
    found = np.zeros((len(texts), _BANDS * _ROWS), np.uint64)
    for place, text in enumerate(texts):
        hashes = _shingles(text)
        if len(hashes):  # multiply and shift (Dietzfelbinger): the upper bits of a wrapping product
            found[place] = ((hashes[:, None] * factors + offsets) >> np.uint64(16)).min(0)
    return found


def groups(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Of each text the place of the first one that it is a copy of, itself where there is none before."""
    signed = signatures(texts)
    first = np.arange(len(texts))
    for band in range(_BANDS):
        met: dict[bytes, int] = {}
        keys = np.ascontiguousarray(signed[:, band * _ROWS : (band + 1) * _ROWS])
        for place in range(len(texts)):
            other = met.setdefault(keys[place].tobytes(), place)
            if other != place and (signed[place] == signed[other]).mean() >= ALIKE:
                one, two = sorted((_root(first, place), _root(first, other)))
                first[two] = one
    return np.array([_root(first, place) for place in range(len(texts))], np.int64)


def _root(first: npt.NDArray[np.int64], place: int) -> int:
    while first[place] != place:
        place = int(first[place])
    return place


def _shingles(text: str) -> npt.NDArray[np.uint64]:
    tokens = words(text)  # a short text is one shingle
    runs = {" ".join(tokens[place : place + _SHINGLE]) for place in range(max(1, len(tokens) - _SHINGLE + 1))}
    return np.frombuffer(b"".join(blake2b(run.encode(), digest_size=8).digest() for run in sorted(runs)), np.uint64)
