"""Term layouts: how folders of models that are not plain masked language models are read.

* uniCOIL: a BERT with ``tok_proj``, one weight per input token;
* BGE-M3: an XLM-R with ``sparse_linear.safetensors`` beside it;
* the LSR framework (github.com/thongnt99/learned-sparse-retrieval): ``shared_encoder/`` and ``tokenizer/``, or one
  encoder's folder with a ``tokenizer.json``; its ``config.json`` names norm, activation and pooling but not the
  backbone's shape, which is read from ``backbone/config.json`` in the encoder's folder, or from the folder or hub id
  that ``tf_base_model_name_or_dir`` names;
* SparTerm, for which no published layout exists. Ours is two masked-LM folders and ``sparterm.json``::

      importance/     how much a term weighs: pooled relu of its logits; holds tokenizer.json
      gate/           which terms may be there; literal-only checkpoints have none
      sparterm.json   {"gate": "literal-only" | "expansion-augmented", "threshold": 0.5, "pooling": "sum" | "max"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Activation, Checkpoint, Gate, read_json, read_optional
from opensearch_splade.onnx_models.look import Look

SPARSE_LINEAR = "sparse_linear.safetensors"
SPARSE_LINEAR_PICKLE = "sparse_linear.pt"
SPARTERM = "sparterm.json"
TOK_PROJ = ("coil_encoder.tok_proj.weight", "tok_proj.weight")

_GATES = {"literal-only": False, "expansion-augmented": True}
# (norm, activation) of the LSR framework. Documents take the maximum with zero, so identity is relu.
_LSR_ACTIVATIONS: dict[tuple[str, str], Activation] = {
    ("log1p", "relu"): "log1p",
    ("identity", "relu"): "relu",
    ("log1p", "softplus"): "log1p_softplus",
    ("identity", "softplus"): "softplus",
    ("log1p", "identity"): "log1p",
    ("identity", "identity"): "relu",
}


def read_unicoil(look: Look) -> Checkpoint:
    """A BERT with ``tok_proj`` (arXiv 2106.14807)."""
    return _one_weight_per_token(look.folder, look.transformer, "relu")


def read_bge_m3(look: Look) -> Checkpoint:
    """The sparse side of BGE-M3 (arXiv 2402.03216)."""
    return _one_weight_per_token(look.folder, look.folder, "relu")


def read_lsr_mlp(look: Look) -> Checkpoint:
    """The LSR framework's ``MLP`` encoder: one weight per input token."""
    encoder, config = lsr_encoder(look)
    return _one_weight_per_token(look.folder, encoder, _lsr_activation(encoder, config), _lsr_tokenizer(look, encoder))


def read_lsr_mlm(look: Look) -> Checkpoint:
    """The LSR framework's ``MLM`` encoder: SPLADE that leaves the positions of special tokens out."""
    encoder, config = lsr_encoder(look)
    activation, pooling = _lsr_activation(encoder, config), config.get("pool", "max")
    epic = [name for name in ("term_importance", "doc_quality") if config.get(name, "no") != "no"]
    if epic or pooling not in {"max", "sum"} or "softplus" in activation:
        raise CheckpointError(
            f"{encoder / 'config.json'}: MLM encoders are exported with relu, pooling max or sum, and without EPIC's "
            f"term_importance and doc_quality; found activation {config.get('activation')!r}, pool {pooling!r}"
            f"{', ' + ' and '.join(epic) if epic else ''}."
        )
    return Checkpoint(
        name=look.folder.name,
        folder=look.folder,
        transformer=encoder,
        kind="siamese",
        pooling=pooling,
        activation=activation,
        tokenizer=_lsr_tokenizer(look, encoder),
        pools_special=False,
    )


def read_sparterm(look: Look) -> Checkpoint:
    """Our layout of SparTerm (arXiv 2010.00768): importance, and a gate apart from it."""
    path = look.folder / SPARTERM
    config = read_optional(path)
    mode, pooling, threshold = config.get("gate"), config.get("pooling", "sum"), config.get("threshold", 0.5)
    is_probability = isinstance(threshold, int | float) and 0 < threshold < 1
    if mode not in _GATES or pooling not in {"sum", "max"} or not is_probability:
        raise CheckpointError(
            f"{path} must state gate (literal-only or expansion-augmented), pooling (sum or max) and threshold (above "
            f"0 and below 1); found {config}."
        )
    return Checkpoint(
        name=look.folder.name,
        folder=look.folder,
        transformer=look.folder / "importance",
        kind="siamese",
        pooling=pooling,
        activation="relu",
        gate=Gate(_GATES[mode], float(threshold)),
    )


def lsr_encoder(look: Look) -> tuple[Path, dict[str, Any]]:
    """The LSR framework's document encoder and its ``config.json``; empty where the folder is none of its."""
    shared = look.folder / "shared_encoder"
    is_dual = look.config.get("model_type") == "DualEncoder"
    folder = shared if is_dual and shared.is_dir() else look.folder
    config = read_optional(folder / "config.json")
    return folder, config if "tf_base_model_name_or_dir" in config else {}


def backbone_config(encoder: Path) -> Path | str | None:
    """Where the shape of an LSR encoder's backbone stands: a folder with ``config.json``, or a hub id."""
    if (encoder / "backbone" / "config.json").is_file():
        return encoder / "backbone"
    named = read_optional(encoder / "config.json").get("tf_base_model_name_or_dir")
    if not named:
        return None
    folders = (Path(named), encoder / str(named), encoder.parent / str(named))
    return next((folder for folder in folders if (folder / "config.json").is_file()), str(named))


def _one_weight_per_token(
    folder: Path, transformer: Path, activation: Activation, tokenizer: Path | None = None
) -> Checkpoint:
    return Checkpoint(
        name=folder.name,
        folder=folder,
        transformer=transformer,
        kind="siamese",
        pooling="max",
        activation=activation,
        tokenizer=tokenizer,
        pools_special=False,
    )


def _lsr_activation(encoder: Path, config: dict[str, Any]) -> Activation:
    found = (config.get("norm", "log1p"), config.get("activation", "relu"))
    if found not in _LSR_ACTIVATIONS:
        raise CheckpointError(
            f"{encoder / 'config.json'}: norm {found[0]!r} with activation {found[1]!r} is unknown; norms are log1p "
            "and identity, activations relu, softplus and identity."
        )
    return _LSR_ACTIVATIONS[found]


def _lsr_tokenizer(look: Look, encoder: Path) -> Path:
    return next((path for path in (look.folder / "tokenizer", encoder.parent / "tokenizer") if path.is_dir()), encoder)


def unshared_lsr(look: Look) -> bool:
    """Whether it is an LSR checkpoint whose questions and documents have an encoder each."""
    return look.config.get("model_type") == "DualEncoder" and not look.has("shared_encoder")


def other_lsr(look: Look) -> bool:
    """Whether it is an LSR encoder of another type than MLP and MLM."""
    config = lsr_encoder(look)[1] or look.config
    return config.get("model_type") in {"BINARY", "CLS_MLM", "lsr_epic"}


def is_adapter(look: Look) -> bool:
    """Whether it is a LoRA adapter without its base model."""
    return look.has("adapter_config.json") or read_adapter_base(look.folder) is not None


def read_adapter_base(folder: Path) -> str | None:
    """The base model that a LoRA adapter in ``lora/`` names, as in naver/splade-code-8B."""
    path = folder / "lora" / "adapter_config.json"
    has_weights = any(folder.glob("*.safetensors"))
    return None if has_weights or not path.is_file() else str(read_json(path).get("base_model_name_or_path"))
