"""The head's forms: tiled, screened, int8; dense and sparse output. On random states, so without torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.onnx_models.checkpoint import Activation
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.head import Head, append_head
from opensearch_splade.onnx_models.sparse_output import COUNT, OUTPUTS, TOKEN_IDS

pytestmark = pytest.mark.export

HIDDEN, VOCABULARY = 16, 731  # three tiles and a rest
Session = Any


def session(tmp_path: Path, form: str, **head: Any) -> Session:
    """A graph that is nothing but a head: its states are an input."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["states_in"], ["states"])],
        "head",
        [
            helper.make_tensor_value_info("states_in", TensorProto.FLOAT, ["batch", "length", HIDDEN]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "length"]),
        ],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "length", HIDDEN])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    precision = {"int8": True} if form == "int8" else {"form": form}
    append_head(model, Head(**head), **precision)  # type: ignore[arg-type]
    path = tmp_path / f"{form}.onnx"
    onnx.save(model, path)
    return Device().session(path, 1)


def head(seed: int, shift: float, activation: Activation = "log1p") -> dict[str, Any]:
    """Weights of uneven size, as trained ones are; ``shift`` moves all scores, so that few or many are positive."""
    random = np.random.default_rng(seed)
    sizes = random.lognormal(0, 1, (VOCABULARY, 1))
    return {
        "weight": (random.standard_normal((VOCABULARY, HIDDEN)) * sizes).astype(np.float32),
        "bias": (random.standard_normal(VOCABULARY) + shift).astype(np.float32),
        "pooling": "max",
        "activation": activation,
        "dropped_ids": [0, 5, VOCABULARY - 1],
    }


def inputs(seed: int, lengths: list[int]) -> dict[str, npt.NDArray[Any]]:
    """States of texts of these lengths; what stands at padded places must not matter."""
    random = np.random.default_rng(seed)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    states = random.standard_normal((*mask.shape, HIDDEN)).astype(np.float32) * random.lognormal(0, 1, (HIDDEN,))
    states[mask == 0] = 1e4
    return {"states_in": states.astype(np.float32), "attention_mask": mask}


def by_the_book(head: dict[str, Any], feeds: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """SPLADE v2, eq. 6 (arXiv 2109.10086), in float64: activation, mask, maximum."""
    scores = feeds["states_in"].astype(np.float64) @ head["weight"].T.astype(np.float64) + head["bias"]
    weights = np.log1p(np.maximum(scores, 0))
    if head["activation"] == "log1p_log1p":
        weights = np.log1p(weights)
    weights *= feeds["attention_mask"][..., None]
    weights[..., head["dropped_ids"]] = 0
    return weights.max(axis=1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([-60.0, -20.0, -8.0, 0.0, 20.0]),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from(["log1p", "log1p_log1p"]),
)
def test_tiled_and_screened_are_the_book(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shift: float, lengths: list[int], activation: Activation
) -> None:
    """However many features are active, none or all, the screened head drops nothing that is positive."""
    folder = tmp_path_factory.mktemp("head")
    made, feeds = head(seed, shift, activation), inputs(seed, lengths)
    expected = by_the_book(made, feeds)
    for form in ("tiled", "screened"):
        (found,) = session(folder, form, **made).run(["weights"], feeds)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=form)
        assert found.shape == (len(lengths), VOCABULARY)


def test_screening_leaves_few_candidates(tmp_path: Path) -> None:
    """Else it would not pay: the sparse output of a sparse head has as many columns as there are candidates."""
    made, feeds = head(1, -60.0), inputs(1, [9, 4])
    found = dict(zip(OUTPUTS, session(tmp_path, "screened", **made).run(OUTPUTS, feeds), strict=True))
    token_ids, count = found[TOKEN_IDS], found[COUNT]
    assert 0 < count.max() < token_ids.shape[1] < VOCABULARY / 4


@cache
def _sparse_case() -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    return head(3, -20.0), inputs(3, [7, 3, 1])


@pytest.mark.parametrize("form", ["tiled", "screened", "int8"])
def test_the_sparse_output_is_the_dense_one(tmp_path: Path, form: str) -> None:
    """Same features, same weights, strongest first; ``count`` says where they end."""
    made, feeds = _sparse_case()
    run = session(tmp_path, form, **made)
    (dense,) = run.run(["weights"], feeds)
    token_ids, weights, count = run.run(OUTPUTS, feeds)
    assert (np.diff(weights, axis=1) <= 0).all()
    again = np.zeros_like(dense)
    for row in range(len(dense)):
        again[row, token_ids[row, : count[row]]] = weights[row, : count[row]]
    np.testing.assert_array_equal(again, dense)
    assert count.tolist() == (dense > 0).sum(axis=1).tolist()


@pytest.mark.parametrize("form", ["tiled", "screened"])
def test_max_ratio_and_top_k(tmp_path: Path, form: str) -> None:
    """``max_ratio`` counts what reaches that share of the strongest; ``top_k`` cuts the columns but not the count."""
    made, feeds = _sparse_case()
    run = session(tmp_path, form, **made)
    (dense,) = run.run(["weights"], feeds)
    ratio = {"max_ratio": np.array([0.5], np.float32), "top_k": np.array([4])}
    token_ids, weights, count = run.run(OUTPUTS, feeds | ratio)
    assert token_ids.shape == weights.shape == (3, 4)
    expected = (dense >= dense.max(axis=1, keepdims=True) * np.float32(0.5)).sum(axis=1)
    assert count.tolist() == expected.tolist()
    assert weights.tolist() == (-np.sort(-dense, axis=1)[:, :4]).tolist()


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 9), min_size=2, max_size=4))
@settings(max_examples=10, deadline=None)
def test_int8_does_not_depend_on_neighbours(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lengths: list[int]
) -> None:
    """Law 2 in int8: one scale per document, and padding does not widen it."""
    run = session(tmp_path_factory.mktemp("head"), "int8", **head(seed, 0.0))
    feeds = inputs(seed, lengths)
    (together,) = run.run(["weights"], feeds)
    for row, length in enumerate(lengths):
        (alone,) = run.run(["weights"], {name: value[row : row + 1, :length] for name, value in feeds.items()})
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)
