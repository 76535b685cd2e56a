"""Bundle: an exported, self-describing, hash-checked model folder.

::

    model.onnx           the graph: input_ids, attention_mask -> weights (or embedding)
    model.onnx.data      its weights, where they do not fit one file of 2 GiB
    tokenizer.json       Hugging Face fast tokenizer
    query_weights.json   {feature: weight}, inference-free bundles only
    bundle.json          the manifest: what this is, where it comes from, the sha256 of every file above
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.checkpoint import Activation, Attention, Kind, Pooling
from opensearch_splade.onnx_models.prompt import Prompt

MANIFEST = "bundle.json"
MODEL = "model.onnx"
WEIGHTS = "model.onnx.data"
TOKENIZER = "tokenizer.json"
QUERY_WEIGHTS = "query_weights.json"

_SHIPPED = Path(str(files("opensearch_splade.onnx_models"))) / "bundles"

Precision = Literal["fp32", "fp16", "int8"]
HeadForm = Literal["tiled", "screened"]
"""How a sparse graph finds the maximum over the sequence; both give the same weights (``tiles``, ``screening``)."""
TableKind = Literal["checkpoint", "idf", "bm25", "table", "binary"]
"""Kind of a query-weight table. ``bm25`` weighs a token by how often it stands in the query too, the others do not."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Record):
    """Where the weights come from."""

    checkpoint: str
    revision: str | None = None
    licence: str | None = None


class Parity(_Record):
    """How far the graph was from the torch reference on real text when it was exported.

    Attributes:
        texts: Number of texts compared.
        max_abs_error: Largest absolute difference of any output.
        min_cosine: Smallest cosine between a text's exported and reference vector.
    """

    texts: int
    max_abs_error: float
    min_cosine: float


class Manifest(_Record):
    """The content of ``bundle.json``.

    Attributes:
        head: Form of a sparse graph's head.
        tile: Columns of the vocabulary that it takes at a time.
        dimension: Width of the output: vocabulary size (sparse) or embedding size (dense).
        activation_stated: Whether the checkpoint (or who exported it) said so; else it is the SPLADE papers'.
        max_length: Tokens a text is truncated to, special tokens included.
        special_tokens: Tokens that never become a feature.
        family: Row of the registry that the checkpoint was recognised by (``osplade families``).
        attention: Of decoders.
        prompt: What stands around texts, where anything does.
        query_weights: Kind of an inference-free bundle's table: the checkpoint's own, ``idf`` of a corpus, ``bm25``
            (idf that saturates with the query's own term frequency), a ``table`` the user gave, or ``binary``.
        fingerprint: Hash of everything that decides document vectors. Query weights are left out on purpose: they
            change which stored vectors a question likes, not the vectors, so a siamese bundle and an inference-free one
            made of the same model may ask the same index.
        plain: sha256 of ``model.onnx`` as it is without the input ``passages``, which changes no document's vector;
            ``None`` where the graph has no such input.
        files: sha256 of every other file, by name.
    """

    format: Literal[2] = 2
    name: str
    kind: Kind
    precision: Precision
    pooling: Pooling
    activation: Activation | None
    activation_stated: bool
    normalize: bool
    head: HeadForm | None
    tile: int | None
    opset: int
    dimension: Annotated[int, Field(gt=0)]
    max_length: Annotated[int, Field(gt=2)]
    special_tokens: list[str]
    family: str | None = None
    attention: Attention | None = None
    prompt: Prompt | None = None
    query_weights: TableKind | None = None
    origin: Origin
    parity: Parity
    fingerprint: str
    plain: str | None = None
    files: dict[str, str]


class Bundle:
    """A bundle folder whose every file was checked against its manifest.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def model(self) -> Path:
        """The ONNX graph."""
        return self.folder / MODEL

    @property
    def size(self) -> int:
        """Bytes of the graph and its weights."""
        return sum((self.folder / name).stat().st_size for name in (MODEL, WEIGHTS) if name in self.manifest.files)

    @property
    def tokenizer(self) -> Path:
        """The tokenizer file."""
        return self.folder / TOKENIZER

    @property
    def query_weights(self) -> Path | None:
        """The query-weight table, inference-free bundles only."""
        return self.folder / QUERY_WEIGHTS if QUERY_WEIGHTS in self.manifest.files else None

    @classmethod
    def open(cls, name: str | Path) -> Bundle:
        """Opens and checks a bundle folder, or a shipped bundle by its name.

        Raises:
            BundleError: It is missing, foreign, damaged, or of a newer format; says which file and why.
        """
        folder = _locate(name)
        manifest = _manifest(folder)
        for file, expected in manifest.files.items():
            _check(folder, file, expected)
        if missing := {MODEL, TOKENIZER} - manifest.files.keys():
            raise BundleError(f"{folder / MANIFEST} does not name {' and '.join(sorted(missing))}: it is damaged.")
        if manifest.fingerprint != fingerprint(manifest):
            raise BundleError(
                f"{folder / MANIFEST} was edited: its fingerprint {manifest.fingerprint} is not that of its content, "
                f"{fingerprint(manifest)}. Export the checkpoint again with the options you want."
            )
        return cls(folder, manifest)


def shipped() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MANIFEST}"))


def shipped_with(fingerprint: str) -> dict[Path, Kind]:
    """Shipped bundles whose document vectors have this fingerprint: folder to kind."""
    manifests = {_SHIPPED / name: _manifest(_SHIPPED / name) for name in shipped()}
    return {folder: one.kind for folder, one in manifests.items() if one.fingerprint == fingerprint}


def fingerprint(manifest: Manifest) -> str:
    """The first 16 hex digits of the sha256 over everything that decides document vectors.

    The prefix of questions is left out like query weights: it changes which stored vectors a question likes. Of the
    graph it is the one without the input ``passages``, so that bundles with and without it share an index.
    """
    parts = [
        manifest.plain or manifest.files[MODEL],
        manifest.files[TOKENIZER],
        str(manifest.max_length),
        ",".join(manifest.special_tokens),
    ]
    if WEIGHTS in manifest.files:
        parts.append(manifest.files[WEIGHTS])
    if manifest.prompt is not None:
        parts.append(manifest.prompt.model_dump_json(exclude={"query"}))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _locate(name: str | Path) -> Path:
    folder = Path(name)
    if folder.is_dir():
        return folder
    if str(name) in shipped():
        return _SHIPPED / str(name)
    raise BundleError(
        f"There is no bundle {name}: neither a folder nor one of the shipped ones ({', '.join(shipped()) or 'none'}). "
        "Make one with `osplade export CHECKPOINT OUT`."
    )


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        hint = (
            "looks like a checkpoint: run `osplade export` on it"
            if (folder / "config.json").is_file()
            else "is foreign"
        )
        raise BundleError(f"{folder} has no {MANIFEST}, so it is not a bundle; it {hint}.")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{path}: {where}: {first['msg']}. The manifest is damaged or of another format.") from error


def _check(folder: Path, file: str, expected: str) -> None:
    path = folder / file
    # A manifest from elsewhere must not reach outside its own folder.
    if Path(file).name != file:
        raise BundleError(f"{folder / MANIFEST} names {file!r}, which is not a plain file name.")
    if not path.is_file():
        raise BundleError(f"{folder} is damaged: {file} is missing. Export the checkpoint again.")
    found = sha256(path)
    if found != expected:
        raise BundleError(
            f"{path} is damaged: its sha256 is {found[:12]}…, the manifest says {expected[:12]}…. "
            "Copy the bundle again or export the checkpoint again."
        )
