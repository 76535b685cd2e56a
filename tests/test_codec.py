"""The feature codec: what Lucene's FeatureField stores."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.ingest.codec import RELATIVE_ERROR, encode_weights, round_weights
from opensearch_splade.types import SparseVectors

storable = st.floats(min_value=float(np.finfo(np.float32).tiny), max_value=float(np.float32(1e30)), width=32)


def lucene(weight: float) -> float:
    """``FeatureField``: ``floatToIntBits(weight) >>> 15`` as the term frequency, read back by ``<< 15``."""
    (bits,) = struct.unpack("<I", struct.pack("<f", weight))
    (stored,) = struct.unpack("<f", struct.pack("<I", bits >> 15 << 15))
    return float(stored)


@given(storable)
def test_a_rounded_weight_is_stored_as_sent(weight: float) -> None:
    """Lucene's truncation changes nothing any more, and the rounding error is at most half a step."""
    (rounded,) = round_weights(np.array([weight], np.float32)).tolist()
    assert lucene(rounded) == rounded
    assert abs(rounded - weight) <= RELATIVE_ERROR * weight
    assert abs(rounded - weight) <= abs(lucene(weight) - weight)


@given(st.lists(storable, min_size=2))
def test_rounding_keeps_the_order(weights: list[float]) -> None:
    """A stronger feature never becomes weaker than another."""
    rounded = round_weights(np.array(sorted(weights), np.float32))
    assert (np.diff(rounded) >= 0).all()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-45, 3.4e38])
def test_what_cannot_be_stored_is_dropped(bad: float) -> None:
    """The server refuses a whole document for one such weight."""
    vectors = SparseVectors(
        np.array([0, 2, 3, 3]), np.array([4, 7, 1], np.int32), np.array([1.5, bad, bad], np.float32)
    )
    kept = encode_weights(vectors)
    assert [ids.tolist() for ids, _ in kept] == [[4], [], []]
    assert kept.weights.tolist() == [1.5]
