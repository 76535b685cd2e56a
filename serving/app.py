"""App: the service behind HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from opensearch_splade.errors import OspladeError
from opensearch_splade.serving import bodies, pages
from opensearch_splade.serving.access import guarded
from opensearch_splade.serving.lane import Lane
from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.refusals import Refusal
from opensearch_splade.serving.service import LANES, Service

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

FINGERPRINT = "x-osplade-fingerprint"
GONE = 499
"""How a request whose client went away is counted; nobody reads it."""
_JSON = "application/json"


def app(service: Service, tokens: Sequence[str] = ()) -> ASGIApp:
    """The ASGI application.

    Args:
        service: What is asked.
        tokens: Any one of them must come as ``Authorization: Bearer``; none are needed if there are none.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    answers = _Answers(service)
    pages_of = ("models", "health", "ready", "metrics", "docs")
    return guarded(
        Starlette(
            routes=[
                *(Route(f"/{name}", getattr(answers, name)) for name in pages_of),
                Route("/openapi.json", answers.openapi),
                Route("/{model}/{lane}", answers.encode, methods=["POST"]),
            ],
            exception_handlers={Refusal: _refused, HTTPException: _not_found, Exception: _failed},
        ),
        tokens,
    )


class _Answers:
    """One method a path."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def encode(self, request: Request) -> Response:
        from starlette.responses import Response

        model, lane = request.path_params["model"], request.path_params["lane"]
        with self._counted(model, lane) as answer:
            rows = await self._rows(request, model, lane)
            answer.status = GONE if rows is None else 200
        if rows is None:
            return Response(status_code=GONE)
        fingerprint = self._service.served.bundles[model].manifest.fingerprint
        return Response(b"[%b]" % b",".join(rows), media_type=_JSON, headers={FINGERPRINT: fingerprint})

    async def models(self, _: Request) -> Response:
        return _json(self._service.described())

    async def health(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        self._service.require_ready()
        return _json({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        from starlette.responses import PlainTextResponse

        text, media_type = await asyncio.to_thread(self._service.metrics.page)
        return PlainTextResponse(text, headers={"content-type": media_type})

    async def openapi(self, _: Request) -> Response:
        return _json(pages.openapi(self._service))

    async def docs(self, _: Request) -> Response:
        from starlette.responses import HTMLResponse

        return HTMLResponse(pages.docs(self._service))

    async def _rows(self, request: Request, model: str, lane: str) -> list[bytes] | None:
        if lane not in LANES:
            raise Refusal(404, "unknown_path", f"There is no /{model}/{lane}; there are: {', '.join(LANES)}.")
        with self._service.answering():
            return await _rows(request, self._service.served.limits, self._service.lane(model, lane))

    @contextmanager
    def _counted(self, model: str, lane: str) -> Iterator[_Answer]:
        """Around a request; what is of no model or lane is counted without their names, which anyone may make up."""
        start, answer = time.perf_counter(), _Answer()
        known = model in self._service.served.bundles and lane in LANES
        try:
            yield answer
        except Refusal as refusal:
            answer.status = refusal.status
            raise
        finally:
            labels = (model, lane) if known else ("", "")
            self._service.metrics.answered(*labels, answer.status, time.perf_counter() - start)


@dataclass
class _Answer:
    status: int = 500


async def _refused(_: Request, error: Exception) -> Response:
    return _refusal(cast("Refusal", error))


async def _not_found(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    kind = {404: "unknown_path", 405: "method_not_allowed"}.get(error.status_code, "refused")
    reason = f"{request.method} {request.url.path}: {error.detail}. /docs shows what there is."
    return _refusal(Refusal(error.status_code, kind, reason, error.headers))


async def _failed(_: Request, error: Exception) -> Response:
    reason = str(error) if isinstance(error, OspladeError) else "The server failed; its log says why."
    return _refusal(Refusal(500, "failed", reason))


async def _rows(request: Request, limits: Limits, lane: Lane) -> list[bytes] | None:
    """The vectors; ``None`` if the client goes away first, whose texts then leave the queue."""
    from starlette.requests import ClientDisconnect

    try:
        body = await bodies.read(request, limits.max_body)
    except ClientDisconnect:
        return None
    work = asyncio.ensure_future(lane.encode(bodies.texts_of(body, limits)))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        gone.cancel()
        work.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(value: Any, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(orjson.dumps(value), status, media_type=_JSON)


def _refusal(refusal: Refusal) -> Response:
    response = _json(refusal.body, refusal.status)
    response.headers.update(refusal.headers)
    return response
