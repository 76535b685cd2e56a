"""Export: the bundle equals the checkpoint, by sentence-transformers as an independent reference (law 1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checkpoints import LENGTH, TEXTS, dense_encoder, masked_lm, sparse_encoder

from opensearch_splade.errors import BundleError, CheckpointError, ParityError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import TableKind
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.parity import TOLERANCE, compare
from opensearch_splade.onnx_models.query_tables import QueryTable

if TYPE_CHECKING:
    import numpy.typing as npt

pytestmark = [
    pytest.mark.export,
    # torch's exporter and transformers warn about themselves; what the graph computes is what is tested.
    pytest.mark.filterwarnings("ignore"),
]

THREE = ["read a file", "a thread", "a list"]
FAMILIES = ["bert", "distilbert", "roberta"]


def export(*args: Any, **kwargs: Any) -> Bundle:
    """``export_bundle``, imported late like everything that needs torch."""
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    query_weights = kwargs.pop("query_weights", None)
    return export_bundle(*args, ExportOptions(**kwargs), query_weights=query_weights)


def to_dense(encoder: SparseEncoder, texts: list[str]) -> npt.NDArray[np.float32]:
    """Shape ``(texts, vocabulary)``."""
    out = np.zeros((len(texts), len(encoder.vocabulary)), np.float32)
    for row, (ids, weights) in zip(out, encoder.encode_documents(texts), strict=True):
        row[ids] = weights
    return out


def reference(model: Any, texts: list[str], special: list[int]) -> npt.NDArray[np.float32]:
    """What sentence-transformers says, without the special tokens."""
    found: npt.NDArray[np.float32] = model.encode_document(texts).to_dense().numpy()
    found[:, special] = 0
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_every_family_pooling_and_activation_equals_the_reference(
    tmp_path: Path, family: str, pooling: str, activation: str
) -> None:
    """Law 1 on sentence-transformers folders: pooling and activation are read, not assumed."""
    model = sparse_encoder(masked_lm(family, tmp_path / "mlm"), pooling=pooling, activation=activation)
    model.save_pretrained(str(tmp_path / "st"))
    bundle = export(str(tmp_path / "st"), tmp_path / "bundle")
    manifest = bundle.manifest
    assert (manifest.kind, manifest.pooling, manifest.max_length) == ("siamese", pooling, LENGTH)
    assert manifest.activation == {"relu": "log1p", "log1p_relu": "log1p_log1p"}[activation]
    assert manifest.activation_stated
    encoder = SparseEncoder.load(bundle.folder)
    expected = reference(model, TEXTS, encoder.vocabulary.dropped_ids)
    assert (expected > 0).sum() > 30
    np.testing.assert_allclose(to_dense(encoder, TEXTS), expected, atol=TOLERANCE)
    alone = np.concatenate([to_dense(encoder, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_dense_checkpoints_equal_the_reference(tmp_path: Path, family: str, pooling: str, normalize: bool) -> None:
    """Law 1 for dense folders: pooling and normalisation are read."""
    model = dense_encoder(masked_lm(family, tmp_path / "mlm"), tmp_path / "st", pooling=pooling, normalize=normalize)
    bundle = export(str(tmp_path / "st"), tmp_path / "bundle")
    assert (bundle.manifest.kind, bundle.manifest.pooling, bundle.manifest.normalize) == ("dense", pooling, normalize)
    found = DenseEncoder.load(bundle.folder).encode(TEXTS)
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=TOLERANCE)


def test_an_inference_free_router_keeps_its_query_weights(tmp_path: Path) -> None:
    """Queries of a ``Router`` with ``SparseStaticEmbedding`` give what sentence-transformers gives."""
    table = {"csv": 2.5, "read": 0.75, "file": 1.5, ".": 0.5}
    folder = masked_lm("bert", tmp_path / "mlm")
    model = sparse_encoder(folder, pooling="max", activation="log1p_relu", query_weights=table)
    model.save_pretrained(str(tmp_path / "st"))
    bundle = export(str(tmp_path / "st"), tmp_path / "bundle")
    assert (bundle.manifest.kind, bundle.manifest.query_weights) == ("inference-free", "checkpoint")
    encoder = SparseEncoder.load(bundle.folder)
    expected = dict(model.decode(model.encode_query(["read csv csv . thread"])[0]))
    found = {
        feature.replace("<dot>", "."): weight
        for feature, weight in encoder.encode_query("read csv csv . thread").items()
    }
    assert found == pytest.approx({feature: weight for feature, weight in expected.items() if weight > 0})
    expected_documents = reference(model, TEXTS, encoder.vocabulary.dropped_ids)
    np.testing.assert_allclose(to_dense(encoder, TEXTS), expected_documents, atol=TOLERANCE)


def test_an_idf_file_makes_a_plain_checkpoint_inference_free(tmp_path: Path) -> None:
    """The layout of the OpenSearch doc models: ``idf.json`` beside the weights."""
    folder = masked_lm("bert", tmp_path / "mlm")
    (folder / "idf.json").write_text(json.dumps({"csv": 3.25, "[CLS]": 9.0, "unknown-token": 1.0}))
    bundle = export(str(folder), tmp_path / "bundle", activation="log1p_log1p")
    assert bundle.manifest.kind == "inference-free"
    assert SparseEncoder.load(bundle.folder).encode_query("read csv") == {"csv": 3.25}
    as_siamese = export(str(folder), tmp_path / "siamese", activation="log1p_log1p", kind="siamese")
    assert SparseEncoder.load(as_siamese.folder).query_side == "siamese"
    assert as_siamese.manifest.fingerprint == bundle.manifest.fingerprint


def test_idf_of_a_collection_makes_any_checkpoint_inference_free(tmp_path: Path) -> None:
    """No query weights in the checkpoint: they are counted over passages that stream by."""
    folder = masked_lm("bert", tmp_path / "mlm")
    bundle = export(str(folder), tmp_path / "bundle", query_weights=QueryTable("idf", THREE))
    assert (bundle.manifest.kind, bundle.manifest.query_weights) == ("inference-free", "idf")
    found = SparseEncoder.load(bundle.folder).encode_query("a thread")
    assert found["thread"] > found["a"]
    with pytest.raises(CheckpointError, match="no passage"):
        export(str(folder), tmp_path / "other", query_weights=QueryTable("idf"))


@pytest.mark.parametrize("kind", ["bm25", "table", "binary"])
def test_any_table_makes_any_checkpoint_inference_free(tmp_path: Path, kind: TableKind) -> None:
    """The manifest says which it is, and the encoder weighs by what it says; document vectors stay the same."""
    folder = masked_lm("bert", tmp_path / "mlm")
    file = tmp_path / "mine.json"
    file.write_text('{"read": 0.5, "csv": 2}')
    chosen = {
        "bm25": QueryTable("bm25", THREE),
        "table": QueryTable("table", file=file),
        "binary": QueryTable("binary"),
    }
    bundle = export(str(folder), tmp_path / "bundle", query_weights=chosen[kind])
    assert (bundle.manifest.kind, bundle.manifest.query_weights) == ("inference-free", kind)
    idf = export(str(folder), tmp_path / "idf", query_weights=QueryTable("idf", THREE))
    assert bundle.manifest.fingerprint == idf.manifest.fingerprint
    once = SparseEncoder.load(idf.folder).encode_query("csv read")
    bm25 = {"csv": once["csv"] * 2 * 9 / 10, "read": once["read"]}
    expected = {"bm25": bm25, "table": {"csv": 2.0, "read": 0.5}, "binary": {"csv": 1.0, "read": 1.0}}
    assert SparseEncoder.load(bundle.folder).encode_query("csv read csv") == pytest.approx(expected[kind])


def test_the_token_weights_of_an_opensearch_model_are_read(tmp_path: Path) -> None:
    """``query_token_weights.txt`` beside a plain checkpoint does what ``idf.json`` does, which comes first."""
    folder = masked_lm("bert", tmp_path / "mlm")
    (folder / "query_token_weights.txt").write_text("csv\t3.25\nread\t0.5\n")
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.query_weights == folder / "query_token_weights.txt"
    assert checkpoint.kind == "inference-free"
    (folder / "idf.json").write_text('{"csv": 1.0}')
    assert open_checkpoint(str(folder)).query_weights == folder / "idf.json"


def test_a_plain_checkpoint_says_that_its_activation_is_not_stated(tmp_path: Path) -> None:
    """SPLADE's own is taken as sentence-transformers does, and the manifest keeps that nobody said so."""
    folder = masked_lm("bert", tmp_path / "mlm")
    unsaid = export(str(folder), tmp_path / "one").manifest
    said = export(str(folder), tmp_path / "two", activation="log1p_log1p").manifest
    assert (unsaid.activation, unsaid.activation_stated) == ("log1p", False)
    assert (said.activation, said.activation_stated) == ("log1p_log1p", True)
    assert unsaid.fingerprint != said.fingerprint


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_lower_precision_keeps_direction_and_law_2(tmp_path: Path, precision: str) -> None:
    """Judged by direction here and on nDCG@10 elsewhere; alone and in a batch stay the same vector."""
    folder = masked_lm("bert", tmp_path / "mlm")
    exact = SparseEncoder.load(export(str(folder), tmp_path / "fp32").folder)
    low = SparseEncoder.load(export(str(folder), tmp_path / "low", precision=precision).folder)
    expected, found = to_dense(exact, TEXTS), to_dense(low, TEXTS)
    cosine = (expected * found).sum(1) / (np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1))
    assert cosine.min() > 0.99
    alone = np.concatenate([to_dense(low, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, found, atol=2e-5 if precision == "int8" else 4e-3)
    assert low.fingerprint != exact.fingerprint


def test_columns_beyond_the_tokenizer_are_no_features(tmp_path: Path) -> None:
    """Vocabularies are often padded to a round number; what has no token has no name and must not be stored."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = masked_lm("bert", tmp_path / "mlm")
    tokens = len(AutoTokenizer.from_pretrained(folder))
    model = AutoModelForMaskedLM.from_pretrained(folder)
    model.resize_token_embeddings(tokens + 20)
    model.save_pretrained(folder)
    encoder = SparseEncoder.load(export(str(folder), tmp_path / "bundle").folder)
    vectors = encoder.encode_documents(TEXTS)
    assert len(encoder.vocabulary) == tokens + 20
    assert vectors.token_ids.max() < tokens
    assert all("" not in encoder.features(*row) for row in vectors)


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    """The vocabulary projection is the embedding table; the file holds it once."""
    folder = masked_lm("bert", tmp_path / "mlm")
    bundle = export(str(folder), tmp_path / "bundle")
    import onnx

    graph = onnx.load(bundle.model).graph
    tables = [one for one in graph.initializer if list(one.dims) == [bundle.manifest.dimension, 32]]
    assert len(tables) == 1


def test_parity_fails_loudly() -> None:
    """A graph that is not the checkpoint is never written."""
    expected = np.ones((2, 4), np.float32)
    assert compare(expected, expected, "fp32", "x").max_abs_error == 0
    for wrong in (expected + 2e-4, expected * np.nan, np.zeros_like(expected)):
        with pytest.raises(ParityError, match="Nothing was written"):
            compare(wrong.astype(np.float32), expected, "fp32", "x")


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing: no half bundle, no temporary folder. A wrong reference stands for a wrong graph."""
    from opensearch_splade.onnx_models import export as module

    folder = masked_lm("bert", tmp_path / "mlm")
    honest = module.reference_sparse
    monkeypatch.setattr(module, "reference_sparse", lambda *args: honest(*args) + 1)
    with pytest.raises(ParityError):
        export(str(folder), tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_existing_folders_are_safe(tmp_path: Path) -> None:
    """A bundle is replaced only when asked, anything else never."""
    folder = masked_lm("bert", tmp_path / "mlm")
    export(str(folder), tmp_path / "bundle")
    with pytest.raises(BundleError, match="--replace"):
        export(str(folder), tmp_path / "bundle")
    export(str(folder), tmp_path / "bundle", replace=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="left alone"):
        export(str(folder), mine, replace=True)
    assert (mine / "thesis.txt").exists()


def test_checkpoints_that_cannot_be_read(tmp_path: Path) -> None:
    """Each names what is missing and what to do."""
    folder = masked_lm("bert", tmp_path / "mlm")
    with pytest.raises(CheckpointError, match="There is no folder"):
        open_checkpoint(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        open_checkpoint(str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match="at most 48 tokens"):
        export(str(folder), tmp_path / "long", max_length=4096)
    with pytest.raises(CheckpointError, match="cannot be exported as dense"):
        export(str(folder), tmp_path / "dense", kind="dense")
    with pytest.raises(CheckpointError, match="no query weights"):
        export(str(folder), tmp_path / "free", kind="inference-free")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Pickled weights are not loaded"):
        export(str(folder), tmp_path / "pickled")


@pytest.mark.parametrize("content", ["[{}]", '"a"', '[{"path": "", "type": 3}]', "[1]", "{"])
def test_malformed_module_lists_are_named(tmp_path: Path, content: str) -> None:
    """Whatever stands in ``modules.json``, the error names the file."""
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        open_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "gelu"}, "activation 'gelu' is unknown"),
        ({"pooling_strategy": "median"}, "strategy 'median' is unknown"),
    ],
)
def test_unknown_pooling_is_not_guessed(tmp_path: Path, change: dict[str, str], message: str) -> None:
    """A wrong activation ranks plausibly and would never be noticed."""
    (tmp_path / "1_SpladePooling").mkdir()
    (tmp_path / "1_SpladePooling" / "config.json").write_text(json.dumps(change))
    modules = [{"path": "", "type": "x.MLMTransformer"}, {"path": "1_SpladePooling", "type": "x.SpladePooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(str(tmp_path))


@pytest.mark.collections
def test_splade_tiny_equals_sentence_transformers_on_500_abstracts(
    tmp_path: Path, collections_dir: Path, models_dir: Path
) -> None:
    """Law 1 and 2 on real weights and real text: within 1e-4, alone, padded, in batches of 1 and 16, on one thread."""
    from itertools import islice

    from sentence_transformers import SparseEncoder as Reference

    from opensearch_splade.ingest.sources import read_source
    from opensearch_splade.types import Document

    documents = (one for one in read_source(str(collections_dir / "scifact")) if isinstance(one, Document))
    texts = [document.passage for document in islice(documents, 500)]
    bundle = export(str(models_dir / "splade-tiny"), tmp_path / "bundle", max_length=256)
    encoder = SparseEncoder.load(bundle.folder)
    model = Reference(str(models_dir / "splade-tiny"), device="cpu")
    model.max_seq_length = 256
    expected = reference(model, texts, encoder.vocabulary.dropped_ids)
    found = to_dense(encoder, texts)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    one_thread = SparseEncoder.load(bundle.folder, Device(threads=1))
    for start in range(0, 64, 16):
        batch = texts[start : start + 16]
        np.testing.assert_allclose(to_dense(one_thread, batch), found[start : start + 16], atol=2e-5)
        for place, text in enumerate(batch):
            np.testing.assert_allclose(to_dense(encoder, [text])[0], found[start + place], atol=2e-5)


def test_weights_beyond_two_gibibytes_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit lowered: the same vectors, the weights' hash in the manifest, and a damaged file is found."""
    folder = masked_lm("bert", tmp_path / "mlm", unused=30_000)  # as many tiles as real vocabularies have
    inside = SparseEncoder.load(export(str(folder), tmp_path / "inside").folder)
    monkeypatch.setattr("opensearch_splade.onnx_models.saving.LARGEST_GRAPH", 1000)
    apart = export(str(folder), tmp_path / "apart")
    weights = apart.folder / "model.onnx.data"
    assert weights.stat().st_size > (apart.folder / "model.onnx").stat().st_size
    assert apart.size > weights.stat().st_size
    np.testing.assert_array_equal(to_dense(SparseEncoder.load(apart.folder), TEXTS), to_dense(inside, TEXTS))
    assert apart.manifest.fingerprint != inside.fingerprint
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"model\.onnx\.data is damaged"):
        Bundle.open(apart.folder)


def test_a_bundle_is_replaced_from_within_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``osplade export … . --replace``: the old bundle goes only when the new one stands."""
    folder = masked_lm("bert", tmp_path / "mlm")
    old = export(str(folder), tmp_path / "bundle", name="old")
    monkeypatch.chdir(old.folder)
    assert export(str(folder), Path(), name="new", replace=True).manifest.name == "new"
    assert Bundle.open(tmp_path / "bundle").manifest.name == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "mlm"]


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if someone, or a pipe, would answer yes: nothing is asked."""
    folder = masked_lm("bert", tmp_path / "mlm")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        export(str(folder), tmp_path / "bundle")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_head_that_cannot_be_screened_is_refused(tmp_path: Path, precision: str) -> None:
    """The manifest never says what the graph is not."""
    folder = masked_lm("bert", tmp_path / "mlm")
    with pytest.raises(CheckpointError, match=f"--head screened is for fp32.*not for {precision}"):
        export(str(folder), tmp_path / "bundle", precision=precision, head="screened")


def test_the_screen_pays_or_is_left_out(tmp_path: Path) -> None:
    """Few candidates: screened. Most of the vocabulary active, as in a model that was never trained: tiled."""
    sparse = masked_lm("bert", tmp_path / "sparse", bias=-40.0)
    dense = masked_lm("bert", tmp_path / "dense", bias=40.0)
    forms = [export(str(folder), tmp_path / f"{folder.name}-bundle").manifest.head for folder in (sparse, dense)]
    assert forms == ["screened", "tiled"]


def test_a_screen_that_does_not_pay_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiled graph is written in its place, and its weights, where they lie apart, are there once."""
    folder = masked_lm("bert", tmp_path / "mlm", bias=-40.0, unused=30_000)
    monkeypatch.setattr("opensearch_splade.onnx_models.saving.LARGEST_GRAPH", 1000)
    tiled = export(str(folder), tmp_path / "tiled", head="tiled")
    monkeypatch.setattr("opensearch_splade.onnx_models.export._Draft._screening_pays", lambda *_: False)
    found = export(str(folder), tmp_path / "found")
    assert found.manifest.head == "tiled"
    assert found.manifest.fingerprint == tiled.manifest.fingerprint


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_a_limit_too_short_for_a_text_is_refused(tmp_path: Path, limit: int) -> None:
    """One line, not a panic of the tokenizer."""
    folder = masked_lm("bert", tmp_path / "mlm")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    with pytest.raises(CheckpointError, match=f"limit of {limit} tokens"):
        export(str(folder), tmp_path / "bundle")
