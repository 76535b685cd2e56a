"""Families: the registry of what ``export`` takes, in the order in which a folder is compared with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models import layouts, term_layouts, torch_models
from opensearch_splade.onnx_models.checkpoint import Checkpoint
from opensearch_splade.onnx_models.look import Look
from opensearch_splade.onnx_models.term_layouts import SPARSE_LINEAR, SPARSE_LINEAR_PICKLE, SPARTERM, TOK_PROJ

DECODERS = ("gemma2", "llama", "mistral", "qwen2", "qwen3")
_SIAMESE = "the same model, or idf: of a collection"
_SHORTEST = "smallest of sentence_bert_config.json, tokenizer_config.json and config.json; 512 unless --max-length"


@dataclass(frozen=True, slots=True)
class Family:
    """One row.

    Attributes:
        name: For people and for ``Checkpoint.family``.
        examples: Models that belong to it.
        recognised: By what, in words.
        matches: The same as a predicate.
        read: Folder to checkpoint.
        load: Checkpoint to torch model.
        head: What follows a state: ``vocabulary``, ``terms``, ``gated``; ``states`` where nothing does.
        pooling: Over the sequence.
        activation: Where a checkpoint does not state its own, the first.
        special_tokens: What happens to ``[CLS]``, ``<s>`` and the like.
        query_side: How questions get their vectors.
        max_length: Where the limit of tokens comes from.
        paper: arXiv id.
    """

    name: str
    examples: str
    recognised: str
    matches: Callable[[Look], bool]
    read: Callable[[Look], Checkpoint]
    load: torch_models.Loader
    pooling: str
    activation: str
    special_tokens: str
    query_side: str
    paper: str
    head: torch_models.Output = "vocabulary"
    max_length: str = _SHORTEST


@dataclass(frozen=True, slots=True)
class Refusal:
    """A layout that is known and not exported.

    Attributes:
        name: What it is.
        matches: How it is recognised.
        remedy: What to do instead.
    """

    name: str
    matches: Callable[[Look], bool]
    remedy: str


FAMILIES = (
    Family(
        name="bge-m3",
        examples="BAAI/bge-m3",
        recognised=f"{SPARSE_LINEAR} beside config.json, unless --kind dense",
        matches=lambda look: look.has(SPARSE_LINEAR) and not look.dense,
        read=term_layouts.read_bge_m3,
        load=torch_models.load_bge_m3,
        head="terms",
        pooling="max over repeats of a token",
        activation="relu",
        special_tokens="dropped",
        query_side=_SIAMESE,
        paper="2402.03216",
    ),
    Family(
        name="sparterm",
        examples="none published; the layout is ours",
        recognised=f"{SPARTERM} beside importance/ and gate/",
        matches=lambda look: look.has(SPARTERM),
        read=term_layouts.read_sparterm,
        load=torch_models.load_gated,
        head="gated",
        pooling="sum or max, as stated",
        activation="relu, then the gate",
        special_tokens="dropped; their positions are pooled",
        query_side=_SIAMESE,
        paper="2010.00768",
    ),
    Family(
        name="lsr-mlp",
        examples="LSR framework: DeepCT, uniCOIL, DeepImpact presets",
        recognised="model_type MLP with tf_base_model_name_or_dir, at the root or in shared_encoder/",
        matches=lambda look: term_layouts.lsr_encoder(look)[1].get("model_type") == "MLP",
        read=term_layouts.read_lsr_mlp,
        load=torch_models.load_lsr_mlp,
        head="terms",
        pooling="max over repeats of a token",
        activation="norm and activation as stated",
        special_tokens="dropped",
        query_side=_SIAMESE,
        paper="2303.13416",
    ),
    Family(
        name="lsr-mlm",
        examples="LSR framework: SPLADE presets",
        recognised="model_type MLM with tf_base_model_name_or_dir, at the root or in shared_encoder/",
        matches=lambda look: term_layouts.lsr_encoder(look)[1].get("model_type") == "MLM",
        read=term_layouts.read_lsr_mlm,
        load=torch_models.load_lsr_mlm,
        pooling="max or sum, as stated",
        activation="norm and activation as stated",
        special_tokens="dropped; their positions are not pooled",
        query_side=_SIAMESE,
        paper="2303.13416",
    ),
    Family(
        name="dense",
        examples="sentence-transformers/all-MiniLM-L6-v2",
        recognised="modules.json with Pooling",
        matches=Look.is_dense,
        read=layouts.read_dense,
        load=torch_models.load_dense,
        head="states",
        pooling="mean or cls, as stated",
        activation="none",
        special_tokens="pooled",
        query_side="the same model",
        paper="1908.10084",
    ),
    Family(
        name="unicoil",
        examples="castorini/unicoil-msmarco-passage",
        recognised="a weight called tok_proj.weight, maybe after coil_encoder.",
        matches=lambda look: bool(look.tensors & set(TOK_PROJ)),
        read=term_layouts.read_unicoil,
        load=torch_models.load_unicoil,
        head="terms",
        pooling="max over repeats of a token",
        activation="relu",
        special_tokens="dropped",
        query_side=_SIAMESE,
        paper="2106.14807",
    ),
    Family(
        name="gte",
        examples="opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
        recognised="model_type new",
        matches=lambda look: look.model_type == "new",
        read=layouts.read_sparse,
        load=torch_models.load_gte,
        pooling="max or sum, as stated",
        activation="as stated, else log1p",
        special_tokens="dropped; their positions are pooled",
        query_side="idf.json or a Router's table; else the same model",
        paper="2504.14839",
    ),
    Family(
        name="decoder",
        examples="utahnlp/laconic-1b, naver/splade-code-06B, Mistral-SPLADE",
        recognised="architecture ...ForCausalLM with modules.json, or with --attention",
        matches=lambda look: look.architecture.endswith("ForCausalLM"),
        read=layouts.read_decoder,
        load=torch_models.load_decoder,
        pooling="max or sum, as stated; of an echo, the second copy",
        activation="as stated, else log1p",
        special_tokens="dropped; --no-special-tokens leaves them out of the text too",
        query_side="the same model; prefixes as stated or given",
        paper="2408.11119",
    ),
    Family(
        name="modernbert",
        examples="tomaarsen/splade-modernbert-base-miriad",
        recognised="model_type modernbert",
        matches=lambda look: look.model_type == "modernbert",
        read=layouts.read_sparse,
        load=torch_models.load_masked_lm,
        pooling="max or sum, as stated",
        activation="as stated, else log1p",
        special_tokens="dropped; their positions are pooled",
        query_side="idf.json or a Router's table; else the same model",
        paper="2412.13663",
    ),
    Family(
        name="masked-lm",
        examples="naver/splade-v3, granite-embedding-30m-sparse, opensearch doc-v2, doc-v3 and multilingual",
        recognised="any other folder that AutoModelForMaskedLM loads: BERT, DistilBERT, RoBERTa, XLM-R, MPNet, ELECTRA",
        matches=lambda _: True,
        read=layouts.read_sparse,
        load=torch_models.load_masked_lm,
        pooling="max or sum, as stated",
        activation="as stated, else log1p",
        special_tokens="dropped; their positions are pooled",
        query_side="idf.json or a Router's table; else the same model",
        paper="2109.10086",
    ),
)

REFUSALS = (
    Refusal(
        "a LoRA adapter without its base model",
        term_layouts.is_adapter,
        "merge it once: peft.AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(out), "
        "and save the base model's tokenizer into the same folder",
    ),
    Refusal(
        f"a BGE-M3 checkpoint whose {SPARSE_LINEAR_PICKLE} is a pickle, which is never loaded",
        lambda look: look.has(SPARSE_LINEAR_PICKLE) and not look.has(SPARSE_LINEAR) and not look.dense,
        "convert it once: safetensors.torch.save_file(torch.load('sparse_linear.pt', weights_only=True), "
        f"'{SPARSE_LINEAR}'); or give --kind dense",
    ),
    Refusal(
        "a two-encoder checkpoint (Efficient SPLADE, arXiv 2207.03834): questions have a model of their own",
        layouts.two_encoders,
        "export the document encoder's folder with --query-weights idf:COLLECTION, which needs no query model",
    ),
    Refusal(
        "a SPLADE-v3-Lexical checkpoint (arXiv 2403.06789): questions are encoded and then cut to their own tokens",
        layouts.lexical_queries,
        "export naver/splade-v3, or the document encoder's folder with --query-weights idf:COLLECTION",
    ),
    Refusal(
        "an LSR checkpoint with two encoders, query_encoder and doc_encoder",
        term_layouts.unshared_lsr,
        "export its doc_encoder folder with --query-weights idf:COLLECTION, or binary where query_encoder is BINARY",
    ),
    Refusal(
        "an LSR encoder of another type than MLP and MLM",
        term_layouts.other_lsr,
        "of a two-encoder checkpoint, export the doc_encoder folder",
    ),
    Refusal(
        "a DeepImpact checkpoint (arXiv 2104.12016), whose terms are whole words outside the tokenizer's vocabulary",
        lambda look: any("impact_score_encoder." in name for name in look.tensors),
        "use a uniCOIL or LSR MLP checkpoint, whose terms are tokens",
    ),
    Refusal(
        "a model with code of its own (model_type splade), which is never run",
        lambda look: look.model_type == "splade",
        "use the newer revision of that checkpoint, in sentence-transformers' layout",
    ),
    Refusal(
        f"a decoder of another architecture than {', '.join(DECODERS)}",
        lambda look: look.architecture.endswith("ForCausalLM") and look.model_type not in DECODERS,
        "choose a checkpoint of one of these",
    ),
)


def recognise(look: Look) -> Checkpoint:
    """The checkpoint in a folder, by the first family that matches.

    Raises:
        CheckpointError: It is a layout that is refused, or does not hold what its family needs.
    """
    for refusal in REFUSALS:
        if refusal.matches(look):
            raise CheckpointError(f"{look.folder} is {refusal.name}; {refusal.remedy}.")
    found = next(family for family in FAMILIES if family.matches(look))
    return replace(found.read(look), family=found.name)


def family_of(checkpoint: Checkpoint) -> Family:
    """The row of a checkpoint."""
    return next(family for family in FAMILIES if family.name == checkpoint.family)
