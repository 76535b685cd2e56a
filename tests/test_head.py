"""The head's forms: tiled, screened, int8; dense and sparse output. On random states, so without torch."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
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
from opensearch_splade.onnx_models.long_texts import Span, places
from opensearch_splade.onnx_models.passage_graph import PASSAGES, add_passages
from opensearch_splade.onnx_models.sparse_output import COUNT, OUTPUTS, TOKEN_IDS

pytestmark = pytest.mark.export

HIDDEN, VOCABULARY = 16, 731  # three tiles and a rest
BATCH = ("attention_mask", "input_ids")
FORMS = ["tiled", "screened", "int8"]
Session = Any


def session(tmp_path: Path, form: str, *, passages: bool = False, **head: Any) -> Session:
    """A graph that is nothing but a head: its states are an input."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["states_in"], ["states"])],
        "head",
        [
            helper.make_tensor_value_info("states_in", TensorProto.FLOAT, ["batch", "length", HIDDEN]),
            *(helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in BATCH),
        ],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["batch", "length", HIDDEN])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    precision = {"int8": True} if form == "int8" else {"form": form}
    append_head(model, Head(**head), **precision)  # type: ignore[arg-type]
    if passages:
        takes = head["pooling"] == "max"
        assert [add_passages(model), add_passages(model)] == [takes, takes]  # once is enough
    path = tmp_path / f"{form}-{passages}.onnx"
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
    ids = random.integers(0, VOCABULARY, mask.shape) * mask
    return {"states_in": states.astype(np.float32), "attention_mask": mask, "input_ids": ids}


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


@pytest.mark.parametrize("form", FORMS)
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


@pytest.mark.parametrize("pools_special", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_passages_that_nobody_gives_change_nothing(tmp_path: Path, form: str, pools_special: bool) -> None:
    """To the last bit, in every output; so the fingerprint may stay that of the graph without the input."""
    made = {**head(3, -8.0), "pools_special": pools_special}
    feeds = inputs(3, [7, 3, 1])
    feeds["input_ids"][0, :2], feeds["input_ids"][2, 0] = 5, 0  # special: first places, and a whole text
    names = [*OUTPUTS, "weights"]
    plain = session(tmp_path, form, **made).run(names, feeds)
    for one, other in zip(plain, session(tmp_path, form, passages=True, **made).run(names, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain[-1][2].any() == pools_special


@st.composite
def cut(draw: st.DrawFn) -> tuple[list[int], list[list[Span]]]:
    """Lengths of texts, and of each the spans that it falls into."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    spans = []
    for length in lengths:
        bounds = [0, *sorted(draw(st.sets(st.integers(1, length), max_size=4)) - {length}), length]
        spans.append(list(pairwise(bounds)))
    return lengths, spans


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), cut(), st.booleans())
def test_passages_together_are_their_text(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    case: tuple[list[int], list[list[Span]]],
    pools_special: bool,
) -> None:
    """The maximum over a text's passages is the text's own vector, and each passage is the book's of its own states.

    In int8, where each passage has a scale of its own, only the second, and by the int8 head itself.
    """
    lengths, spans = case
    folder, feeds = tmp_path_factory.mktemp("head"), inputs(seed, lengths)
    made = {**head(seed, -8.0), "pools_special": pools_special}
    if not pools_special:
        feeds["input_ids"][:, ::3] = 5
    given = {PASSAGES: places(spans, max(lengths))}
    starts = np.cumsum([0, *map(len, spans)])
    kept = feeds["attention_mask"] * (pools_special | ~np.isin(feeds["input_ids"], made["dropped_ids"]))
    for form in FORMS:
        run = session(folder, form, passages=True, **made)
        (whole,), (found,) = run.run(["weights"], feeds), run.run(["weights"], feeds | given)
        assert len(found) == starts[-1]
        for row, own in enumerate(spans):
            if form != "int8":
                again = found[starts[row] : starts[row + 1]].max(axis=0)
                np.testing.assert_allclose(again, whole[row], atol=1e-6)
            for one, (start, end) in zip(found[starts[row] :], own, strict=False):
                alone = {name: value[row : row + 1, start:end] for name, value in feeds.items()}
                book = by_the_book(made, alone | {"attention_mask": kept[row : row + 1, start:end]})
                expected = run.run(["weights"], alone)[0] if form == "int8" else book
                np.testing.assert_allclose(one, expected[0], atol=1e-6 if form == "int8" else 1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_passages_are_counted_for_themselves(tmp_path: Path, form: str) -> None:
    """The sparse output is the dense one for passages too, however many more rows than texts."""
    made, feeds = _sparse_case()
    run = session(tmp_path, form, passages=True, **made)
    given = feeds | {PASSAGES: places([[(0, 7), (2, 3), (2, 5), (6, 7)], [(1, 3)], [(0, 1)] * 9], 7)}
    (dense,) = run.run(["weights"], given)
    token_ids, weights, count = run.run(OUTPUTS, given)
    assert count.tolist() == (dense > 0).sum(axis=1).tolist()
    for row, end in enumerate(count):
        np.testing.assert_array_equal(dense[row, token_ids[row, :end]], weights[row, :end])
    assert len(dense) == 14
    (whole,) = run.run(["weights"], feeds)
    np.testing.assert_array_equal(dense[[0, 5, 13]][[0, 2]], whole[[0, 2]])


def test_heads_that_add_up_take_no_passages(tmp_path: Path) -> None:
    """A place that fills up would count twice; such a graph stays as it is."""
    run = session(tmp_path, "tiled", passages=True, **{**head(1, 0.0), "pooling": "sum"})
    assert {one.name for one in run.get_overridable_initializers()} == {"top_k", "max_ratio"}
