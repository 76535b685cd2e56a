"""Pages: the server's OpenAPI description, and the same to read; neither fetches anything from elsewhere."""

from __future__ import annotations

from html import escape
from importlib import metadata
from typing import Any

import orjson

from opensearch_splade.serving.service import LANES, Service

_ERRORS = {
    "400": "The body is not what is asked for.",
    "401": "The bearer token is missing or wrong.",
    "404": "There is no such model.",
    "413": "Too many texts, or too large a body.",
    "429": "The lane's queue is full; Retry-After says when to try again.",
    "503": "The server is loading or draining.",
}
_MEANINGS = {
    "/models": "The models, their fingerprints and limits.",
    "/health": "200 while the process lives.",
    "/ready": "200 while texts are taken; 503 while loading or draining.",
    "/metrics": "For Prometheus.",
}
_INPUT = {
    "type": "object",
    "required": ["input"],
    "properties": {"input": {"type": "array", "items": {"type": "string"}}},
    "example": {"input": ["a text", "another one"]},
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "object", "properties": {"type": {"type": "string"}, "reason": {"type": "string"}}}
    },
}
_VECTORS: dict[bool, dict[str, Any]] = {
    False: {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "number"}}},
    True: {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
}


def openapi(service: Service) -> dict[str, Any]:
    """The description as OpenAPI 3.1 has it."""
    paths: dict[str, Any] = {path: {"get": _operation(meaning)} for path, meaning in _MEANINGS.items()}
    for model in service.described():
        for lane in LANES:
            paths[f"/{model['name']}/{lane}"] = {"post": _encoding(model, lane)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "osplade serve", "version": metadata.version("opensearch-splade")},
        "components": {
            "schemas": {"Error": _ERROR, "Input": _INPUT},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "paths": paths,
    }


def docs(service: Service) -> str:
    """What can be asked, as one page."""
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td><td>{escape(found['summary'])}</td></tr>"
        for path, methods in openapi(service)["paths"].items()
        for method, found in methods.items()
    )
    errors = "".join(f"<tr><td>{status}</td><td>{escape(meaning)}</td></tr>" for status, meaning in _ERRORS.items())
    example = escape(orjson.dumps(_INPUT["example"]).decode())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>osplade serve</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.2rem .8rem .2rem 0;vertical-align:top}code,pre{background:#8882;padding:.1rem .3rem}</style>"
        f"<h1>osplade serve</h1><table>{rows}</table><h2>Body</h2><pre>{example}</pre>"
        "<p>The answer is a bare array with one vector per text, in order; the header "
        "<code>x-osplade-fingerprint</code> says which document vectors they may be matched with.</p>"
        f"<h2>Errors</h2><table>{errors}</table><p><a href=openapi.json>openapi.json</a></p></html>"
    )


def _operation(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "As said."}}}


def _encoding(model: dict[str, Any], lane: str) -> dict[str, Any]:
    dense = model["kind"] == "dense"
    what = "one array of numbers" if dense else "one map of token to weight"
    looked_up = " No model runs." if lane == "queries" and model["inference_free"] else ""
    answers: dict[str, Any] = {
        status: {"description": meaning, "content": _content({"$ref": "#/components/schemas/Error"})}
        for status, meaning in _ERRORS.items()
    }
    answers["200"] = {"description": f"For each text {what}.", "content": _content(_VECTORS[dense])}
    return {
        "summary": f"Vectors of {lane}, {what} for each.{looked_up}",
        "requestBody": {"required": True, "content": _content({"$ref": "#/components/schemas/Input"})},
        "responses": answers,
        "security": [{"token": []}, {}],
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
