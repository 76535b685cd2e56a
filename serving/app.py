"""App: the service behind HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import orjson

from opensearch_splade.errors import OspladeError
from opensearch_splade.serving import bodies, pages
from opensearch_splade.serving.access import guarded
from opensearch_splade.serving.lane import Lane
from opensearch_splade.serving.refusals import Refusal
from opensearch_splade.serving.service import LANES, Service

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    async def encode(request: Request) -> Response:
        model, lane = request.path_params["model"], request.path_params["lane"]
        start = time.perf_counter()
        status = 500
        try:
            if lane not in LANES:
                raise Refusal(404, "unknown_path", f"There is no /{model}/{lane}; there are: {', '.join(LANES)}.")
            with service.answering():
                rows = await _rows(request, service, service.lane(model, lane))
            status = 200 if rows is not None else GONE
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            known = model in service.served.bundles and lane in LANES
            service.metrics.answered(model if known else "", lane if known else "", status, time.perf_counter() - start)
        if rows is None:
            return Response(status_code=GONE)
        bundle = service.served.bundles[model]
        return Response(b"[%b]" % b",".join(rows), media_type=_JSON, headers={FINGERPRINT: bundle.manifest.fingerprint})

    async def models(_: Request) -> Response:
        return _json(service.described())

    async def health(_: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(_: Request) -> Response:
        service.require_ready()
        return _json({"status": "ready"})

    async def metrics(_: Request) -> Response:
        text, media_type = await asyncio.to_thread(service.metrics.page)
        return PlainTextResponse(text, headers={"content-type": media_type})

    async def openapi(_: Request) -> Response:
        return _json(pages.openapi(service))

    async def docs(_: Request) -> Response:
        return HTMLResponse(pages.docs(service))

    async def refused(_: Request, error: Exception) -> Response:
        return _refused(cast("Refusal", error))

    async def other(request: Request, error: Exception) -> Response:
        error = cast("HTTPException", error)
        kind = {404: "unknown_path", 405: "method_not_allowed"}.get(error.status_code, "refused")
        reason = f"{request.method} {request.url.path}: {error.detail}. /docs shows what there is."
        return _refused(Refusal(error.status_code, kind, reason, error.headers))

    async def failed(_: Request, error: Exception) -> Response:
        reason = str(error) if isinstance(error, OspladeError) else "The server failed; its log says why."
        return _refused(Refusal(500, "failed", reason))

    return guarded(
        Starlette(
            routes=[
                Route("/models", models),
                Route("/health", health),
                Route("/ready", ready),
                Route("/metrics", metrics),
                Route("/openapi.json", openapi),
                Route("/docs", docs),
                Route("/{model}/{lane}", encode, methods=["POST"]),
            ],
            exception_handlers={Refusal: refused, HTTPException: other, Exception: failed},
        ),
        tokens,
    )


async def _rows(request: Request, service: Service, lane: Lane) -> list[bytes] | None:
    """The vectors; ``None`` if the client goes away first, whose texts then leave the queue."""
    from starlette.requests import ClientDisconnect

    limits = service.served.limits
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


def _refused(refusal: Refusal) -> Response:
    response = _json(refusal.body, refusal.status)
    response.headers.update(refusal.headers)
    return response
