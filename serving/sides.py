"""Sides of a model: what its lane of documents and its lane of queries run. Each has an encoder of its own.

So they share neither a session nor a tokenizer, whose lock a bulk load would hold while a question waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import orjson

from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.plan import Plan, query_plan
from opensearch_splade.onnx_models.session import Session
from opensearch_splade.onnx_models.stream import Budget
from opensearch_splade.serving.json_rows import FeatureMaps, floats

_LOOK_UPS = Plan(batches=1, threads=1, token_budget=4096)
"""Questions answered from a table at once; they need no model."""
_CHARACTERS = 4
"""Of a token of a question, about: enough to say how many questions are a batch."""


class Side(Protocol):
    """What a lane knows of a model."""

    @property
    def budget(self) -> Budget:
        """How many batches run at once, and how large they may be."""
        ...

    def prepare(self, texts: Sequence[str]) -> Sequence[Sized | None]:
        """What waits for a batch, as long as it has tokens; ``None`` of a text that needs no model."""
        ...

    def run(self, batch: Sequence[Any]) -> list[bytes]:
        """One batch to the JSON of each text's vector. Called from several threads."""
        ...

    @property
    def nothing(self) -> bytes:
        """The vector of what needs no model."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A text that is tokenised where it is run: what needs few steps waits at few doors.

    Its length is an estimate.
    """

    text: str
    limit: int

    def __len__(self) -> int:
        return min(3 + len(self.text) // _CHARACTERS, self.limit)


class SparseDocuments:
    """Documents of a sparse bundle."""

    nothing = b"{}"

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder
        self._maps = FeatureMaps(encoder.vocabulary.features)
        [self._bare] = encoder.tokenizer.encode([""])

    @property
    def budget(self) -> Budget:
        """The device's own."""
        return self._encoder.document_runner

    def prepare(self, texts: Sequence[str]) -> list[Tokens | None]:
        """Token ids; ``None`` where no token is the text's own."""
        return [None if tokens == self._bare else tokens for tokens in self._encoder.tokenizer.encode(texts)]

    def run(self, batch: Sequence[Tokens]) -> list[bytes]:
        """Feature maps."""
        return [self._maps(*row) for row in self._encoder.document_runner.encode(batch)]


class SparseQueries:
    """Questions of a siamese bundle."""

    nothing = b"{}"

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder
        self._limit = encoder.bundle.manifest.max_length
        self._maps = FeatureMaps(encoder.vocabulary.features)
        [self._bare] = encoder.tokenizer.encode([""], query=True)

    @property
    def budget(self) -> Budget:
        """A question's own."""
        return self._encoder.query_runner

    def prepare(self, texts: Sequence[str]) -> list[Question]:
        """Nothing is done yet."""
        return [Question(text, self._limit) for text in texts]

    def run(self, batch: Sequence[Question]) -> list[bytes]:
        """Feature maps, ``{}`` where no token is the question's own."""
        token_ids = self._encoder.tokenizer.encode([question.text for question in batch], query=True)
        asked = [tokens for tokens in token_ids if tokens != self._bare]
        rows = iter(self._encoder.query_runner.encode(asked) if asked else ())
        return [self.nothing if tokens == self._bare else self._maps(*next(rows)) for tokens in token_ids]


class LookedUpQueries:
    """Questions of an inference-free bundle: tokenizer and weight table, no model."""

    nothing = b"{}"

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder
        self._limit = encoder.bundle.manifest.max_length

    @property
    def budget(self) -> Budget:
        """Look-ups take microseconds."""
        return _Fixed(_LOOK_UPS)

    def prepare(self, texts: Sequence[str]) -> list[Question]:
        """Nothing is done yet."""
        return [Question(text, self._limit) for text in texts]

    def run(self, batch: Sequence[Question]) -> list[bytes]:
        """Feature maps."""
        return [orjson.dumps(self._encoder.encode_query(question.text)) for question in batch]


class DenseTexts:
    """Documents or questions of a dense bundle."""

    def __init__(self, encoder: DenseEncoder) -> None:
        self._encoder = encoder

    @property
    def budget(self) -> Session:
        """The session's."""
        return self._encoder.session

    @cached_property
    def nothing(self) -> bytes:
        """Zeros, as the encoder gives them."""
        return floats(self._encoder.encode([]).sum(axis=0))

    def prepare(self, texts: Sequence[str]) -> list[Tokens | None]:
        """Token ids; ``None`` where there are none."""
        return [tokens or None for tokens in self._encoder.tokenizer.encode(texts)]

    def run(self, batch: Sequence[Tokens]) -> list[bytes]:
        """Arrays of numbers."""
        return [floats(row) for row in self._encoder.session.run(batch, ["embedding"])[0]]


def sides(bundle: Bundle, device: Device, plan: Plan | None = None) -> tuple[Side, Side]:
    """The side of documents and the side of queries.

    Args:
        bundle: Any bundle.
        device: Where both run.
        plan: Of documents; what was tuned, or the device's own, by default.
    """
    if bundle.manifest.kind == "dense":
        one = query_plan(device.kind, device.cores, bundle.manifest.max_length, bundle.size)
        return DenseTexts(DenseEncoder(bundle, device, plan=plan)), DenseTexts(DenseEncoder(bundle, device, plan=one))
    documents, queries = SparseEncoder(bundle, device, plan=plan), SparseEncoder(bundle, device)
    asked: Side = SparseQueries(queries) if queries.query_side == "siamese" else LookedUpQueries(queries)
    return SparseDocuments(documents), asked


@dataclass(frozen=True, slots=True)
class _Fixed:
    plan: Plan

    @property
    def token_budget(self) -> int:
        return self.plan.token_budget
