"""Fault proxy: TCP between a client and the real node, where each bulk request meets the next planned fault.

It works on bytes, so it can do what no server does on purpose: cut a connection before or after a request was applied,
cut a request or an answer in its middle, deliver a request twice, or long after the client gave up waiting for it.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

FAULTS = (
    "cut before",
    "cut within",
    "cut after",
    "truncated answer",
    "garbled answer",
    "short answer",
    "shuffled answer",
    "answer to others",
    "twice",
    "late",
    "slow",
    "429",
    "502",
    "503",
    "504",
    "413",
    "busy for half",
)
"""What may happen to a bulk request."""
_DELAY = 0.3  # seconds
_FULL = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue full"}}

Hook = Callable[[int], None]


class FaultProxy:
    """A proxy on the loopback interface; a context.

    Args:
        node: URL of the node.
        faults: What happens to the first, second, ... bulk request; after them, and with an empty name, nothing.
        before: Called with a bulk request's number, counted from 0, before it is passed on.
        after: The same when the node has answered and the client does not know yet.
    """

    def __init__(
        self, node: str, faults: Iterable[str] = (), *, before: Hook = lambda _: None, after: Hook = lambda _: None
    ) -> None:
        parts = urlsplit(node)
        self._node = (parts.hostname or "", parts.port or 80)
        self.faults = deque(faults)
        self.met: Counter[str] = Counter()
        """Faults that happened."""
        self.bulks = 0
        """Bulk requests that came."""
        self._before, self._after = before, after
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        while self._threads:  # a request that is late is delivered before the next run begins
            self._threads.pop().join()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            while request := _read(stream):
                answer = self._answer(*request)
                if answer:
                    connection.sendall(answer)
                if answer is None or answer.endswith(_CUT):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return  # by RST, not by an orderly end

    def _answer(self, head: bytes, body: bytes) -> bytes | None:
        """What the client gets; ``None`` for nothing."""
        if b"/_bulk" not in head.partition(b"\r\n")[0]:
            return self._forward(head, body)
        with self._lock:
            number, self.bulks = self.bulks, self.bulks + 1
            fault = self.faults.popleft() if self.faults else ""
            lines = _plain(head, body)
            if fault == "413" and len(lines) <= 2:
                fault = ""  # a single document that is too large is lost rightly
            self.met[fault] += bool(fault)
        self._before(number)
        answer = self._faulty(fault, head, body, lines)
        self._after(number)
        return answer

    def _faulty(self, fault: str, head: bytes, body: bytes, lines: list[bytes]) -> bytes | None:
        if fault == "cut within":
            self._forward(head, body[: len(body) // 2], is_whole=False)
        if fault == "late":
            self._start(self._deliver_late, head, body)
        if fault in {"cut before", "cut within", "late"}:
            return None
        if fault.isdigit():
            return _http(int(fault), b"{}")
        if fault == "busy for half":
            return self._half(head, lines)
        if fault == "slow":
            time.sleep(_DELAY)
        if fault in _REORDERED:
            head = _without(head, b"accept-encoding")
        for _ in range(2 if fault == "twice" else 1):
            answer = self._forward(head, body) or b""
        changed = {
            "cut after": None,
            "truncated answer": answer[: len(answer) * 2 // 3] + _CUT,
            "garbled answer": _http(200, b"<html>It works!</html>"),
        }
        if fault in _REORDERED:
            return _http(200, json.dumps(_REORDERED[fault](json.loads(answer.partition(b"\r\n\r\n")[2]))).encode())
        return changed.get(fault, answer)

    def _deliver_late(self, head: bytes, body: bytes) -> None:
        time.sleep(_DELAY)
        with suppress(OSError):  # the node may be gone by then
            self._forward(head, body)

    def _half(self, head: bytes, lines: list[bytes]) -> bytes:
        """The node takes every other document; for the rest its queue is full."""
        pairs = [lines[place] + lines[place + 1] for place in range(0, len(lines), 2)]
        taken = b"".join(pairs[1::2])
        if not taken:
            return _http(429, b"{}")
        plain = _without(head, b"content-length", b"content-encoding", b"accept-encoding")
        start, _, rest = plain.partition(b"\r\n")
        plain = start + b"\r\nContent-Length: %d\r\n" % len(taken) + rest
        answer = self._forward(plain, taken) or b""
        items = iter(json.loads(answer.partition(b"\r\n\r\n")[2])["items"])
        ids = [json.loads(line)["index"]["_id"] for line in lines[::2]]
        mixed = [next(items) if place % 2 else {"index": {"_id": id_, **_FULL}} for place, id_ in enumerate(ids)]
        return _http(200, json.dumps({"took": 1, "errors": True, "items": mixed}).encode())

    def _forward(self, head: bytes, body: bytes, *, is_whole: bool = True) -> bytes | None:
        with socket.create_connection(self._node, timeout=60) as node:
            start, _, rest = _without(head, b"connection").partition(b"\r\n")
            node.sendall(start + b"\r\nConnection: close\r\n" + rest + body)
            if not is_whole:
                return None
            parts = []
            while part := node.recv(65_536):
                parts.append(part)
        return b"".join(parts)


def _without(head: bytes, *names: bytes) -> bytes:
    """A request's head without some of its lines."""
    starts = tuple(name + b":" for name in names)
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(starts))


def _of_others(answer: dict[str, Any]) -> dict[str, Any]:
    for item in answer["items"]:
        item["index"]["_id"] += " of another"
    return answer


_REORDERED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "short answer": lambda answer: {**answer, "items": answer["items"][:-1]},
    "shuffled answer": lambda answer: {**answer, "items": answer["items"][::-1]},
    "answer to others": _of_others,
}
"""Whole answers, of which a client must not take one document's outcome for another's."""
_CUT = b"\0cut"
"""Marks an answer after which the connection is cut; the client never gets as far as reading it as one."""


def _read(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Head, with the empty line at its end, and body of the next request."""
    head, length = b"", 0
    while line := stream.readline():
        head += line
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
        if line == b"\r\n":
            return head, stream.read(length)
    return None


def _plain(head: bytes, body: bytes) -> list[bytes]:
    """The lines of a bulk request."""
    is_gzip = b"content-encoding: gzip" in head.lower()
    return (gzip.decompress(body) if is_gzip else body).splitlines(keepends=True)


def _http(status: int, content: bytes) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
