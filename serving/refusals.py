"""Refusals: what is answered instead of vectors, always JSON of one form."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """An answer that is no vectors.

    Args:
        status: Of HTTP.
        kind: One word for machines.
        reason: What is wrong, and what to do.
        headers: Further headers.
    """

    def __init__(self, status: int, kind: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, object]:
        """As JSON."""
        return {"error": {"type": self.kind, "reason": self.reason}}


def full(seconds: int) -> Refusal:
    """The lane holds as much as it may."""
    reason = f"More texts wait than may wait here. Try again in {seconds} s, or send fewer at once."
    return Refusal(429, "queue_full", reason, {"retry-after": str(seconds)})


def malformed(reason: str) -> Refusal:
    """The body is not what is asked for."""
    return Refusal(400, "malformed", f'{reason} The body is a JSON object such as {{"input": ["a text"]}}.')


def too_large(reason: str) -> Refusal:
    """The request exceeds a limit; it would do so again."""
    return Refusal(413, "too_large", reason)


def unavailable(what: str, seconds: int = 1) -> Refusal:
    """No texts are taken just now."""
    return Refusal(503, what, f"The server is {what}. Try again in {seconds} s.", {"retry-after": str(seconds)})
