"""Bulk writer: prepared documents to the cluster, judged item by item.

``_bulk`` answers 200 even when items failed; each item carries its own status. Items the cluster was too busy for (429,
503) and requests that did not get through are sent again with jittered exponential back-off, after the client's own
few immediate tries; the gate makes all other requests wait as well. A request whose answer was lost or garbled may have
been applied: deterministic ids make sending it again harmless. Items the cluster refuses for good come back as
failures.

An answer is believed only if it speaks of each document that was sent, by id and in whatever order. A request that is
refused as a whole because of one document is halved until that one stands alone. What is wrong with the index and not
with a document (it is closed, gone, blocked) ends the run and makes no dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson
import tenacity

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.ingest.bulk_answer import outcomes, reason_of, told
from opensearch_splade.ingest.gate import Flight, Gate
from opensearch_splade.ingest.request_compression import RequestCompression, compress

if TYPE_CHECKING:
    from opensearchpy.exceptions import TransportError

_TRY_AGAIN = {429, 502, 503, 504}
_TOO_LARGE = 413
_MALFORMED = 400
_NOT_FOUND = 404
_CONFLICT = 409
_FLOODED = "read-only-allow-delete"  # what the server does to indices on a node whose disk is nearly full
_ANSWER = {"filter_path": "items.*._id,items.*.status,items.*.error"}  # the rest is half of every answer
_JSON_LINES = {"content-type": "application/x-ndjson"}
_GZIP = {**_JSON_LINES, "content-encoding": "gzip"}


class Action(NamedTuple):
    """One document ready to be written, or to be deleted.

    Attributes:
        id: Its ``_id``.
        source: Its JSON, as bytes; ``None`` deletes what is there, if anything.
        routing: What decides its shard, where that is not its id.
        version: Sequence number and primary term that it must still have in the index.
        is_new: Whether the index must not have it yet.
        pipeline: What it passes in the cluster; empty for the index' default, ``_none`` for nothing.
    """

    id: str
    source: bytes | None
    routing: str = ""
    version: tuple[int, int] | None = None
    is_new: bool = False
    pipeline: str = ""

    @property
    def size(self) -> int:
        """Bytes of the document."""
        return len(self.source or b"")

    @property
    def lines(self) -> bytes:
        """What ``_bulk`` is sent for it."""
        named: dict[str, Any] = {"_id": self.id}
        if self.routing:
            named["routing"] = self.routing
        if self.version:
            named["if_seq_no"], named["if_primary_term"] = self.version
        if self.source is None:
            return b'{"delete":%b}\n' % orjson.dumps(named)
        if self.pipeline:
            named["pipeline"] = self.pipeline
        verb = b"create" if self.is_new else b"index"
        return b'{"%b":%b}\n%b\n' % (verb, orjson.dumps(named), self.source)

    @property
    def has_condition(self) -> bool:
        """Whether it is refused where the index has another version."""
        return self.version is not None or self.is_new


class Failure(NamedTuple):
    """One document that the cluster refused for good.

    Attributes:
        id: Its ``_id``.
        reason: Why, in the server's words where it has any.
        with_request: Whether its whole request was refused.
        superseded: Whether the index has a newer version of it than it was to be written over.
    """

    id: str
    reason: str
    with_request: bool = False
    superseded: bool = False


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
        confirm: Asked before documents are given up as refused; raises if it is the index that changed.
        pipeline: What documents pass that name none; as ``Action.pipeline``.
    """

    def __init__(
        self,
        client: Any,
        index: str,
        policy: RetryPolicy | None = None,
        gate: Gate | None = None,
        compression: RequestCompression | None = None,
        confirm: Callable[[], None] = lambda: None,
        pipeline: str = "",
    ) -> None:
        self._client = client
        self._index = index
        self._policy = policy or RetryPolicy()
        self._confirm = confirm
        self._asked = {**_ANSWER, "pipeline": pipeline} if pipeline else _ANSWER
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
            TargetError: The index is gone, closed, blocked or another one.
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
            if failures:
                self._confirm()
        except _NotYetError as error:
            room = " Make room on the disks of the cluster's nodes first." if _FLOODED in str(error) else ""
            raise GaveUpError(
                f"The cluster did not take {len(pending)} documents for {policy.patience:g} s: {error}.{room} What was "
                "acknowledged is in the index; run the same command again when the cluster is well: ids are "
                "deterministic, so nothing is doubled.",
                failures,
                [action.id for action in pending],
            ) from error
        except ClusterError as error:
            refused = {failure.id for failure in failures}
            not_taken = [action.id for action in pending if action.id not in refused]
            raise GaveUpError(str(error), failures, not_taken) from error
        if len(failures) == len(actions) > 1 and all(failure.with_request for failure in failures):
            # Hardly the fault of each of them: a gateway perhaps, or a client too new for the server.
            ids = [action.id for action in actions]
            raise GaveUpError(f"The cluster refused a bulk request: {failures[0].reason}", [], ids)
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
            if error.status_code in {_TOO_LARGE, _MALFORMED}:
                return self._halve(flight, actions, failures, error)
            return self._again(flight, actions, _passing(error))
        except exceptions.SerializationError:
            answer = None  # no JSON, which is what a gateway says when it is not well
        found = outcomes(answer, [action.id for action in actions])
        if found is None:
            return self._again(flight, actions, "an answer that does not fit the request")
        again, why = self._sort_out(actions, found, failures)
        if again:
            return self._again(flight, again, why)
        self.gate.acknowledged(flight)
        self._compression.took(flight.size, packing + flight.seconds, compressed=flight.compressed)
        return [], ""

    def _post(self, body: bytes, headers: dict[str, str]) -> Any:
        # Not the client's `bulk`: that ends every body with a newline, gzip's too.
        path = f"/{quote(self._index, safe='')}/_bulk"
        return self._client.transport.perform_request("POST", path, params=self._asked, body=body, headers=headers)

    def _again(self, flight: Flight, actions: list[Action], why: str) -> tuple[list[Action], str]:
        kind = why.partition(":")[0]  # without the server's words, which differ from time to time
        self.gate.refused(flight, kind, len(actions), timed_out="Timeout" in why)
        return actions, why

    def _halve(
        self, flight: Flight, actions: list[Action], failures: list[Failure], error: TransportError
    ) -> tuple[list[Action], str]:
        is_malformed = error.status_code == _MALFORMED
        if len(actions) == 1:
            reason = f"The cluster takes no request of {actions[0].size:,} bytes (HTTP 413)."
            if is_malformed:
                reason = f"The cluster refuses every request with this document: HTTP {told(error)}."
            failures.append(Failure(actions[0].id, reason, with_request=is_malformed))
            return [], ""
        if not is_malformed:
            self.gate.too_large(flight)
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
            if action.source is None and status == _NOT_FOUND and not outcome.get("error"):
                continue  # there was nothing to delete
            self._require_index(status, outcome, reason)
            failures.append(Failure(action.id, reason, superseded=status == _CONFLICT and action.has_condition))
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
        if kind == "security_exception":
            raise TargetError(
                f"The index {self._index} takes no documents of this user: {reason}. Its role needs the permission "
                "named there (docs/security.md has a role for ingest); then run the same command again."
            )
        if status in {401, 403}:  # not this document: nothing may be written
            raise TargetError(
                f"The index {self._index} takes no documents: {reason}. Allow writing (a block is taken away with "
                f"PUT {self._index}/_settings) and run the same command again."
            )


def _passing(error: TransportError) -> str:
    """Why a request did not get through, if that may pass; else the client's error as ours."""
    from opensearchpy import exceptions

    if isinstance(error, exceptions.ConnectionError):
        return f"connection failed ({type(error).__name__})"
    if error.status_code in _TRY_AGAIN:
        return f"HTTP {told(error)}"
    raise ClusterError(f"The cluster refused a bulk request: {told(error)}.") from error
