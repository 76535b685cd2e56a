"""Bodies: what a request brings, checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.refusals import malformed, too_large

if TYPE_CHECKING:
    from starlette.requests import Request


async def read(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        Refusal: It is larger than ``limit``.
    """
    stated = request.headers.get("content-length", "0")
    found = bytearray()
    if not stated.isdecimal() or int(stated) <= limit:
        async for chunk in request.stream():
            found += chunk
            if len(found) > limit:
                break
        else:
            return bytes(found)
    raise too_large(f"The body is larger than {limit:,} bytes. Send fewer texts at once.")


def texts_of(body: bytes, limits: Limits) -> list[str]:
    """The texts of ``{"input": ["text", ...]}``, which is what a connector of ML Commons sends.

    Raises:
        Refusal: It is something else, or brings too many.
    """
    found = _parsed(body)
    texts = found.get("input") if isinstance(found, dict) else None
    if not isinstance(texts, list):
        raise malformed('There is no list under "input".')
    if len(texts) > limits.max_texts:
        raise too_large(f"{len(texts):,} texts are more than the {limits.max_texts:,} that a request may bring.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise malformed(f"input[{place}] is no text.")
    return texts


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:
        # Java escapes what is not ASCII, lone surrogates too, which orjson refuses: one bad text of a batch.
        if b"\\u" not in body:
            raise malformed(f"The body is no JSON: {error}.") from error
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(f"The body is no JSON: {error}.") from error
