"""Stands for an encoder behind HTTP that misbehaves when told to. ``osplade serve`` is the one that does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[str]], tuple[int, Any] | None]
"""Texts to status and JSON; ``None`` breaks the connection off."""


def lengths(texts: list[str]) -> tuple[int, Any]:
    """The answer of an encoder in order: for each text its words, as heavy as they are long."""
    return 200, [{word: float(len(word)) for word in text.split()} for text in texts]


@dataclass
class Encoder:
    """What is told to the encoder, and what it saw.

    Attributes:
        url: What a connector posts to.
        answer: How it answers from now on.
        calls: The texts of each call.
        tokens: The ``authorization`` header of each call.
    """

    url: str
    answer: Answer = lengths
    calls: list[list[str]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A broken connection is part of the play."""


@contextmanager
def encoder() -> Iterator[Encoder]:
    """An encoder that listens on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            told.calls.append(texts)
            told.tokens.append(self.headers.get("authorization"))
            if (answer := told.answer(texts)) is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            body = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        told = Encoder(f"http://127.0.0.1:{server.server_port}/encode")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
