"""The shipped bundles at work: laws 2 and 4, any unicode."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import BundleError, DeviceError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, Manifest, SparseEncoder, shipped, shipped_with
from opensearch_splade.onnx_models.plan import Plan, query_plan
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies, read_table
from opensearch_splade.onnx_models.tokenizer import well_formed

LONG = "The quick brown fox jumps over the lazy dog. " * 60
any_text = st.text(st.characters(), max_size=80)  # lone surrogates included


@pytest.fixture(scope="module")
def siamese() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny")


@pytest.fixture(scope="module")
def free() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny-idf")


@pytest.fixture(scope="module")
def dense() -> DenseEncoder:
    return DenseEncoder.load("minilm-l6")


def as_rows(encoder: SparseEncoder, texts: list[str]) -> list[dict[str, float]]:
    """Each text's features."""
    return [encoder.features(*row) for row in encoder.encode_documents(texts)]


def assert_close(found: dict[str, float], expected: dict[str, float]) -> None:
    """The same vector: up to float rounding, which may take or leave a feature next to zero."""
    for feature in found.keys() | expected.keys():
        assert found.get(feature, 0.0) == pytest.approx(expected.get(feature, 0.0), abs=2e-5), feature


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_text, min_size=1, max_size=6))
def test_alone_in_a_batch_and_padded_are_the_same_vector(siamese: SparseEncoder, texts: list[str]) -> None:
    """Law 2, in int8 too: a document's vector does not depend on its neighbours."""
    together = as_rows(siamese, [*texts, LONG])
    for text, row in zip(texts, together, strict=False):
        assert_close(row, as_rows(siamese, [text])[0])


def test_the_thread_count_does_not_change_a_vector(siamese: SparseEncoder) -> None:
    """Law 2 for threads."""
    texts = ["one two three", LONG, "a csv file"]
    for threads in (2, 3):
        plan = Plan(batches=1, threads=threads, token_budget=4096)
        other = SparseEncoder.load("splade-tiny", plan=plan)
        for one, two in zip(as_rows(siamese, texts), as_rows(other, texts), strict=True):
            assert_close(one, two)


def test_dense_vectors_do_not_depend_on_the_batch(dense: DenseEncoder) -> None:
    """Law 2 for the dense bundle; vectors have length 1."""
    texts = ["a csv file", LONG, "x"]
    together = dense.encode(texts)
    assert together.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([dense.encode([text]) for text in texts]), atol=2e-5)


def test_dense_neighbours_are_near_in_meaning(dense: DenseEncoder) -> None:
    """A vector of the wrong model or a broken pooling would not tell these apart."""
    question, near, far = dense.encode(["how do I open a file?", "open() gives a file object", "the cat sleeps"])
    assert question @ near > question @ far + 0.2


def test_rows_are_ascending_positive_and_named(siamese: SparseEncoder) -> None:
    """The CSR contract of ``SparseVectors``."""
    vectors = siamese.encode_documents(["Paris is the capital of France.", "", LONG])
    assert len(vectors) == 3
    for ids, weights in vectors:
        assert (np.diff(ids) > 0).all()
        assert (weights > 0).all()
        assert np.isfinite(weights).all()
    names = siamese.features(*vectors.row(0))
    assert {"paris", "capital", "france"} <= names.keys()


def test_special_tokens_and_dots_are_no_features(siamese: SparseEncoder) -> None:
    """No ``[CLS]``, and no name with a dot, which ``rank_feature`` would misread."""
    for row in as_rows(siamese, ["... . ##. [CLS] [SEP] e.g. U.S.A. 3.14", LONG]):
        assert not any("." in feature or feature.startswith("[") for feature in row)


def test_no_text_at_all(siamese: SparseEncoder) -> None:
    """An empty batch is an empty result."""
    assert len(siamese.encode_documents([])) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("read a csv file")
@example(LONG)
@given(any_text)
def test_siamese_query_and_document_are_encoded_alike(siamese: SparseEncoder, text: str) -> None:
    """One model for both sides, though each has its session; the query comes strongest first."""
    found = siamese.encode_query(text)
    assert_close(found, as_rows(siamese, [text])[0])
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert siamese.query_side == "siamese"


def test_a_siamese_query_has_its_own_session_and_no_thread_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch, which all cores share if it is work enough; the session for documents is not loaded for it."""
    encoder = SparseEncoder.load("splade-tiny", Device(threads=3))
    monkeypatch.setattr("opensearch_splade.onnx_models.stream.ThreadPoolExecutor", None)
    assert encoder.encode_query("read a csv file")
    assert "_session" not in vars(encoder)
    assert encoder.query_runner.plan == query_plan("cpu", 3, 256, 5_000_000)
    assert [query_plan("cpu", 3, 256, size).threads for size in (5_000_000, 90_000_000)] == [1, 3]


def test_a_query_denser_than_the_output_loses_nothing() -> None:
    """As for documents: where there are more features than were asked for, more is asked for."""
    encoder = SparseEncoder.load("splade-tiny")
    expected = encoder.encode_query(LONG)
    encoder.query_runner._top_k = np.array([3], np.int64)
    assert_close(encoder.encode_query(LONG), expected)


def test_inference_free_queries_are_looked_up(free: SparseEncoder) -> None:
    """Distinct tokens, their table weight, no term frequency (arXiv 2411.04403); unseen by any model."""
    table = read_table(Bundle.open("splade-tiny-idf").query_weights or Path())
    assert free.encode_query("paris paris capital") == {word: table[word] for word in ("paris", "capital")}
    assert free.encode_query("🦆") == {}
    assert "_session" not in vars(free)


def test_a_batch_of_queries_equals_one_by_one(free: SparseEncoder, siamese: SparseEncoder) -> None:
    """``encode_queries`` and ``encode_query`` agree on both query sides."""
    questions = ["read a csv file", "wait for threads"]
    for encoder in (free, siamese):
        for question, row in zip(questions, encoder.encode_queries(questions), strict=True):
            assert_close(encoder.features(*row), encoder.encode_query(question))


def test_query_weights_of_a_corpus_replace_the_bundles_own(siamese: SparseEncoder) -> None:
    """Any document encoder gets a query side without a model, and can give it back."""
    own = siamese.with_query_weights({"csv": 2.0, "cs": 7.0, "##v": 1.0})
    assert own.encode_query("CSV csv file") == {"cs": 7.0, "##v": 1.0}
    assert own.with_query_weights(None).query_side == "siamese"
    assert own.fingerprint == siamese.fingerprint


def test_idf_is_that_of_bm25(siamese: SparseEncoder) -> None:
    """ln(1 + (N - n + .5) / (n + .5)), counted once per passage."""
    counts = DocumentFrequencies(siamese.vocabulary)
    counts.add(siamese.tokenizer.encode(["the cat the cat", "the dog", "the duck"], special=False))
    idf = counts.idf()
    assert idf["the"] == pytest.approx(math.log(1 + (3 - 3 + 0.5) / (3 + 0.5)), abs=1e-4)
    assert idf["cat"] == pytest.approx(math.log(1 + (3 - 1 + 0.5) / (1 + 0.5)), abs=1e-4)
    assert idf["zebra"] == pytest.approx(math.log(1 + (3 + 0.5) / 0.5), abs=1e-4)
    assert "[CLS]" not in idf


@given(any_text)
def test_well_formed_text_can_be_encoded(text: str) -> None:
    """Lone surrogates become U+FFFD, pairs their character; everything else stays."""
    mended = well_formed(text)
    mended.encode()
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert mended == text
    assert well_formed("a\ud83e\udd86b\ud800") == "a🦆b\ufffd"


def test_shipped_bundles_share_document_vectors() -> None:
    """The siamese and the inference-free bundle are one model, so either may ask what the other encoded."""
    assert shipped() == ["minilm-l6", "splade-tiny", "splade-tiny-adapted", "splade-tiny-idf"]
    fingerprint = Bundle.open("splade-tiny").manifest.fingerprint
    found = {folder.name: kind for folder, kind in shipped_with(fingerprint).items()}
    assert found == {"splade-tiny": "siamese", "splade-tiny-idf": "inference-free"}
    size = sum(path.stat().st_size for name in shipped() for path in Bundle.open(name).folder.iterdir())
    assert size < 45_000_000


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    """A bundle that truncates elsewhere gives other vectors, so it must not carry the old fingerprint."""
    folder = tmp_path / "edited"
    shutil.copytree(Bundle.open("splade-tiny").folder, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    for change, message in (({"max_length": 128}, "was edited"), ({"files": {}}, r"model\.onnx")):
        (folder / "bundle.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(BundleError, match=message):
            Bundle.open(folder)


def test_kinds_are_not_mixed_up() -> None:
    """Dense where sparse is needed, and the other way round."""
    with pytest.raises(BundleError, match="minilm-l6 is a dense bundle"):
        SparseEncoder.load("minilm-l6")
    with pytest.raises(BundleError, match="splade-tiny is a sparse bundle"):
        DenseEncoder.load("splade-tiny")


@pytest.mark.parametrize(
    ("text", "device"), [("cpu", Device()), ("cpu:3", Device(threads=3)), ("cuda:1", Device("cuda", 1))]
)
def test_devices_are_read(text: str, device: Device) -> None:
    """One word names a device."""
    assert Device.parse(text) == device


def test_a_device_that_is_not_there() -> None:
    """The CPU wheel says how to get to a GPU; nonsense lists the choices."""
    import onnxruntime

    with pytest.raises(DeviceError, match="choose cpu"):
        Device.parse("gpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceError, match=r"opensearch-splade\[gpu\]"):
            SparseEncoder.load("splade-tiny", Device.parse("cuda")).encode_documents(["x"])


def test_a_damaged_graph_with_a_right_hash(tmp_path: Path) -> None:
    """Hashes prove that nothing changed, not that it runs: that error is ours too."""
    from opensearch_splade.onnx_models.bundle import fingerprint, sha256

    folder = tmp_path / "broken"
    shutil.copytree(Bundle.open("splade-tiny").folder, folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["model.onnx"] = sha256(folder / "model.onnx")
    manifest["fingerprint"] = fingerprint(Manifest.model_validate(manifest))
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="cannot be run"):
        SparseEncoder.load(folder).encode_documents(["x"])
