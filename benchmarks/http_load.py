"""Load for a server on loopback: clients that keep their connection, spend little, and look at each answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson


@dataclass
class Seen:
    """What some clients saw.

    Attributes:
        seconds: Of each answer that is vectors.
        texts: How many vectors came.
        statuses: Answers by status; 0 is a lost connection.
        wrong: Answers with another number of vectors than texts were sent.
    """

    seconds: list[float] = field(default_factory=list)
    texts: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        every = sorted(self.seconds)
        return 1000 * every[min(len(every) - 1, int(share * len(every)))] if every else float("nan")

    @property
    def errors(self) -> int:
        """Answers that are neither vectors nor 429."""
        return self.wrong + sum(count for status, count in self.statuses.items() if status not in {200, 429})


@dataclass(frozen=True)
class Address:
    """Where clients ask."""

    host: str
    port: int


def request(path: str, texts: Sequence[str]) -> bytes:
    """The bytes of one request."""
    body = orjson.dumps({"input": list(texts)})
    head = f"POST {path} HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def client(
    at: Address, requests: Sequence[bytes], texts: int, seen: Seen, until: float, *, pause: float = 0.0
) -> None:
    """One client until a time: asks, reads the answer, rests.

    Args:
        at: The server.
        requests: Taken in turn, each beginning elsewhere.
        texts: Of each request.
        seen: Where it notes what it saw.
        until: Of ``time.monotonic``.
        pause: Mean seconds between an answer and the next request, exponentially distributed.
    """
    place = random.randrange(len(requests))  # noqa: S311 - no secret
    streams = None
    while time.monotonic() < until:
        if pause:
            await asyncio.sleep(random.expovariate(1 / pause))
        place += 1
        start = time.perf_counter()
        try:
            streams = streams or await asyncio.open_connection(at.host, at.port, limit=1 << 22)
            status, body, wait = await _ask(*streams, requests[place % len(requests)])
        except (OSError, asyncio.IncompleteReadError):
            streams, status, body, wait = None, 0, b"", 0.0
        seen.statuses[status] += 1
        if status == 200:
            seen.seconds.append(time.perf_counter() - start)
            seen.texts += texts
            # Sparse: a map each. Dense: an array each, beside the one around them.
            seen.wrong += max(body.count(b"{"), body.count(b"[") - 1) != texts
        if wait:
            await asyncio.sleep(wait)
    if streams:
        streams[1].close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> tuple[int, bytes, float]:
    """Status, body, and the seconds that Retry-After asks for."""
    writer.write(sent)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers[b"content-length"]))
    return int(head[0].split()[1]), body, float(headers.get(b"retry-after", 0))
