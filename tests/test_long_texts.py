"""Passages of long texts on the shipped bundle: law 2 for spans, the stream, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import BundleError, OspladeError
from opensearch_splade.onnx_models import Bundle, Device, SparseEncoder
from opensearch_splade.onnx_models.long_texts import LongText, Span, places
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.onnx_models.sparse_rows import SparseRow

LONG = "The quick brown fox jumps over the lazy dog near the old bridge of Paris. " * 9
TEXTS = [LONG, "read a csv file into a list", "", "paris", LONG[:200]]
Case = tuple[list[int], list[Span]]
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny")


@st.composite
def cases(draw: st.DrawFn) -> list[Case]:
    """Token ids of texts of any length, and any spans of them."""
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=5))
    found = []
    for length in lengths:
        pairs = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=4))
        ids = [101, *np.random.default_rng(length).integers(1000, 20000, length).tolist()][:length]
        found.append((ids, [(min(pair), max(pair)) for pair in pairs]))
    return found


def assert_same(found: SparseRow, expected: SparseRow, atol: float = 2e-5) -> None:
    """The same vector: up to float rounding, which may take or leave a feature next to zero."""
    one, other = (dict(zip(ids.tolist(), weights.tolist(), strict=True)) for ids, weights in (found, expected))
    for token in one.keys() | other.keys():
        assert one.get(token, 0.0) == pytest.approx(other.get(token, 0.0), abs=atol), token


def whole(encoder: SparseEncoder) -> list[Case]:
    """Each of the texts as one passage."""
    return [(ids, [(0, len(ids))]) for ids in encoder.tokenizer.encode(TEXTS)]


def test_a_span_of_the_whole_text_is_the_document(encoder: SparseEncoder) -> None:
    """In int8 too, where the scale of the passage is that of its text."""
    for (row,), expected in zip(encoder.stream_passages(whole(encoder)), encoder.stream(TEXTS), strict=True):
        assert row[0].tolist() == expected[0].tolist()
        np.testing.assert_allclose(row[1], expected[1], atol=1e-6)


@some
@example([([], [(0, 0)]), ([101, 102], [(1, 1), (0, 2), (2, 2)]), ([101], [])])
@given(cases())
def test_spans_alone_in_a_batch_and_padded_are_the_same_vectors(encoder: SparseEncoder, texts: list[Case]) -> None:
    """Law 2: neither texts nor passages beside it change a passage; one without tokens has no features."""
    together = list(encoder.stream_passages([*texts, *whole(encoder)]))
    assert [len(rows) for rows in together[: len(texts)]] == [len(spans) for _, spans in texts]
    for (ids, spans), rows in zip(texts, together, strict=False):
        for span, row in zip(spans, rows, strict=True):
            ((alone,),) = encoder.stream_passages([(ids, [span])])
            assert_same(row, alone)
            assert span[0] < span[1] or len(row[0]) == 0


def test_a_passage_knows_the_text_around_it(encoder: SparseEncoder) -> None:
    """Late chunking is not chunking: the same tokens have other weights in another text."""
    [one, other] = encoder.tokenizer.encode(["the bank of the river", "the bank of england"])
    ((first,), (second,)) = encoder.stream_passages([(one, [(1, 3)]), (other, [(1, 3)])])
    assert not np.isclose(encoder.features(*first)["bank"], encoder.features(*second)["bank"], atol=1e-3)


@some
@given(cases())
def test_places_fill_up_with_the_first_of_their_own(texts: list[Case]) -> None:
    """What the graph is given: each row holds exactly its span's places, in the padded batch."""
    spans = [[span for span in spans if span[0] < span[1]] or [(0, 1)] for _, spans in texts]
    length = max(2, *(len(ids) for ids, _ in texts))
    rows = places(spans, length).tolist()
    flat = [(row * length + start, row * length + end) for row, own in enumerate(spans) for start, end in own]
    for found, (start, end) in zip(rows, flat, strict=True):
        assert found == [*range(start, end), *[start] * (len(found) - (end - start))]


def test_a_text_costs_what_it_takes() -> None:
    """The body's tokens, or the head's where spans overlap; nothing where there is nothing to pool."""
    assert len(LongText([1] * 10, [(0, 5), (5, 10)])) == 10
    assert len(LongText([1] * 10, [(0, 6), (2, 8), (4, 10)])) == 18
    assert len(LongText([1] * 10, [(3, 3)])) == len(LongText([1] * 10, [])) == 0


def test_what_waits_is_encoded_in_a_pause(encoder: SparseEncoder) -> None:
    """``None`` is no text; a source that has no more just now still gets its rows."""

    def pausing() -> Iterator[Case | None]:
        yield [101, 3000], []
        yield [101, 3000], [(0, 2), (1, 2)]
        yield from iter(lambda: None, 0)  # for ever

    stream = encoder.stream_passages(pausing())
    assert [len(next(stream)), len(next(stream))] == [0, 2]
    stream.close()  # type: ignore[attr-defined]


def test_denser_passages_than_usual_lose_nothing(encoder: SparseEncoder) -> None:
    """Where a row has more features than the graph gives at first, it is asked again for all of them."""
    expected = list(encoder.stream_passages(whole(encoder)))
    other = SparseEncoder.load("splade-tiny")
    other.document_runner._top_k = np.array([3], np.int64)  # type: ignore[union-attr]
    for (found,), (row,) in zip(other.stream_passages(whole(encoder)), expected, strict=True):
        assert_same(found, row, 1e-6)


def test_max_ratio_is_of_each_passage(encoder: SparseEncoder) -> None:
    """Pruned as a document would be: by the passage's own strongest feature."""
    [ids] = encoder.tokenizer.encode([LONG])
    case = [(ids, [(0, 9), (9, 40)])]
    [plain], [pruned] = (
        list(one.stream_passages(case)) for one in (encoder, SparseEncoder.load("splade-tiny", max_ratio=0.3))
    )
    for (_, weights), (_, kept) in zip(plain, pruned, strict=True):
        assert sorted(kept) == sorted(weight for weight in weights if weight >= np.float32(0.3) * weights.max())
        assert len(kept) < len(weights)


class SmallDevice(Device):
    """Refuses batches above so many tokens with the words of ONNX Runtime's CUDA allocator."""

    def session(self, model: Path, threads: int) -> Any:
        """A graph of little memory."""
        real = super().session(model, threads)

        class Graph:
            get_overridable_initializers = staticmethod(real.get_overridable_initializers)

            def run(self, outputs: list[str], feeds: dict[str, Any]) -> Any:
                if feeds["input_ids"].size > 300:
                    raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer")
                return real.run(outputs, feeds)

        return Graph()


def test_where_memory_does_not_suffice_the_spans_are_halved_with_their_texts(encoder: SparseEncoder) -> None:
    """The same rows come out, in the same places."""
    cases = [(ids, [(0, len(ids)), (1, 3), (2, 2)][: place % 4]) for place, (ids, _) in enumerate(whole(encoder) * 6)]
    cases = [case for case in cases if len(case[0]) > 3]
    small = SparseEncoder.load("splade-tiny", SmallDevice())
    for found, expected in zip(small.stream_passages(cases), encoder.stream_passages(cases), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    assert small._session.token_budget <= 300


def test_several_devices_pool_passages_too(encoder: SparseEncoder) -> None:
    """One process each; spans travel with their texts."""
    cases = [(ids, [(0, len(ids)), (0, 1)][: len(ids)]) for ids, _ in whole(encoder)]
    several = SparseEncoder.load("splade-tiny", Device.parse("cpu:1,cpu:1"))
    for found, expected in zip(several.stream_passages(cases), encoder.stream_passages(cases), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (([101] * 300, [(0, 1)]), r"300 tokens is longer than the bundle takes \(256\); cut it into windows"),
        (([101] * 3, [(0, 4)]), r"span \(0, 4\) does not lie within a text of 3 tokens"),
        (([101] * 3, [(2, 1)]), r"span \(2, 1\)"),
        (([101] * 3, [(-1, 1)]), r"span \(-1, 1\)"),
    ],
)
def test_spans_that_cannot_be(encoder: SparseEncoder, case: Case, message: str) -> None:
    """Places beyond a text would be its neighbour's tokens."""
    with pytest.raises(OspladeError, match=message):
        list(encoder.stream_passages([case]))


@pytest.mark.export
@pytest.mark.filterwarnings("ignore")
def test_a_bundle_without_the_input_says_so_and_can_be_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fingerprint stays, and it becomes what export makes today, to the last byte."""
    from checkpoints import masked_lm

    from opensearch_splade.onnx_models import saving
    from opensearch_splade.onnx_models.export import export_bundle

    checkpoint = str(masked_lm("bert", tmp_path / "mlm"))
    today = export_bundle(checkpoint, tmp_path / "today")
    with monkeypatch.context() as patched:
        patched.setattr(saving, "add_passages", lambda _: False)
        old = export_bundle(checkpoint, tmp_path / "old")
    assert old.manifest.plain is None
    with pytest.raises(BundleError, match=r"export the checkpoint again .*scripts/add_passages\.py"):
        list(SparseEncoder.load(old.folder).stream_passages([([2, 3], [(0, 1)])]))
    with pytest.raises(BundleError, match="cannot pool passages"):
        list(SparseEncoder.load(old.folder, Device.parse("cpu:1,cpu:1")).stream_passages([([2, 3], [(0, 1)])]))
    assert saving.add_passages_to(old)
    again = Bundle.open(old.folder)
    assert not saving.add_passages_to(again)
    assert again.manifest.fingerprint == old.manifest.fingerprint == today.manifest.fingerprint
    assert again.manifest.files == today.manifest.files
    assert again.manifest.plain == old.manifest.files["model.onnx"] == today.manifest.plain
    with pytest.raises(BundleError, match="only heads that take a maximum"):
        saving.add_passages_to(Bundle.open("minilm-l6"))


@pytest.mark.export
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["masked-lm", "not-pooled", "terms"])
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_lower_precision_pools_passages(tmp_path: Path, kind: str, precision: Any) -> None:
    """The whole text as a span is the document, and a span is near that of the exact graph."""
    from checkpoints import TEXTS, masked_lm
    from family_checkpoints import lsr_mlm, terms

    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    folder = tmp_path / "checkpoint"
    if kind == "masked-lm":
        masked_lm("bert", folder)
    elif kind == "terms":
        terms(folder, "bert", "unicoil")
    else:
        lsr_mlm(folder)
    exact, low = (
        SparseEncoder.load(export_bundle(str(folder), tmp_path / one, ExportOptions(precision=one)).folder)
        for one in ("fp32", precision)
    )
    ids = [own for own in exact.tokenizer.encode(TEXTS) if len(own) > 4]
    texts = [(own, [(0, len(own)), (2, 4), (0, 1)]) for own in ids]
    documents = low.stream_tokens(ids)
    for found, expected, document in zip(
        low.stream_passages(texts), exact.stream_passages(texts), documents, strict=True
    ):
        assert_same(found[0], document, 1e-6)
        for one, other in zip(found, expected, strict=True):
            dense = np.zeros((2, len(exact.vocabulary)))
            for row, (token_ids, weights) in zip(dense, (one, other), strict=True):
                row[token_ids] = weights
            norms = np.linalg.norm(dense, axis=1)
            assert norms[0] == pytest.approx(norms[1], rel=0.1)
            assert dense[0] @ dense[1] >= 0.98 * norms.prod()
        if kind == "not-pooled":
            assert len(found[2][0]) == 0  # nothing but [CLS]


def test_plans_of_several_batches_keep_the_order(encoder: SparseEncoder) -> None:
    """Small batches, three at once: rows stay with their texts."""
    cases = [([101, 2000 + place], [(0, 2)] * (place % 3)) for place in range(60)]
    runner = SparseEncoder.load("splade-tiny", plan=Plan(batches=3, threads=1, token_budget=16))
    for found, expected in zip(runner.stream_passages(cases), encoder.stream_passages(cases), strict=True):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
