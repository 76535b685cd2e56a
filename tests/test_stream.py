"""The stream: order, bounded memory, several batches at once, and a device whose memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import DeviceError
from opensearch_splade.onnx_models import Device, SparseEncoder
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.stream import AHEAD, CHUNK, WINDOW_BATCHES, in_order, tokenised


@dataclass
class Laid:
    """What the stream needs to know of a session."""

    plan: Plan
    token_budget: int


def laid(batches: int = 2, budget: int = 20) -> Laid:
    """A plan of so many batches of so many tokens."""
    return Laid(Plan(batches=batches, threads=1, token_budget=budget), budget)


def totals(batch: Sequence[Sequence[int]]) -> list[int]:
    """One result per text that tells them apart."""
    return [sum(tokens) for tokens in batch]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 3))
def test_results_come_in_the_order_of_the_texts(lengths: list[int], batches: int) -> None:
    """However lengths mix and batches finish; a text without tokens is ``None`` in its place."""
    texts = [[place] * length for place, length in enumerate(lengths)]
    expected = [sum(text) if text else None for text in texts]
    assert list(in_order(texts, totals, laid(batches))) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=80), st.integers(1, 3))
def test_pauses_change_no_result(lengths: list[int | None], batches: int) -> None:
    """``None`` in the source is no text: what waits is encoded, and the order holds."""
    texts = [None if length is None else [place] * length for place, length in enumerate(lengths)]
    expected = [sum(text) if text else None for text in texts if text is not None]
    assert list(in_order(texts, totals, laid(batches))) == expected


def test_what_waits_is_encoded_in_a_pause() -> None:
    """A source that has no more just now still gets its results."""

    def pausing() -> Iterator[list[int] | None]:
        yield [1, 2]
        yield from iter(lambda: None, 0)  # for ever

    stream = in_order(pausing(), totals, laid())
    assert next(stream) == 3
    stream.close()  # type: ignore[attr-defined]


def test_memory_is_bounded() -> None:
    """An endless source is read a window ahead, no further."""
    read = 0

    def endless() -> Iterator[list[int]]:
        nonlocal read
        while True:
            read += 1
            yield [1, 2, 3]

    stream = in_order(endless(), totals, laid())
    for given_so_far in range(1, 200):
        assert next(stream) == 6
        assert read - given_so_far <= (WINDOW_BATCHES + 4) * 20 / 3
    stream.close()  # type: ignore[attr-defined]


def test_tokenising_is_a_few_chunks_ahead() -> None:
    """Ahead of need, in order, and bounded."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield str(read)

    stream = tokenised(endless(), lambda texts: [[int(text)] for text in texts])
    assert [next(stream) for _ in range(5)] == [[1], [2], [3], [4], [5]]
    assert read <= (AHEAD + 2) * CHUNK


def test_an_error_in_a_batch_reaches_the_caller() -> None:
    """And does not hang."""

    def fail(batch: Sequence[Sequence[int]]) -> list[int]:
        raise ValueError(len(batch))

    with pytest.raises(ValueError, match=r"^[12]$"):
        list(in_order([[1], [2]], fail, laid()))


class SmallDevice(Device):
    """Stands for a GPU: refuses batches above so many tokens with the words of ONNX Runtime's CUDA allocator."""

    room = 64

    def session(self, model: Path, threads: int) -> Any:
        """A graph of little memory."""
        real, room = super().session(model, threads), self.room

        class Graph:
            def run(self, outputs: list[str], feeds: dict[str, Any]) -> Any:
                if feeds["input_ids"].size > room:
                    raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer")
                return real.run(outputs, feeds)

        return Graph()


def test_where_memory_does_not_suffice_the_batch_is_halved() -> None:
    """The same vectors come out, and later batches keep to what fitted."""
    texts = [f"{word} of a short text" for word in ("one", "two", "three", "four", "five", "six", "seven")] * 8
    small, usual = SparseEncoder.load("splade-tiny", SmallDevice()), SparseEncoder.load("splade-tiny")
    for (ids, weights), (expected_ids, expected) in zip(small.stream(texts), usual.stream(texts), strict=True):
        assert ids.tolist() == expected_ids.tolist()
        np.testing.assert_allclose(weights, expected, atol=2e-5)
    assert small._session.token_budget <= SmallDevice.room


def test_a_text_that_does_not_fit_alone_is_an_error() -> None:
    """Halving ends at one text; the error says what to do."""
    bundle = SparseEncoder.load("splade-tiny").bundle
    session = Session(bundle.model, SmallDevice())
    with pytest.raises(DeviceError, match=r"100 tokens does not fit .*--max-length"):
        session.run([[7] * 100], ["weights"])


def test_denser_documents_than_usual_lose_nothing() -> None:
    """Where a row has more features than the graph gives at first, it is asked again for all of them."""
    encoder = SparseEncoder.load("splade-tiny")
    (expected,) = encoder.stream(["a long way to paris"])
    encoder.document_runner._top_k = np.array([3], np.int64)  # type: ignore[union-attr]
    ((ids, weights),) = encoder.stream(["a long way to paris"])
    assert ids.tolist() == expected[0].tolist()
    np.testing.assert_array_equal(weights, expected[1])


def test_max_ratio_prunes_on_the_device() -> None:
    """As ``ingest.pruning`` does on the host."""
    bundle = SparseEncoder.load("splade-tiny").bundle
    ((_, whole),) = SparseEncoder(bundle, Device()).stream(["paris is a city"])
    ((_, pruned),) = SparseEncoder(bundle, Device(), max_ratio=0.3).stream(["paris is a city"])
    assert sorted(pruned) == sorted(weight for weight in whole if weight >= np.float32(0.3) * whole.max())
    assert len(pruned) < len(whole)


def test_several_devices_give_the_same_vectors() -> None:
    """One process each, here both on the CPU, which stands for several GPUs; order and vectors stay the same."""
    texts = [f"{place} files to read " * (place % 7) for place in range(60)]
    several = SparseEncoder.load("splade-tiny", Device.parse("cpu:1,cpu:1"))
    expected = SparseEncoder.load("splade-tiny").encode_documents(texts)
    found = several.encode_documents(texts)
    assert found.token_ids.tolist() == expected.token_ids.tolist()
    np.testing.assert_allclose(found.weights, expected.weights, atol=2e-5)
    assert "_session" not in vars(several)
    several.document_runner._processes[0].kill()  # type: ignore[union-attr]
    several.document_runner._processes[1].kill()  # type: ignore[union-attr]
    with pytest.raises(DeviceError, match=r"device cpu:1 ended \(exit code -9\).*fewer devices.*__main__"):
        several.encode_documents(texts)


def test_a_device_that_cannot_start_says_so_from_its_process() -> None:
    """The error of the process is the caller's error."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime can start CUDA")
    encoder = SparseEncoder.load("splade-tiny", Device.parse("cpu:1,cuda:1"))
    with pytest.raises(DeviceError, match="cannot run on cuda"):  # at once, though the first device could
        encoder.encode_documents(["a text"])
