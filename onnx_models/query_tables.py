"""Query tables: where an export takes the query weights of an inference-free bundle from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from opensearch_splade.errors import BundleError, CheckpointError
from opensearch_splade.onnx_models.bundle import TableKind
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies, read_table
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A choice of query weights.

    Attributes:
        kind: ``idf`` and ``bm25`` are counted over ``texts``; ``table`` and ``checkpoint`` are read from ``file``;
            ``binary`` weighs every token 1, as SPLADE-doc does (arXiv 2109.10086, section 4; 2403.06789).
        texts: Passages, read once.
        file: ``idf.json`` or any JSON object of token: weight, ``query_token_weights.txt`` (token, tab, weight), or
            safetensors with one weight for each token id, such as those of a ``SparseStaticEmbedding``.

    Example:
        >>> QueryTable("idf", texts=["a fox", "a dog"]).kind
        'idf'
    """

    kind: TableKind
    texts: Iterable[str] = ()
    file: Path | None = None

    def make(self, tokenizer: Tokenizer, vocabulary: Vocabulary) -> dict[str, float]:
        """Feature to weight.

        Raises:
            CheckpointError: There is no passage to count, or the file cannot be read or does not fit the vocabulary.
        """
        if self.kind == "binary":
            return dict.fromkeys(vocabulary.ids, 1.0)
        if self.file is not None:
            return read_token_table(self.file, vocabulary, tokenizer.vocabulary)
        return count_idf(self.texts, tokenizer, vocabulary)


def count_idf(texts: Iterable[str], tokenizer: Tokenizer, vocabulary: Vocabulary) -> dict[str, float]:
    """Inverse document frequencies of a stream of passages, in bounded memory.

    Raises:
        CheckpointError: There is no passage.
    """
    counts = DocumentFrequencies(vocabulary)
    stream = iter(texts)
    while chunk := list(islice(stream, 1024)):
        counts.add(tokenizer.encode(chunk, special=False))
    if not counts.passages:
        raise CheckpointError("The collection for --query-weights holds no passage to count.")
    return counts.idf()


def read_token_table(path: Path, vocabulary: Vocabulary, tokens: Mapping[str, int]) -> dict[str, float]:
    """The query weights of a checkpoint or of a file given for them, by feature; those that weigh nothing left out.

    Args:
        path: See ``QueryTable.file``.
        vocabulary: The bundle's.
        tokens: Token to id. Tokens of the file that it lacks are passed over.

    Raises:
        CheckpointError: The file cannot be read as one of the three forms, or does not fit the vocabulary.
    """
    if path.suffix == ".safetensors":
        by_id = _read_safetensors(path, vocabulary)
    else:
        # A token is named as the tokenizer has it, or as a feature where the table comes from a bundle.
        names = {**vocabulary.ids, **tokens}
        by_id = {names[token]: weight for token, weight in _read_named(path).items() if token in names}
    if unusable := [weight for weight in by_id.values() if not math.isfinite(weight)]:
        raise CheckpointError(f"{path} holds the weight {unusable[0]}; query weights are finite numbers.")
    features = vocabulary.features
    positive = {token: weight for token, weight in sorted(by_id.items()) if weight > 0 and token < len(features)}
    table = {features[token]: weight for token, weight in positive.items() if features[token]}
    if not table:
        raise CheckpointError(f"{path} gives no token of this vocabulary a weight above 0; is it of another model?")
    return table


def _read_named(path: Path) -> dict[str, float]:
    try:
        return _read_lines(path) if path.suffix == ".txt" else read_table(path)
    except BundleError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error


def _read_lines(path: Path) -> dict[str, float]:
    """``query_token_weights.txt`` of the OpenSearch models: a token, a tab and its weight on each line."""
    table: dict[str, float] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        token, _, weight = line.rstrip("\r").rpartition("\t")
        try:
            table[token] = float(weight)
        except ValueError as error:
            raise CheckpointError(f"{path}:{number}: a line is a token, a tab and a weight.") from error
        if not token:
            raise CheckpointError(f"{path}:{number}: a line is a token, a tab and a weight.")
    return table


def _read_safetensors(path: Path, vocabulary: Vocabulary) -> dict[int, float]:
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except Exception as error:  # the Rust side raises types of its own, and KeyError for bfloat16
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}.") from error
    if "weight" not in tensors and len(tensors) != 1:
        names = ", ".join(sorted(tensors)) or "nothing"
        raise CheckpointError(f"{path} holds {names}; query weights are one tensor, or the one named weight.")
    weights = tensors.get("weight", next(iter(tensors.values()))).reshape(-1)
    if len(weights) > len(vocabulary):
        raise CheckpointError(f"{path} holds {len(weights)} query weights for a vocabulary of {len(vocabulary)}.")
    return dict(enumerate(weights.astype(float).tolist()))
