"""Access: who may ask, and from where."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import OspladeError
from opensearch_splade.serving.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN = frozenset({"/health", "/ready"})
"""Paths of probes, which carry no secrets and say nothing."""


def guarded(app: ASGIApp, tokens: Sequence[str]) -> ASGIApp:
    """The application, behind a bearer token if there are any: one of them must be shown."""
    if not tokens:
        return app
    known = [b"Bearer " + token.encode() for token in tokens]

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            shown = dict(scope["headers"]).get(b"authorization", b"")
            # Every one is compared, in constant time, so that nothing is told by how long it takes.
            if not sum(hmac.compare_digest(shown, token) for token in known):
                await _unauthorised(send)
                return
        await app(scope, receive, send)

    return guard


async def _unauthorised(send: Send) -> None:
    refusal = Refusal(401, "unauthorised", "Send the server's token as `Authorization: Bearer TOKEN`.")
    body = orjson.dumps(refusal.body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_tokens(path: Path) -> list[str]:
    """Tokens of a file, one a line: a new one and the old one while clients change over.

    Raises:
        OspladeError: The file cannot be read, holds none, or one that no header can carry.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OspladeError(f"{path} cannot be read: {error}.") from error
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens:
        raise OspladeError(f"{path} holds no token. Write one into it, for example by `openssl rand -hex 32`.")
    return list(map(checked, tokens))


def checked(token: str) -> str:
    """A token that a header can carry.

    Raises:
        OspladeError: It cannot.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise OspladeError("A token is printable ASCII without spaces, for example what `openssl rand -hex 32` gives.")
    return token


def require_safe(host: str, *, tls: bool, tokens: bool, insecure: bool) -> None:
    """Refuses to be seen by other machines without TLS and a token.

    Raises:
        OspladeError: It would be.
    """
    if insecure or (tls and tokens) or _is_loopback(host):
        return
    lacking = " and ".join(name for name, given in (("TLS", tls), ("a token", tokens)) if not given)
    raise OspladeError(
        f"At {host} other machines can reach this server, and it lacks {lacking}. Give --tls-cert, --tls-key and "
        "--token-file, or listen at 127.0.0.1, or say --insecure-listen if the network itself keeps others out."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
