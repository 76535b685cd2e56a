"""Server: the app on a socket, from the first listen to the last answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from opensearch_splade.errors import MissingExtraError, OspladeError
from opensearch_splade.serving.app import app
from opensearch_splade.serving.metrics import Metrics
from opensearch_splade.serving.service import Served, Service

BACKLOG = 2048
"""Connections that the kernel holds until they are accepted: a cluster opens thirty for each connector at once."""
_SWITCH = 0.0005
"""Seconds after which a thread must let others have the interpreter; Python's own 5 ms are several questions long."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and to whom.

    Attributes:
        host: Name or address of this machine.
        port: 0 takes any that is free.
        certificate: PEM file of the certificate and those that it needs; no TLS without.
        key: PEM file of its key.
        tokens: See ``app``.
        keep_alive: Seconds that an unused connection stays; longer than clients keep theirs, so that none sends into
            one that is being closed.
        drain: Seconds that accepted requests have after a SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 9229
    certificate: Path | None = None
    key: Path | None = None
    tokens: Sequence[str] = ()
    keep_alive: int = 75
    drain: int = 30


def serve(served: Served, listening: Listening, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; then answers what was accepted.

    Args:
        served: What is served.
        listening: Where.
        ready: Called with the URL once texts are taken.

    Raises:
        MissingExtraError: The extra ``serve`` is not installed.
        OspladeError: The address or the certificate cannot be used, a model cannot be loaded, or requests were left
            unanswered.
    """
    try:
        import uvicorn  # noqa: F401 - said before anything is loaded
    except ImportError as error:
        raise MissingExtraError("uvicorn", "serve") from error
    _check_certificate(listening)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        with bound(listening) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(Running(served, listening, listener, ready).run())
    finally:
        sys.setswitchinterval(interval)


class Running:
    """One run of a server.

    Args:
        served: What is served.
        listening: To whom.
        listener: A bound socket.
        ready: Called with the URL once texts are taken.
    """

    def __init__(
        self, served: Served, listening: Listening, listener: socket.socket, ready: Callable[[str], None]
    ) -> None:
        self._served = served
        self._listening = listening
        self._listener = listener
        self._ready = ready
        self._stop: asyncio.Event | None = None
        self._error: OspladeError | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port, *_ = self._listener.getsockname()
        scheme = "https" if self._listening.certificate else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def run(self) -> None:
        """Listens at once, loads, tells, and drains when it is asked to stop.

        Raises:
            OspladeError: See ``serve``.
        """
        service = Service(self._served, Metrics())
        server = _uvicorn(app(service, self._listening.tokens), self._listening)
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def handle_exit(_signal: int, _frame: FrameType | None) -> None:
            if stop.is_set():  # asked twice: at once
                server.should_exit = server.force_exit = True
            loop.call_soon_threadsafe(stop.set)

        server.handle_exit = handle_exit
        self._stop = stop
        serving = asyncio.ensure_future(server.serve(sockets=[self._listener]))
        working = asyncio.ensure_future(self._work(service, stop))
        await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        service.close()
        await working

    def stop(self) -> None:
        """As SIGTERM does."""
        if self._stop is not None:
            self._stop.set()

    async def _work(self, service: Service, stop: asyncio.Event) -> None:
        loading = asyncio.ensure_future(self._load(service))
        asked = asyncio.ensure_future(stop.wait())
        await asyncio.wait({loading, asked}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
        await asked
        try:
            await asyncio.wait_for(service.drain(), self._listening.drain)
        except TimeoutError:
            service.abandon()
            raise OspladeError(
                f"Some requests got 503: they were not done {self._listening.drain} s after the server was asked to "
                "stop. Give it longer (--drain-seconds), or let fewer texts wait (--max-queue)."
            ) from None

    async def _load(self, service: Service) -> None:
        await service.load()
        self._ready(self.url)


def _uvicorn(application: Any, listening: Listening) -> Any:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            application,
            backlog=BACKLOG,
            timeout_keep_alive=listening.keep_alive,
            timeout_graceful_shutdown=listening.drain,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            ssl_certfile=listening.certificate,
            ssl_keyfile=listening.key,
        )
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def bound(listening: Listening) -> socket.socket:
    """A socket that listens.

    Raises:
        OspladeError: The address cannot be had.
    """
    host = listening.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, listening.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OspladeError(
            f"Cannot listen at {listening.host}:{listening.port} ({error.strerror or error}): "
            "name another with --host and --port; --port 0 takes any that is free."
        ) from error


def _check_certificate(listening: Listening) -> None:
    if listening.certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(listening.certificate, listening.key)
    except (OSError, ssl.SSLError) as error:
        raise OspladeError(
            f"{listening.certificate} and its key cannot be used for TLS: {error}. Both are PEM files; the key has no "
            "password and belongs to the first certificate."
        ) from error
