"""Export: checkpoint to bundle, proven against torch before anything is written."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from opensearch_splade.errors import BundleError, CheckpointError
from opensearch_splade.onnx_models.bundle import (
    MANIFEST,
    MODEL,
    QUERY_WEIGHTS,
    TOKENIZER,
    WEIGHTS,
    Bundle,
    HeadForm,
    Manifest,
    Origin,
    Parity,
    Precision,
    TableKind,
    fingerprint,
    sha256,
)
from opensearch_splade.onnx_models.checkpoint import Activation, Attention, Checkpoint, Kind
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.families import family_of
from opensearch_splade.onnx_models.graph import OPSET, dense_graph, sparse_graph
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.parity import compare, parity_texts, reference_dense, reference_sparse
from opensearch_splade.onnx_models.prompt import NO_PROMPT, Prompt, checked
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.onnx_models.query_weights import write_table
from opensearch_splade.onnx_models.saving import save_graph, save_sparse_graph
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.sparse_output import OUTPUTS, TOP_K
from opensearch_splade.onnx_models.tiles import TILE
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_MAX_LENGTH = 512
SCREENED_SHARE = 0.25
"""Share of the vocabulary that may be candidates for the screened head to pay: a candidate costs as much as four
features of the int8 bound. Of trained SPLADE models it is a few hundredths."""
_OF_RELU: set[Activation] = {"log1p", "log1p_log1p", "relu"}  # zero for all scores that are not positive
_SHORTEST = 8


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes:
        kind: ``auto`` takes what the checkpoint says of itself.
        precision: ``fp32``, ``fp16`` (for GPUs) or ``int8`` (for CPUs).
        max_length: Tokens a text is truncated to; ``None`` takes the checkpoint's limit, 512 at most.
        head: ``auto`` takes ``screened`` for fp32 checkpoints of which few features are active, else ``tiled``.
        activation: For checkpoints that do not state theirs; refused where it contradicts what they state.
        attention: Of decoders that do not state theirs; says of a plain one that it is a sparse encoder at all.
        document_prefix: Before documents, such as ``passage: ``; ``None`` takes what the checkpoint states.
        query_prefix: Before questions, likewise.
        add_special_tokens: Whether the tokenizer's own special tokens are added.
        echo: Template with ``{text}`` twice; the second copy is pooled. Decoders only.
        name: Name of the bundle; the checkpoint's last part by default.
        origin: Where the weights come from, where the checkpoint's name does not say it.
        licence: Overrides what the model card says.
        replace: Whether an existing bundle may be replaced.
    """

    kind: Kind | Literal["auto"] = "auto"
    precision: Precision = "fp32"
    head: HeadForm | Literal["auto"] = "auto"
    max_length: int | None = None
    activation: Activation | None = None
    attention: Attention | None = None
    document_prefix: str | None = None
    query_prefix: str | None = None
    add_special_tokens: bool = True
    echo: str | None = None
    name: str | None = None
    origin: str | None = None
    licence: str | None = None
    replace: bool = False


def export_bundle(
    checkpoint: str,
    out: Path,
    options: ExportOptions | None = None,
    *,
    revision: str | None = None,
    query_weights: QueryTable | None = None,
) -> Bundle:
    """Exports a checkpoint into the folder ``out``, all or nothing.

    Args:
        checkpoint: Folder or hub id.
        out: The bundle folder to make.
        options: See ``ExportOptions``.
        revision: Hub branch, tag or commit.
        query_weights: Query weights in place of the checkpoint's own: makes an inference-free bundle of any sparse
            checkpoint.

    Raises:
        CheckpointError: The checkpoint cannot be read, or the options contradict it.
        ParityError: The exported graph is not the checkpoint; nothing is written.
        BundleError: ``out`` holds something that must not be replaced.
    """
    options = options or ExportOptions()
    out = out.resolve()  # the folder itself, also where it is "." or a link
    _check_free(out, replace=options.replace)
    opened = _decided(open_checkpoint(checkpoint, revision=revision, dense=options.kind == "dense"), options)
    kind = _kind(opened, options, has_table=query_weights is not None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        draft = Path(folder) / "bundle"
        draft.mkdir()
        _Draft(draft, opened, kind, options).write(query_weights)
        draft.chmod(0o755)
        if out.exists():
            out.rename(Path(folder) / "replaced")  # deleted with the folder, once the new one stands
        draft.rename(out)
    return Bundle.open(out)


class _Draft:
    """One export under way, in a folder of its own."""

    def __init__(self, folder: Path, checkpoint: Checkpoint, kind: Kind, options: ExportOptions) -> None:
        self.folder = folder
        self.checkpoint = checkpoint
        self.kind = kind
        self.options = options
        self.max_length = _max_length(checkpoint, options.max_length)
        shutil.copyfile(checkpoint.tokenizer_folder / TOKENIZER, folder / TOKENIZER)
        self.tokenizer = Tokenizer(folder / TOKENIZER, self.max_length, checkpoint.prompt)

    def write(self, query_weights: QueryTable | None) -> None:
        token_ids = self.tokenizer.encode(parity_texts())
        source: QueryTable | None = None
        activation: Activation | None = None
        form: HeadForm | None = None
        plain: str | None = None
        if self.kind == "dense":
            graph, dimension = dense_graph(self.checkpoint, self.options.precision)
            save_graph(graph, self.folder)
            expected = reference_dense(self.checkpoint, token_ids)
        else:
            activation = activation_of(self.checkpoint, self.options.activation)
            expected = reference_sparse(self.checkpoint, activation, token_ids, self.tokenizer.special_ids)
            dimension = expected.shape[1]
            vocabulary = Vocabulary(self.tokenizer.vocabulary, dimension, self.tokenizer.special)
            expected[:, vocabulary.dropped_ids] = 0
            form = self._head_form(expected, activation)
            graph = sparse_graph(self.checkpoint, activation, self.options.precision, vocabulary, form or "tiled")
            plain = save_sparse_graph(graph, self.folder)
            if form == "screened" and not self._screening_pays(token_ids, dimension):
                form = "tiled"
                graph = sparse_graph(self.checkpoint, activation, self.options.precision, vocabulary, form)
                plain = save_sparse_graph(graph, self.folder)
            if self.kind == "inference-free":
                source = query_weights or self._own_table()
                write_table(self.folder / QUERY_WEIGHTS, source.make(self.tokenizer, vocabulary))
        found = np.zeros_like(expected)
        output = "embedding" if self.kind == "dense" else "weights"
        for place, row in enumerate(Session(self.folder / MODEL, Device()).run_all(token_ids, output)):
            if row is not None:
                found[place] = row
        if self.checkpoint.gate is not None:
            expected = np.where(np.isnan(expected), found, expected)  # may be open or shut
        parity = compare(found, expected, self.options.precision, self.checkpoint.name)
        self._describe(dimension, activation, form, parity, plain, query_weights=source.kind if source else None)

    def _head_form(self, expected: npt.NDArray[np.float32], activation: Activation) -> HeadForm | None:
        """Screening pays while few features are active; int8 and fp16 are fast, or on a GPU, anyway.

        One weight per input token needs no form at all, and a gate looks at all columns.
        """
        head = family_of(self.checkpoint).head
        if head != "vocabulary":
            if self.options.head == "screened":
                raise CheckpointError(f"{self.checkpoint.name} ({self.checkpoint.family}) has no head to be screened.")
            return "tiled" if head == "gated" else None
        can = self.options.precision == "fp32" and self.checkpoint.pooling == "max" and activation in _OF_RELU
        if self.options.head == "screened" and not can:
            raise CheckpointError(
                f"{self.checkpoint.name}: --head screened is for fp32, max pooling and activations of relu, not for "
                f"{self.options.precision}, {self.checkpoint.pooling} and {activation}."
            )
        if self.options.head != "auto":
            return self.options.head
        return "screened" if can and float((expected > 0).mean()) <= SCREENED_SHARE else "tiled"

    def _screening_pays(self, token_ids: list[list[int]], dimension: int) -> bool:
        """Whether the saved graph's screen leaves few candidates, of the longest texts. Who asked for it has it."""
        if self.options.head != "auto":
            return True
        longest = sorted(token_ids, key=len)[-4:]
        everything = {TOP_K: np.array([1 << 30])}
        found, _, _ = Session(self.folder / MODEL, Device()).run(longest, OUTPUTS, everything)
        return float(found.shape[1]) <= SCREENED_SHARE * dimension

    def _own_table(self) -> QueryTable:
        if self.checkpoint.query_weights is None:
            raise CheckpointError(
                f"{self.checkpoint.name} has no query weights; give --query-weights idf:COLLECTION to count them."
            )
        return QueryTable("checkpoint", file=self.checkpoint.query_weights)

    def _describe(
        self,
        dimension: int,
        activation: Activation | None,
        form: HeadForm | None,
        parity: Parity,
        plain: str | None,
        query_weights: TableKind | None,
    ) -> None:
        names = [MODEL, TOKENIZER, *(name for name in (WEIGHTS, QUERY_WEIGHTS) if (self.folder / name).exists())]
        checkpoint, options = self.checkpoint, self.options
        manifest = Manifest(
            name=options.name or checkpoint.name.rsplit("/", 1)[-1],
            kind=self.kind,
            precision=options.precision,
            pooling=checkpoint.pooling,
            activation=activation,
            activation_stated=self.kind == "dense" or bool(checkpoint.activation or options.activation),
            normalize=checkpoint.normalize,
            head=form,
            tile=TILE if form else None,
            opset=OPSET,
            dimension=dimension,
            max_length=self.max_length,
            special_tokens=sorted(self.tokenizer.special),
            family=checkpoint.family,
            attention=checkpoint.attention,
            prompt=None if checkpoint.prompt == NO_PROMPT else checkpoint.prompt,
            query_weights=query_weights,
            origin=Origin(
                checkpoint=options.origin or checkpoint.name,
                revision=checkpoint.revision,
                licence=options.licence or checkpoint.licence,
            ),
            parity=parity,
            fingerprint="",
            plain=plain,
            files={name: sha256(self.folder / name) for name in names},
        )
        manifest = manifest.model_copy(update={"fingerprint": fingerprint(manifest)})
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _kind(checkpoint: Checkpoint, options: ExportOptions, *, has_table: bool) -> Kind:
    wanted = options.kind
    if wanted == "auto":
        wanted = "inference-free" if has_table else checkpoint.kind
    if (wanted == "dense") != (checkpoint.kind == "dense"):
        raise CheckpointError(
            f"{checkpoint.name} is a {checkpoint.kind} checkpoint; it cannot be exported as {wanted}."
        )
    if has_table and wanted != "inference-free":
        raise CheckpointError(f"Query weights are for inference-free bundles, not for a {wanted} one.")
    return wanted


def _decided(checkpoint: Checkpoint, options: ExportOptions) -> Checkpoint:
    """The checkpoint with what the options add to what it states."""
    stated, wanted = checkpoint.attention, options.attention
    is_decoder = checkpoint.family == "decoder"
    if not is_decoder and (wanted or options.echo):
        raise CheckpointError(f"{checkpoint.name} is no decoder; --attention and --echo are for decoders only.")
    if stated and wanted and stated != wanted:
        raise CheckpointError(f"{checkpoint.name} states {stated} attention, not {wanted}.")
    if is_decoder and not (stated or wanted):
        raise CheckpointError(
            f"{checkpoint.name} is a language model, and nothing in it says that it is a sparse encoder; if it is one, "
            "give --attention causal or --attention bidirectional as its card says."
        )
    prompt = Prompt(
        document=checkpoint.prompt.document if options.document_prefix is None else options.document_prefix,
        query=checkpoint.prompt.query if options.query_prefix is None else options.query_prefix,
        special_tokens=options.add_special_tokens,
        echo=options.echo,
    )
    if checkpoint.kind == "dense" and prompt != NO_PROMPT:
        raise CheckpointError(f"{checkpoint.name} is a dense checkpoint; prompts are for sparse ones only.")
    return replace(checkpoint, attention=stated or wanted, prompt=checked(prompt))


def activation_of(checkpoint: Checkpoint, wanted: Activation | None) -> Activation:
    """What a sparse checkpoint states as its activation, else what is wanted, else ``log1p``.

    Raises:
        CheckpointError: The two differ.
    """
    if checkpoint.activation and wanted and checkpoint.activation != wanted:
        raise CheckpointError(f"{checkpoint.name} states {checkpoint.activation} as its activation, not {wanted}.")
    # A plain masked-LM folder does not say; sentence-transformers then takes the SPLADE papers' own, and so do we. The
    # manifest keeps that it was not stated, and the command line says so.
    return checkpoint.activation or wanted or "log1p"


def _max_length(checkpoint: Checkpoint, wanted: int | None) -> int:
    limit = checkpoint.max_length
    if limit is not None and limit < _SHORTEST:
        raise CheckpointError(f"{checkpoint.name} states a limit of {limit} tokens, which is too few for a text.")
    if limit is not None and checkpoint.prompt.echo is not None:
        around = Tokenizer(checkpoint.tokenizer_folder / TOKENIZER, limit, checkpoint.prompt).echo_ids()
        limit = (limit - sum(map(len, around))) // 2  # of one copy
        if limit < _SHORTEST:
            raise CheckpointError(f"{checkpoint.name}: its limit leaves {limit} tokens for each copy of an echo.")
    if wanted is None:
        return min(limit or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)
    if limit is not None and wanted > limit:
        raise CheckpointError(f"{checkpoint.name} takes at most {limit} tokens; --max-length {wanted} is too long.")
    return wanted


def _check_free(out: Path, *, replace: bool) -> None:
    if not out.exists():
        return
    if out.is_dir() and (out / MANIFEST).is_file():
        if replace:
            return
        raise BundleError(f"{out} already holds a bundle. Give --replace to replace it, or another folder.")
    if out.is_dir() and not any(out.iterdir()):
        return
    raise BundleError(f"{out} exists and is not a bundle; it is left alone. Give another folder.")
