"""Many searches in few requests (``_msearch``), where one that fails costs no other its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.query.conversation import Call
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.types import Json

BATCH = 32  # searches of one request
_PATIENCE_S = 4.0  # for each of them
_REFUSALS = {400, 413, 429, 503}
"""A body that cannot be parsed is refused with all others of its request; so are bodies that are too large together."""


def refusal(answer: Mapping[str, object]) -> str:
    """Why one search of a batch has no answer; empty if it has one."""
    error = answer.get("error")
    if not error:
        return ""
    causes = error.get("root_cause") or [error] if isinstance(error, dict) else []
    return "; ".join(dict.fromkeys(str(cause.get("reason", cause)) for cause in causes)) or str(error)


def together(
    index: str,
    bodies: Sequence[Json],
    *,
    headers: Sequence[Json] = (),
    failure: Callable[[Json], str] = refusal,
    patience_s: float | None = None,
) -> Conversation[list[Json | ClusterError]]:
    """The answers to some searches, in their order; an error stands in the place of the search that failed.

    What fails is asked once more, alone: another may have spoilt the request, or the server had too much to do.

    Args:
        index: Where all of them go.
        bodies: Search bodies.
        headers: One for each, e.g. ``{"preference": "_shards:0"}``; none by default.
        failure: Says why an answer is none; empty if it is one.
        patience_s: How long one search may take, 4 s by default; a request may take as long as all of its own, and by
            default at least 30 s.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer at all.
    """
    found: list[Json | ClusterError] = []
    pairs = list(zip(headers or [{}] * len(bodies), bodies, strict=True))
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        answers = yield from _request(index, batch, failure, patience_s)
        for place, answer in enumerate(answers):
            if isinstance(answer, ClusterError):
                [answers[place]] = yield from _request(index, [batch[place]], failure, patience_s)
        found += answers
    return found


def _request(
    index: str, pairs: Sequence[tuple[Json, Json]], failure: Callable[[Json], str], patience_s: float | None
) -> Conversation[list[Json | ClusterError]]:
    whole = max(30.0, _PATIENCE_S * len(pairs)) if patience_s is None else patience_s * len(pairs)
    lines = [line for pair in pairs for line in pair]
    try:
        with asking(index):
            answer = yield Call("msearch", lines, index, patience_s=whole)
    except ClusterError as error:
        if getattr(error.__cause__, "status_code", None) not in _REFUSALS:
            raise
        return [error for _ in pairs]
    return [_checked(each, failure) for each in answer["responses"]]


def _checked(answer: Json, failure: Callable[[Json], str]) -> Json | ClusterError:
    reason = failure(answer)
    return ClusterError(reason) if reason else answer
