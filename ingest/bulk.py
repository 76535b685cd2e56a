"""Bulk writer: prepared documents to the cluster, judged item by item.

``_bulk`` answers 200 even when items failed; each item carries its own status. Items the cluster was too busy for (429,
503) and requests that did not get through are sent again with jittered exponential back-off, after the client's own
few immediate tries; the gate makes all other requests wait as well. A request whose answer was lost or garbled may have
been applied: deterministic ids make sending it again harmless. Items the cluster refuses for good come back as
failures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import tenacity

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.ingest.gate import Flight, Gate
from opensearch_splade.ingest.request_compression import RequestCompression, compress

_TRY_AGAIN = {429, 502, 503, 504}
_TOO_LARGE = 413
_JSON_LINES = {"content-type": "application/x-ndjson"}
_GZIP = {**_JSON_LINES, "content-encoding": "gzip"}


class Action(NamedTuple):
    """One document ready to be written, or to be deleted.

    Attributes:
        id: Its ``_id``.
        source: Its JSON, as bytes; ``None`` deletes what is there, if anything.
    """

    id: str
    source: bytes | None

    @property
    def size(self) -> int:
        """Bytes of the document."""
        return len(self.source or b"")

    @property
    def lines(self) -> bytes:
        """What ``_bulk`` is sent for it."""
        target = b'{"_id":%b}' % orjson.dumps(self.id)
        return b'{"delete":%b}\n' % target if self.source is None else b'{"index":%b}\n%b\n' % (target, self.source)


class Failure(NamedTuple):
    """One document that the cluster refused for good."""

    id: str
    reason: str


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
        pending: Ids of those that it did not take.
    """

    def __init__(self, message: str, refused: list[Failure], pending: list[str]) -> None:
        super().__init__(message)
        self.refused = refused
        self.pending = pending


class _NotYetError(Exception):
    """Some items must be sent again."""


class BulkWriter:
    """Writes actions into one index. One writer may be used by several threads.

    Args:
        client: An opensearch-py client; one that compresses by itself fits no ``compression``.
        index: The index.
        policy: How long to try.
        gate: What all requests pass.
        compression: Which requests go compressed; by default none.
    """

    def __init__(
        self,
        client: Any,
        index: str,
        policy: RetryPolicy | None = None,
        gate: Gate | None = None,
        compression: RequestCompression | None = None,
    ) -> None:
        self._client = client
        self._index = index
        self._policy = policy or RetryPolicy()
        self.gate = gate or Gate()
        """Knows what becomes of the requests."""
        self._compression = compression or RequestCompression()

    @property
    def retries(self) -> int:
        """Items that had to be sent again so far."""
        return self.gate.retries.total()

    def write(self, actions: Sequence[Action]) -> list[Failure]:
        """Returns when each action is acknowledged or refused for good.

        Returns:
            The refused ones.

        Raises:
            GaveUpError: The cluster stayed away, or busy, for longer than the policy allows, or refused a request.
            TargetError: The index is gone.
        """
        policy = self._policy
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NotYetError),
            wait=tenacity.wait_random_exponential(policy.first_wait, policy.longest_wait),
            sleep=self.gate.pause,  # which makes the next request wait, be it ours or another's
            stop=tenacity.stop_after_delay(policy.patience),
            reraise=True,
        )
        pending, failures = list(actions), list[Failure]()
        try:
            for attempt in retrying:
                with attempt:
                    pending, reason = self._send(pending, failures)
                    if pending:
                        raise _NotYetError(reason)
        except _NotYetError as error:
            raise GaveUpError(
                f"The cluster did not take {len(pending)} documents for {policy.patience:g} s: {error}. What was "
                "acknowledged is in the index; run the same command again when the cluster is well: ids are "
                "deterministic, so nothing is doubled.",
                failures,
                [action.id for action in pending],
            ) from error
        except ClusterError as error:
            raise GaveUpError(str(error), failures, [action.id for action in pending]) from error
        return failures

    def _send(self, actions: list[Action], failures: list[Failure]) -> tuple[list[Action], str]:
        """One request. Gives the actions to send again and why; appends what is refused for good to ``failures``."""
        from opensearchpy import exceptions

        if not actions:
            return [], ""
        body = b"".join(action.lines for action in actions)
        flight = Flight(len(body), compressed=self._compression.wanted())
        start = time.monotonic()
        sent = compress(body) if flight.compressed else body
        packing = time.monotonic() - start
        try:
            with self.gate.request(flight):
                answer = self._post(sent, _GZIP if flight.compressed else _JSON_LINES)
        except exceptions.TransportError as error:
            if error.status_code == _TOO_LARGE:
                return self._halve(flight, actions, failures)
            return self._again(flight, actions, _passing(error))
        except exceptions.SerializationError:
            answer = None  # no JSON, which is what a gateway says when it is not well
        items = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(items, list) or len(items) != len(actions):
            return self._again(flight, actions, "an answer that does not fit the request")
        again, why = self._sort_out(actions, items, failures)
        if again:
            return self._again(flight, again, why)
        self.gate.acknowledged(flight)
        self._compression.took(flight.size, packing + flight.seconds, compressed=flight.compressed)
        return [], ""

    def _post(self, body: bytes, headers: dict[str, str]) -> Any:
        # Not the client's `bulk`: that ends every body with a newline, gzip's too.
        path = f"/{quote(self._index, safe='')}/_bulk"
        return self._client.transport.perform_request("POST", path, body=body, headers=headers)

    def _again(self, flight: Flight, actions: list[Action], why: str) -> tuple[list[Action], str]:
        self.gate.refused(flight, why, len(actions), timed_out="Timeout" in why)
        return actions, why

    def _halve(self, flight: Flight, actions: list[Action], failures: list[Failure]) -> tuple[list[Action], str]:
        if len(actions) == 1:
            reason = f"The cluster takes no request of {actions[0].size:,} bytes (HTTP 413)."
            failures.append(Failure(actions[0].id, reason))
            return [], ""
        self.gate.too_large(flight)
        middle = len(actions) // 2
        left, why_left = self._send(actions[:middle], failures)
        right, why_right = self._send(actions[middle:], failures)
        return left + right, why_left or why_right

    def _sort_out(
        self, actions: list[Action], items: Sequence[dict[str, Any]], failures: list[Failure]
    ) -> tuple[list[Action], str]:
        again, why = list[Action](), ""
        for action, item in zip(actions, items, strict=True):
            (outcome,) = item.values()
            status = outcome["status"]
            if status in _TRY_AGAIN:
                again.append(action)
                why = f"HTTP {status} for some documents"
            elif status in {401, 403}:  # not this document: nothing may be written
                raise TargetError(f"The index {self._index} takes no documents: {_reason(status, outcome['error'])}.")
            elif status >= 300 and "error" in outcome:  # a delete answers 404 where nothing is
                error = outcome.get("error", {})
                if error.get("type") == "index_not_found_exception":
                    raise TargetError(f"The index {self._index} is gone. Was it deleted during the run?")
                failures.append(Failure(action.id, _reason(status, error)))
        return again, why


def _passing(error: Any) -> str:
    """Why a request did not get through, if that may pass; else the client's error as ours."""
    from opensearchpy import exceptions

    if isinstance(error, exceptions.ConnectionError):
        return f"connection failed ({type(error).__name__})"
    if error.status_code in _TRY_AGAIN:
        return f"HTTP {error.status_code}"
    raise ClusterError(f"The cluster refused a bulk request: {error.status_code} {error.error}.") from error


def _reason(status: int, error: dict[str, Any]) -> str:
    """The server's own words, the innermost cause last."""
    reasons = [f"{status} {error.get('type', '')}: {error.get('reason', '')}"]
    while error := error.get("caused_by", {}):
        reasons.append(str(error.get("reason", "")))
    return "; ".join(reasons)
