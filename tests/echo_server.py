"""A server on loopback that answers always the same and keeps what it was asked, to stand for servers we have not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INFO = b'{"version": {"number": "3.6.0", "distribution": "opensearch"}}'


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Echo:
    """Its address, and the requests in their order."""

    host: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def echo_server(status: int = 200, body: bytes = INFO, *, drops: bool = False) -> Iterator[Echo]:
    """A running one.

    Args:
        status: Of every answer.
        body: Of every answer.
        drops: Read each request and close the connection instead.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            echo.asked.append(Asked(self.command, self.path, dict(self.headers), content))
            if drops:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the base class' names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        echo = Echo(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield echo
        finally:
            server.shutdown()
            thread.join()
