"""Limits: how much a server takes in before it says no."""

from __future__ import annotations

from dataclasses import dataclass

from opensearch_splade.errors import OspladeError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may bring, and what may wait in each lane of a model.

    Attributes:
        max_texts: Texts of a request.
        max_body: Bytes of a request.
        max_queue: Texts that wait in a lane.
        max_queue_tokens: Tokens that wait in a lane.
        max_batch_tokens: Tokens of a batch, padding included; ``None`` leaves it to the bundle's plan.
        max_wait_ms: How long a batch of documents that is not full waits for more, while another one runs.

    Raises:
        OspladeError: A request could never be taken.
    """

    max_texts: int = 1024
    max_body: int = 8 << 20
    max_queue: int = 8192
    max_queue_tokens: int = 1 << 20
    max_batch_tokens: int | None = None
    max_wait_ms: float = 3.0

    def __post_init__(self) -> None:
        if self.max_texts > self.max_queue:
            raise OspladeError(
                f"A request may bring {self.max_texts} texts, but only {self.max_queue} may wait: it would be refused "
                "for ever. Make --max-queue at least as large as --max-texts."
            )
