"""Encoders without a vocabulary head: they are given one that begins with a text's own words, and is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import LENGTH, WORDS, dense_encoder, masked_lm
from click.testing import CliRunner
from family_checkpoints import encoder

from opensearch_splade.cli.main import main
from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.parity import parity_texts
from opensearch_splade.training.tied_head import START_TERMS, add_tied_head, needs_head
from opensearch_splade.training.trainable import TrainableEncoder

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]


def headless(kind: str, folder: Path) -> Path:
    """The body of a masked language model, saved without its head; of some real words."""
    from transformers import AutoModel, AutoTokenizer

    whole = encoder(kind, folder / "whole", spread=0.1).folder
    AutoModel.from_pretrained(whole).save_pretrained(folder / "body")
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder / "body")
    return folder / "body"


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "mpnet", "electra", "modernbert"])
def test_a_head_is_added_and_exported(kind: str, tmp_path: Path) -> None:
    """An ordinary checkpoint: tied, trainable, and its bundle gives what the trainable encoder does."""
    folder = headless(kind, tmp_path)
    assert needs_head(str(folder))
    assert not needs_head(str(tmp_path / "whole"))
    add_tied_head(str(folder), tmp_path / "headed")
    assert not needs_head(str(tmp_path / "headed"))
    trained = TrainableEncoder(str(tmp_path / "headed"), LENGTH)
    assert not [name for name in trained.parameters() if name == "projection.weight"], "the decoder is tied"
    texts = ["read a csv file", "wait until threads finish running"]
    trained(trained.tokenizer.encode(texts)).sum().backward()
    trained.save(tmp_path / "saved")
    bundle = export_bundle(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(max_length=LENGTH))
    found, expected = SparseEncoder.load(bundle.folder).encode_documents(texts), trained.encode(texts)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-4)


@pytest.mark.collections
def test_the_head_begins_with_the_words_of_the_text(models_dir: Path, tmp_path: Path) -> None:
    """A real body: most of a passage's strongest terms are its own words; about as many as wanted; always the same."""
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(models_dir / "splade-tiny").save_pretrained(tmp_path / "body")
    AutoTokenizer.from_pretrained(models_dir / "splade-tiny").save_pretrained(tmp_path / "body")
    for name in ("headed", "again"):
        add_tied_head(str(tmp_path / "body"), tmp_path / name)
    trained = TrainableEncoder(str(tmp_path / "headed"), 64)
    texts = [text for text in parity_texts() if len(text) > 300]
    vectors = trained.encode(texts)
    own: list[float] = []
    for ids, (terms, weights) in zip(trained.tokenizer.encode(texts, special=False), vectors, strict=True):
        strongest = terms[np.argsort(-weights)[:10]]
        own.append(len(set(strongest.tolist()) & set(ids)) / 10)
    assert np.mean(own) > 0.6
    assert START_TERMS / 2 < len(vectors.weights) / len(texts) < START_TERMS * 2
    again = TrainableEncoder(str(tmp_path / "again"), 64).parameters()
    assert all(bool((value == again[name]).all()) for name, value in trained.parameters().items())


def test_a_dense_encoder_is_adapted_by_the_command(tmp_path: Path) -> None:
    """Its folder is all that is needed; the plan says that a head is added, and the bundle is sparse."""
    body = masked_lm("bert", tmp_path / "bert")
    dense_encoder(body, tmp_path / "dense", pooling="mean", normalize=True)
    lines = [{"_id": str(one), "title": f"number {one}", "text": text} for one, text in enumerate(_documents())]
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    call = ["adapt", str(tmp_path / "docs.jsonl"), "--bundle", "splade-tiny-idf", "--out", str(tmp_path / "new")]
    call += ["--checkpoint", str(tmp_path / "dense"), "--teacher", "bm25", "--steps", "2"]
    planned = CliRunner().invoke(main, [*call, "--dry-run"])
    assert "no vocabulary head: one tied to its word embeddings is added" in planned.output
    assert not (tmp_path / "new.training").exists()
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "int8 would differ too much" in done.output, "random weights do not bear it"
    manifest = SparseEncoder.load(tmp_path / "new").bundle.manifest
    assert (manifest.family, manifest.max_length, manifest.precision) == ("masked-lm", LENGTH, "fp32")
    assert manifest.origin.checkpoint == "dense with a head added, adapted by osplade adapt"


def _documents() -> list[str]:
    words: Any = np.random.default_rng(4)
    known = WORDS[7:40]
    return [" ".join(words.choice(known, 24)) + " ." for _ in range(60)]
