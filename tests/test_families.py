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
from checkpoints import TEXTS, masked_lm, sparse_encoder
from family_checkpoints import Case, decoder, dense, echoed, encoder, lsr_mlm, sparterm, terms
from gte_checkpoint import gte
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import BundleError, CheckpointError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.expansion import with_expansion
from opensearch_splade.onnx_models.families import FAMILIES, family_of
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
    manifest = one.bundle.manifest
    row = next(family for family in FAMILIES if family.name == CASES[name][0])
    assert (manifest.family, manifest.head is None) == (row.name, row.head in {"terms", "states"})
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
@few
@given(texts=st.lists(any_text, min_size=1, max_size=3), data=st.data())
def test_a_passage_is_pooled_over_its_own_tokens_of_the_whole_text(
    exported: Callable[[str], Exported], name: str, texts: list[str], data: st.DataObject
) -> None:
    """Law 1 for spans of a long text: states of the whole, weights of the part. A gate or a sum refuses."""
    one = exported(name)
    texts = [*texts, TEXTS[-1]]
    ids = one.encoder.tokenizer.encode(texts)
    bounds = [data.draw(st.lists(st.tuples(*[st.integers(0, len(own))] * 2), max_size=4)) for own in ids]
    spans = [
        [(0, len(own)), *((min(pair), max(pair)) for pair in pairs)] for own, pairs in zip(ids, bounds, strict=True)
    ]
    if name.startswith("sparterm"):
        with pytest.raises(BundleError, match="cannot pool passages"):
            list(one.encoder.stream_passages(zip(ids, spans, strict=True)))
        return
    found = list(one.encoder.stream_passages(zip(ids, spans, strict=True)))
    assert list(map(len, found)) == list(map(len, spans))
    for own, rows, pairs in zip(ids, found, spans, strict=True):
        scores = one.case.oracle(own).astype(np.float64) if own else np.zeros((0, 1))
        for (token_ids, weights), (start, end) in zip(rows, pairs, strict=True):
            row = np.zeros(len(one.encoder.vocabulary))
            row[token_ids] = weights
            expected = one._book(own[start:end], scores[start:end]) if start < end else np.zeros_like(row)
            np.testing.assert_allclose(row, expected, atol=TOLERANCE)


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


@pytest.mark.parametrize(("name", "sees_ahead"), [("qwen2", True), ("laconic", True), ("mistral", False)])
def test_a_later_token_changes_an_earlier_state_only_where_attention_is_bidirectional(
    exported: Callable[[str], Exported], name: str, sees_ahead: bool
) -> None:
    """The graph's states before the head: of two texts that differ in their last token alone."""
    import onnx
    import onnxruntime

    model = onnx.load(exported(name).bundle.model)
    states = next(node.output[0] for node in model.graph.node if node.output[0] == "states")
    model.graph.output.append(onnx.helper.make_tensor_value_info(states, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([[7, 9, 11, 13], [7, 9, 11, 200]])
    (found,) = session.run([states], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert (np.abs(found[0, 0] - found[1, 0]).max() > 1e-3) == sees_ahead
    assert np.abs(found[0, 3] - found[1, 3]).max() > 1e-3


def test_prefixes_and_special_tokens_are_the_manifests(exported: Callable[[str], Exported]) -> None:
    """The tokenizer joins them as Transformers would; documents and questions differ, and so do their vectors."""
    from family_checkpoints import decoder_tokenizer

    one = exported("laconic")
    expected = decoder_tokenizer()(["passage: a file", "query: a file"], add_special_tokens=False).input_ids
    tokenizer = one.encoder.tokenizer
    assert [tokenizer.encode(["a file"])[0], tokenizer.encode(["a file"], query=True)[0]] == expected
    query = one.encoder.encode_query("a file")
    assert query != one.encoder.features(*one.encoder.encode_documents(["a file"]).row(0))
    (row,) = one.encoder.encode_queries(["a file"])
    assert query == pytest.approx(one.encoder.features(*row))


def test_prompts_of_sentence_transformers_are_read(tmp_path: Path) -> None:
    """A checkpoint that states prompts was trained with them; sentence-transformers applies them, and so do we."""
    from opensearch_splade.onnx_models.export import export_bundle

    model = sparse_encoder(masked_lm("bert", tmp_path / "mlm"), pooling="max", activation="relu")
    model.prompts = {"query": "what is ", "document": "the file : "}
    model.save_pretrained(str(tmp_path / "st"))
    encoder = SparseEncoder.load(export_bundle(str(tmp_path / "st"), tmp_path / "out").folder)
    ask, read = encoder.encode_queries, encoder.encode_documents
    for ours, theirs in ((ask, model.encode_query), (read, model.encode_document)):
        expected = theirs(["read a csv file"]).to_dense().numpy()[0]
        expected[encoder.vocabulary.dropped_ids] = 0
        found = np.zeros_like(expected)
        ids, weights = ours(["read a csv file"]).row(0)
        found[ids] = weights
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_pickle_is_converted_by_the_line_that_the_error_gives(tmp_path: Path) -> None:
    """The remedy is run as it stands, on a uniCOIL folder as the hub has them."""
    import safetensors.torch
    import torch

    folder = terms(tmp_path / "unicoil", kind="bert", layout="unicoil").folder
    torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    checkpoint = open_checkpoint(str(folder))
    with pytest.raises(CheckpointError, match="Pickled weights") as caught:
        family_of(checkpoint).load(checkpoint)
    line = str(caught.value).partition("convert them once: ")[2].rstrip(".")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(line, {"safetensors": safetensors, "torch": torch})  # noqa: S102 - our own error message
    assert open_checkpoint(str(folder)).family == "unicoil"


def test_bge_m3_is_dense_where_that_is_wanted(tmp_path: Path) -> None:
    """One checkpoint, two kinds: ``--kind dense`` reads its modules."""
    folder = dense(tmp_path).folder
    (folder / "sparse_linear.pt").write_bytes(b"")
    assert open_checkpoint(str(folder), dense=True).kind == "dense"


def test_families_are_listed() -> None:
    """The registry as the command prints it, for people and for machines."""
    from click.testing import CliRunner

    from opensearch_splade.cli.main import main

    shown = CliRunner().invoke(main, ["families"]).output
    said = json.loads(CliRunner().invoke(main, ["families", "--json"]).output)
    assert [row["name"] for row in said["families"]] == [family.name for family in FAMILIES]
    assert all(row["name"] in shown and row["paper"] in shown for row in said["families"])
    assert all(row["remedy"] for row in said["refused"])


def test_the_prompt_is_part_of_the_fingerprint(exported: Callable[[str], Exported]) -> None:
    """What decides document vectors: the documents' prefix, not that of questions."""
    from opensearch_splade.onnx_models.bundle import fingerprint

    manifest = exported("laconic").bundle.manifest
    assert manifest.prompt is not None
    other = {
        name: manifest.model_copy(update={"prompt": manifest.prompt.model_copy(update={name: "x: "})})
        for name in ("document", "query")
    }
    assert fingerprint(other["document"]) != manifest.fingerprint == fingerprint(other["query"])


@pytest.mark.parametrize("name", ["electra", "lsr-mlm", "sparterm", "unicoil", "qwen2"])
def test_fp16_keeps_direction(tmp_path: Path, exported: Callable[[str], Exported], name: str) -> None:
    """Half precision in the body; what follows the head's maxima is float32."""
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    case = exported(name).case
    bundle = export_bundle(str(case.folder), tmp_path / "out", ExportOptions(precision="fp16", **case.options))
    found, expected = Exported(case, bundle).vectors(TEXTS), exported(name).vectors(TEXTS)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(1)[norms > 0] / norms[norms > 0]).min() > 0.999
    import onnx

    nodes = onnx.load(bundle.model).graph.node
    halved = {node.output[0] for node in nodes if node.name.endswith("_cast_to_fp16_node")}
    assert not [node.name for node in nodes if node.op_type in {"Log", "Relu"} and set(node.input) & halved]


def test_expansion_terms_are_read_after_the_text(exported: Callable[[str], Exported]) -> None:
    """Only those that bring something new; they then weigh like any other token."""
    one = exported("lsr-mlp")
    text = with_expansion("read a file", ["csv", "read", "json", "csv"], one.encoder.tokenizer)
    assert text == "read a file [SEP] csv json"
    assert with_expansion("read a file", ["read"], one.encoder.tokenizer) == "read a file"
    assert {"csv", "json", "read"} <= one.encoder.features(*one.encoder.encode_documents([text]).row(0)).keys()


def _router(folder: Path, query: list[str]) -> None:
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "x.Router"}]))
    routes = {"query": query, "document": ["d_MLMTransformer", "d_SpladePooling"]}
    types = {name: f"x.{name.partition('_')[2]}" for names in routes.values() for name in names}
    (folder / "router_config.json").write_text(json.dumps({"types": types, "structure": routes}))


def _config(folder: Path, **config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "lora": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge_and_unload"),
    "pickle": (lambda folder: (folder / "sparse_linear.pt").write_bytes(b""), "weights_only=True"),
    "two encoders": (lambda folder: _router(folder, ["q_MLMTransformer", "q_SpladePooling"]), "Efficient SPLADE"),
    "lexical": (
        lambda folder: _router(folder, ["q_MLMTransformer", "q_SpladePooling", "q_SparseStaticEmbedding"]),
        "SPLADE-v3-Lexical",
    ),
    "lsr": (lambda folder: _config(folder, model_type="DualEncoder", shared=False), "doc_encoder"),
    "binary": (lambda folder: _config(folder, model_type="BINARY"), "another type than MLP and MLM"),
    "code": (lambda folder: _config(folder, model_type="splade"), "code of its own"),
    "phi": (lambda folder: _config(folder, model_type="phi", architectures=["PhiForCausalLM"]), "gemma2, llama"),
    "gate": (lambda folder: (folder / "sparterm.json").write_text('{"gate": "ajar"}'), "literal-only"),
    "epic": (
        lambda folder: _config(folder, model_type="MLM", tf_base_model_name_or_dir="x", doc_quality="yes"),
        "EPIC",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_to_do(tmp_path: Path, name: str) -> None:
    """One sentence: what it is, and the remedy."""
    make, message = REFUSED[name]
    make(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing in it says that it is a sparse encoder"),
        ({"attention": "causal", "echo": "{text}"}, "exactly twice"),
        ({"attention": "causal", "echo": "{text} {text}"}, "same space"),
        ({"attention": "causal", "echo": "{text}{text}", "query_prefix": "query: "}, "cannot be combined"),
    ],
)
def test_decoders_are_not_guessed(
    tmp_path: Path, exported: Callable[[str], Exported], options: dict[str, Any], message: str
) -> None:
    """A wrong mask or prompt ranks plausibly and would never be noticed."""
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    with pytest.raises(CheckpointError, match=message):
        export_bundle(str(exported("mistral").case.folder), tmp_path / "out", ExportOptions(**options))
    with pytest.raises(CheckpointError, match="no head to be screened"):
        export_bundle(str(exported("unicoil").case.folder), tmp_path / "out", ExportOptions(head="screened"))
    with pytest.raises(CheckpointError, match="no decoder"):
        export_bundle(str(exported("gte").case.folder), tmp_path / "out", ExportOptions(attention="causal"))


@pytest.mark.parametrize(
    "change", [{"rope_scaling": {"type": "yarn"}}, {"logn_attention_scale": True}, {"hidden_act": "relu"}]
)
def test_gte_does_not_compute_what_it_does_not_know(tmp_path: Path, change: dict[str, Any]) -> None:
    """A config value that would give other numbers is refused."""
    folder = gte(tmp_path / "gte").folder
    _config(folder, **json.loads((folder / "config.json").read_text()) | change)
    checkpoint = open_checkpoint(str(folder))
    with pytest.raises(CheckpointError, match=f"{next(iter(change))}.* of GTE is not supported"):
        family_of(checkpoint).load(checkpoint)


GOLDEN = {
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill": (
        17.5307,
        {"ny": 1.4109, "weather": 1.4673, "now": 0.7473},
    ),
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill": (
        11.1105,
        {"ny": 0.8049, "weather": 0.9710, "now": 0.4720, "?": 0.0286, "what": 0.0787, "in": 0.0417},
    ),
}


@pytest.mark.hub
@pytest.mark.parametrize("name", GOLDEN)
def test_published_models_give_their_published_numbers(tmp_path: Path, name: str) -> None:
    """The figures of sentence-transformers' own slow tests, 1e-3 each."""
    from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

    try:
        bundle = export_bundle(name, tmp_path / "out", ExportOptions(max_length=128))
    except CheckpointError as error:
        if "cannot be downloaded" not in str(error):
            raise
        pytest.skip(f"{name} cannot be downloaded: the Hugging Face hub is out of reach")
    encoder = SparseEncoder.load(bundle.folder)
    query = encoder.encode_query("What's the weather in ny now?")
    document = encoder.features(*encoder.encode_documents(["Currently New York is rainy."]).row(0))
    score, parts = GOLDEN[name]
    assert {token: document[token] for token in parts} == pytest.approx(parts, abs=1e-3)
    assert sum(weight * document.get(token, 0) for token, weight in query.items()) == pytest.approx(score, rel=0.01)
