"""JSON of vectors: made row by row where the vectors are made, so that nobody has to hold them as objects."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

import numpy as np
import numpy.typing as npt
import orjson

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_SMALLEST, _LARGEST = np.finfo(np.float32).tiny, np.float32(1e30)


class FeatureMaps:
    """Sparse rows as JSON objects, feature to weight.

    Weights are written with as many digits as tell a float32 from its neighbours. What a ``rank_features`` field
    refuses (zero, denormal or next to infinite) is left out, as ingest does: ML Commons fails a whole batch for one.

    Args:
        features: Name of each token id.
    """

    def __init__(self, features: Sequence[str]) -> None:
        self._keys = [orjson.dumps(feature) + b":" for feature in features]

    def __call__(self, token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> bytes:
        """One row."""
        kept = (weights >= _SMALLEST) & (weights <= _LARGEST)
        if not kept.all():
            token_ids, weights = token_ids[kept], weights[kept]
        if not len(weights):
            return b"{}"
        numbers = floats(weights)[1:-1].split(b",")
        return b"{%b}" % b",".join(map(add, map(self._keys.__getitem__, token_ids.tolist()), numbers))


def floats(row: npt.NDArray[np.float32]) -> bytes:
    """A dense row as a JSON array."""
    return orjson.dumps(np.ascontiguousarray(row), option=_NUMPY)
