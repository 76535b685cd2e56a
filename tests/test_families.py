"""Every family of the registry: laws 1, 2 and 4 on small random checkpoints of the published layouts, any unicode."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from checkpoints import TEXTS
from family_checkpoints import Case, decoder, dense, echoed, encoder, lsr_mlm, sparterm, terms
from gte_checkpoint import gte
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.families import FAMILIES
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.parity import TOLERANCE

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]

LACONIC = {"query_prefix": "query: ", "document_prefix": "passage: ", "add_special_tokens": False}
ECHO = "read: {text}, again: {text}"
TABLE = {"csv": 2.5, "read": 0.75, "[CLS]": 9.0}


def gte_with_table(folder: Path) -> Case:
    """Inference-free, as the OpenSearch model."""
    case = gte(folder)
    (folder / "idf.json").write_text(json.dumps(TABLE))
    return case


def echo(folder: Path) -> Case:
    """What stands around the copies is tokenised by Transformers."""
    from family_checkpoints import decoder_tokenizer

    tokenizer = decoder_tokenizer()
    before, between = (tokenizer(part).input_ids for part in ("read:", ", again:"))
    return echoed(decoder("qwen3", folder, attention="causal", echo=ECHO), before, between[1:])


CASES: dict[str, tuple[str, Callable[[Path], Case]]] = {
    "mpnet": ("masked-lm", partial(encoder, "mpnet")),
    "electra": ("masked-lm", partial(encoder, "electra")),
    "xlm-roberta": ("masked-lm", partial(encoder, "xlm-roberta")),
    "modernbert": ("modernbert", partial(encoder, "modernbert")),
    "gte": ("gte", gte_with_table),
    "gte-unpacked": ("gte", partial(gte, packed=False, factor=None, token_types=1)),
    "laconic": ("decoder", partial(decoder, "llama", attention="bidirectional", **LACONIC)),
    "echo": ("decoder", echo),
    "qwen2": ("decoder", partial(decoder, "qwen2", attention="bidirectional")),
    "mistral": ("decoder", partial(decoder, "mistral", attention="causal")),
    "gemma2": ("decoder", partial(decoder, "gemma2", attention="bidirectional")),
    "unicoil": ("unicoil", partial(terms, kind="bert", layout="unicoil")),
    "bge-m3": ("bge-m3", partial(terms, kind="xlm-roberta", layout="bge-m3")),
    "lsr-mlp": ("lsr-mlp", partial(terms, kind="bert", layout="lsr")),
    "lsr-mlm": ("lsr-mlm", lsr_mlm),
    "sparterm": ("sparterm", partial(sparterm, gate="expansion-augmented")),
    "sparterm-literal": ("sparterm", partial(sparterm, gate="literal-only")),
    "dense": ("dense", dense),
}
SPARSE = [name for name in CASES if name != "dense"]
any_text = st.lists(st.one_of(st.text(st.characters(), max_size=20), st.sampled_from(TEXTS)), max_size=4).map(" ".join)
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


class Exported:
    """One checkpoint of a family, exported once for all tests."""

    def __init__(self, case: Case, bundle: Bundle) -> None:
        self.case = case
        self.bundle = bundle
        kind = DenseEncoder if bundle.manifest.kind == "dense" else SparseEncoder
        self.encoder: Any = kind.load(bundle.folder)

    def vectors(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Shape ``(texts, columns)``."""
        if isinstance(self.encoder, DenseEncoder):
            return self.encoder.encode(texts)
        out = np.zeros((len(texts), len(self.encoder.vocabulary)), np.float32)
        for row, (ids, weights) in zip(out, self.encoder.encode_documents(texts), strict=True):
            row[ids] = weights
        return out

    def expected(self, text: str) -> npt.NDArray[np.floating]:
        """The vector by the oracle and the textbook."""
        (ids,) = self.encoder.tokenizer.encode([text])
        if not ids:
            return np.zeros(self.bundle.manifest.dimension)
        scores = self.case.oracle(ids)
        return scores if scores.ndim == 1 else self._book(ids, scores.astype(np.float64))

    def _book(self, ids: list[int], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        manifest = self.bundle.manifest
        weights = np.log1p(np.exp(scores)) if "softplus" in str(manifest.activation) else np.maximum(scores, 0)
        weights = np.log1p(weights) if "log1p" in str(manifest.activation) else weights
        special = set(self.encoder.tokenizer.special_ids)
        if manifest.family == "lsr-mlm":
            weights = weights * [[token not in special] for token in ids]
        if self.case.vocabulary:
            found = np.zeros(self.case.vocabulary)
            np.maximum.at(found, ids, weights[:, 0])
        else:
            found = weights.sum(0) if manifest.pooling == "sum" else weights.max(0)
        if manifest.family == "sparterm":
            passes = np.isin(np.arange(len(found)), ids)
            if self.case.gate:
                passes |= 1 / (1 + np.exp(-self.case.gate(ids).max(0))) > 0.9
            found = found * passes
        found[self.encoder.vocabulary.dropped_ids] = 0
        return found


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Checkpoints by the name of their case, exported when first asked for."""
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    made: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            case = CASES[name][1](folder / "checkpoint")
            made[name] = Exported(case, export_bundle(str(case.folder), folder / "out", ExportOptions(**case.options)))
        return made[name]

    return get


def test_every_family_has_a_case() -> None:
    """What is registered is tested."""
    assert {family for family, _ in CASES.values()} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("name", CASES)
@few
@given(text=any_text)
def test_export_equals_an_independent_forward_pass(exported: Callable[[str], Exported], name: str, text: str) -> None:
    """Law 1: within 1e-4 of Transformers, or of plain numpy where Transformers has no such model."""
    one = exported(name)
    assert one.bundle.manifest.family == CASES[name][0]
    np.testing.assert_allclose(one.vectors([text])[0], one.expected(text), atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
@few
@given(texts=st.lists(any_text, min_size=1, max_size=4))
def test_a_vector_does_not_depend_on_its_neighbours(
    exported: Callable[[str], Exported], name: str, texts: list[str]
) -> None:
    """Law 2: alone, in a batch and padded."""
    one = exported(name)
    together = one.vectors([*texts, TEXTS[-1]])
    alone = np.concatenate([one.vectors([text]) for text in texts])
    np.testing.assert_allclose(together[:-1], alone, atol=2e-5)


@pytest.mark.parametrize("name", SPARSE)
def test_vectors_say_something(exported: Callable[[str], Exported], name: str) -> None:
    """Zeros would equal zeros: each family has features, and some texts differ."""
    found = exported(name).vectors(TEXTS)
    assert (found > 0).sum() > 15
    assert not np.allclose(found[0], found[1], atol=1e-3)


@few
@given(text=any_text)
def test_inference_free_questions_load_no_model(exported: Callable[[str], Exported], text: str) -> None:
    """Law 4: a table answers."""
    encoder = SparseEncoder.load(exported("gte").bundle.folder)
    words = {token for token in ("csv", "read") if encoder.tokenizer.vocabulary[token] in _bare(encoder, text)}
    assert encoder.encode_query(text) == {word: TABLE[word] for word in sorted(words, key=lambda w: -TABLE[w])}
    assert "_session" not in vars(encoder)


def _bare(encoder: SparseEncoder, text: str) -> list[int]:
    return encoder.tokenizer.encode([text], special=False)[0]
