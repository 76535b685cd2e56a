"""Asking: how the questions of a batch get their weights, ``(queries, vocabulary)``, with gradients.

Inference-free questions look their tokens up in a table; siamese ones are encoded by the model that encodes documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from opensearch_splade.training.trainable import TrainableEncoder

Kind = Literal["inference-free", "siamese"]


def question_ids(encoder: TrainableEncoder, questions: Sequence[str], kind: Kind) -> list[list[int]]:
    """Token ids as each kind wants them: distinct and bare for a table, with special tokens and prompt for a model."""
    if kind == "siamese":
        return encoder.tokenizer.encode(questions, query=True)
    return [sorted(set(one)) for one in encoder.tokenizer.encode(questions, special=False)]


def inference_free(table: Any, asked: Sequence[Sequence[int]], columns: Any = None) -> Any:
    """Weights out of a table: a token of a question weighs what the table says, everything else 0.

    Args:
        table: Shape ``(vocabulary,)``; may have a gradient.
        asked: Distinct token ids of each question.
        columns: Ids of vocabulary columns, as with ``TrainableEncoder``.
    """
    import torch

    rows = torch.tensor([row for row, ids in enumerate(asked) for _ in ids], device=table.device)
    tokens = torch.tensor([token for ids in asked for token in ids], device=table.device)
    weights = torch.zeros(len(asked), len(table), dtype=table.dtype, device=table.device)
    if len(tokens):
        weights = weights.index_put((rows, tokens), table[tokens])
    return weights if columns is None else weights[:, columns]


def siamese(encoder: TrainableEncoder, asked: Sequence[Sequence[int]], columns: Any = None) -> Any:
    """Weights by the model that encodes documents too.

    Args:
        encoder: The student.
        asked: Token ids of each question, special tokens included.
        columns: Ids of vocabulary columns, as with ``TrainableEncoder``.
    """
    return encoder(asked, columns)
