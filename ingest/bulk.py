"""Bulk writer: prepared documents to the cluster, judged item by item.

``_bulk`` answers 200 even when items failed; each item carries its own status. Items the cluster was too busy for (429,
503) and requests that did not get through are sent again with jittered exponential back-off, after the client's own
few immediate tries. A request whose answer was lost or garbled may have been applied: deterministic ids make sending it
again harmless. Items the cluster refuses for good come back as failures.

An answer is believed only if it speaks of each document that was sent, by id and in whatever order. A request that is
refused as a whole because of one document is halved until that one stands alone. What is wrong with the index and not
with a document (it is closed, gone, blocked) ends the run and makes no dead letters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import tenacity

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.ingest.bulk_answer import outcomes, reason_of, told

if TYPE_CHECKING:
    from opensearchpy.exceptions import TransportError

_TRY_AGAIN = {429, 502, 503, 504}
_TOO_LARGE = 413
_MALFORMED = 400
_FLOODED = "read-only-allow-delete"  # what the server does to indices on a node whose disk is nearly full


class Action(NamedTuple):
    """One document ready to be written.

    Attributes:
        id: Its ``_id``.
        source: Its JSON, as bytes.
    """

    id: str
    source: bytes


class Failure(NamedTuple):
    """One document that the cluster refused for good.

    Attributes:
        id: Its ``_id``.
        reason: Why, in the server's words where it has any.
        with_request: Whether its whole request was refused.
    """

    id: str
    reason: str
    with_request: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long the cluster may be away.

    Attributes:
        patience: Seconds after the first failure until giving up.
        first_wait: Upper bound of the first pause in seconds; it doubles each time.
        longest_wait: Upper bound of any pause in seconds.
    """

    patience: float = 120.0
    first_wait: float = 0.5
    longest_wait: float = 20.0


class GaveUpError(ClusterError):
    """The cluster stayed away for too long, or refused a whole request.

    Attributes:
        refused: Documents that it had refused for good before.
        pending: How many it did not take.
    """

    def __init__(self, message: str, refused: list[Failure], pending: int) -> None:
        super().__init__(message)
        self.refused = refused
        self.pending = pending


class _NotYetError(Exception):
    """Some items must be sent again."""


class BulkWriter:
    """Writes actions into one index. One writer may be used by several threads.

    Args:
        client: An opensearch-py client.
        index: The index.
        policy: How long to try.
        confirm: Asked before documents are given up as refused; raises if it is the index that changed.
    """

    def __init__(
        self,
        client: Any,
        index: str,
        policy: RetryPolicy | None = None,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._index = index
        self._policy = policy or RetryPolicy()
        self._confirm = confirm
        self._lock = threading.Lock()
        self.retries = 0
        """Items that had to be sent again so far."""

    def write(self, actions: Sequence[Action]) -> list[Failure]:
        """Returns when each action is acknowledged or refused for good.

        Returns:
            The refused ones.

        Raises:
            GaveUpError: The cluster stayed away, or busy, for longer than the policy allows, or refused a request.
            TargetError: The index is gone, closed, blocked or another one.
        """
        policy = self._policy
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NotYetError),
            wait=tenacity.wait_random_exponential(policy.first_wait, policy.longest_wait),
            stop=tenacity.stop_after_delay(policy.patience),
            reraise=True,
        )
        pending, failures = list(actions), list[Failure]()
        try:
            for attempt in retrying:
                with attempt:
                    pending, reason = self._send(pending, failures)
                    if pending:
                        self._count_retries(len(pending))
                        raise _NotYetError(reason)
            if failures:
                self._confirm()
        except _NotYetError as error:
            room = " Make room on the disks of the cluster's nodes first." if _FLOODED in str(error) else ""
            raise GaveUpError(
                f"The cluster did not take {len(pending)} documents for {policy.patience:g} s: {error}.{room} What was "
                "acknowledged is in the index; run the same command again when the cluster is well: ids are "
                "deterministic, so nothing is doubled.",
                failures,
                len(pending),
            ) from error
        except ClusterError as error:
            refused = {failure.id for failure in failures}
            raise GaveUpError(str(error), failures, sum(one.id not in refused for one in pending)) from error
        if len(failures) == len(actions) > 1 and all(failure.with_request for failure in failures):
            # Hardly the fault of each of them: a gateway perhaps, or a client too new for the server.
            raise GaveUpError(f"The cluster refused a bulk request: {failures[0].reason}", [], len(actions))
        return failures

    def _send(self, actions: list[Action], failures: list[Failure]) -> tuple[list[Action], str]:
        """One request. Gives the actions to send again and why; appends what is refused for good to ``failures``."""
        from opensearchpy import exceptions

        if not actions:
            return [], ""
        body = b"".join(b'{"index":{"_id":%b}}\n%b\n' % (orjson.dumps(id_), source) for id_, source in actions)
        try:
            answer = self._client.bulk(body=body, index=self._index)
        except exceptions.ConnectionError as error:
            return actions, f"connection failed ({type(error).__name__})"
        except exceptions.TransportError as error:
            if error.status_code in {_TOO_LARGE, _MALFORMED}:
                return self._halve(actions, failures, error)
            if error.status_code in _TRY_AGAIN:
                return actions, f"HTTP {told(error)}"
            raise ClusterError(f"The cluster refused a bulk request: {told(error)}.") from error
        except exceptions.SerializationError:
            answer = None  # no JSON, which is what a gateway says when it is not well
        found = outcomes(answer, [action.id for action in actions])
        if found is None:
            return actions, "an answer that does not fit the request"
        return self._sort_out(actions, found, failures)

    def _halve(self, actions: list[Action], failures: list[Failure], error: TransportError) -> tuple[list[Action], str]:
        if len(actions) == 1:
            reason = f"The cluster refuses every request with this document: HTTP {told(error)}."
            if error.status_code == _TOO_LARGE:
                reason = f"The cluster takes no request of {len(actions[0].source):,} bytes (HTTP 413)."
            failures.append(Failure(actions[0].id, reason, with_request=error.status_code == _MALFORMED))
            return [], ""
        middle = len(actions) // 2
        left, why_left = self._send(actions[:middle], failures)
        right, why_right = self._send(actions[middle:], failures)
        return left + right, why_left or why_right

    def _sort_out(
        self, actions: list[Action], found: Sequence[dict[str, Any]], failures: list[Failure]
    ) -> tuple[list[Action], str]:
        again, why = list[Action](), ""
        for action, outcome in zip(actions, found, strict=True):
            status = outcome["status"]
            if status < 300:
                continue
            reason = reason_of(status, outcome.get("error"))
            if status in _TRY_AGAIN:
                again.append(action)
                why = f"HTTP {reason} for some documents"
                continue
            self._require_index(status, outcome, reason)
            failures.append(Failure(action.id, reason))
        return again, why

    def _require_index(self, status: int, outcome: dict[str, Any], reason: str) -> None:
        """Ends the run over what would be refused of every document."""
        error = outcome.get("error")
        kind = error.get("type") if isinstance(error, dict) else ""
        if kind == "index_not_found_exception":
            raise TargetError(f"The index {self._index} is gone. Was it deleted during the run?")
        if kind == "index_closed_exception":
            raise TargetError(
                f"The index {self._index} is closed: open it (POST {self._index}/_open) and run the same command again."
            )
        if status in {401, 403}:  # not this document: nothing may be written
            raise TargetError(
                f"The index {self._index} takes no documents: {reason}. Allow writing (a block is taken away with "
                f"PUT {self._index}/_settings) and run the same command again."
            )

    def _count_retries(self, count: int) -> None:
        with self._lock:
            self.retries += count
