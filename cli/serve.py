"""``osplade serve``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import click
import orjson

from opensearch_splade.cli import options
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.serving import Limits, Listening, Served
from opensearch_splade.serving import serve as run
from opensearch_splade.serving.access import checked, read_tokens, require_safe

TOKEN = "OSPLADE_SERVE_TOKEN"  # noqa: S105 - the variable's name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument(
    "bundles", nargs=-1, required=True, metavar="[NAME=]BUNDLE...", shell_complete=options.BUNDLE.shell_complete
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9229, show_default=True, help="0 takes any that is free."
)
@options.device
@click.option(
    "--concurrency", type=click.IntRange(1), help="Batches of documents of a model at once. [default: its plan's]"
)
@click.option(
    "--max-batch-tokens", type=click.IntRange(1), help="Tokens of a batch, padding included. [default: the plan's]"
)
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0, 1000),
    default=3.0,
    show_default=True,
    help="How long a batch of documents that is not full waits while another one runs.",
)
@click.option(
    "--max-queue", type=click.IntRange(1), default=8192, show_default=True, help="Texts that wait in a lane; then 429."
)
@click.option(
    "--max-queue-tokens",
    type=click.IntRange(1),
    default=1 << 20,
    show_default=True,
    help="Tokens that wait in a lane; then 429.",
)
@click.option(
    "--max-texts", type=click.IntRange(1), default=1024, show_default=True, help="Texts of a request; then 413."
)
@click.option(
    "--max-body", type=click.IntRange(1), default=8 << 20, show_default=True, help="Bytes of a request; then 413."
)
@click.option(
    "--token-file",
    type=_FILE,
    help=f"Bearer tokens that are let in, one a line. [default: ${TOKEN}, else none is needed]",
)
@click.option("--tls-cert", type=_FILE, help="Certificate (PEM), with those between it and the authority.")
@click.option("--tls-key", type=_FILE, help="Its key (PEM).")
@click.option(
    "--keep-alive",
    type=click.IntRange(1),
    default=75,
    show_default=True,
    help="Seconds that an unused connection stays.",
)
@click.option(
    "--drain-seconds",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Time for accepted requests after SIGTERM.",
)
@click.option("--insecure-listen", is_flag=True, help="Let other machines ask without TLS or token.")
@options.as_json
def serve(
    bundles: tuple[str, ...],
    *,
    host: str,
    port: int,
    device: Device,
    concurrency: int | None,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    keep_alive: int,
    drain_seconds: int,
    insecure_listen: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Put bundles behind HTTP, for connectors of ML Commons and anyone else.

    POST /NAME/documents and /NAME/queries take {"input": ["a text", ...]} and answer one vector per text. The name is
    the bundle's own unless you give one. Queries have a lane of their own, to which documents give way. SIGTERM
    finishes what was accepted. GET /docs shows the rest.

    \b
    Example:
      osplade serve splade-tiny
      osplade serve splade-tiny vectors=minilm-l6 --device cpu:4 --port 9230
      osplade serve my-bundle --host 0.0.0.0 --token-file token --tls-cert cert.pem --tls-key key.pem
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    tokens = _tokens(token_file)
    require_safe(host, tls=tls_cert is not None, tokens=bool(tokens), insecure=insecure_listen)
    served = Served(_named(bundles), device, Limits(**limits), concurrency)
    listening = Listening(host, port, tls_cert, tls_key, tokens, keep_alive, drain_seconds)
    click.echo(f"loading {', '.join(served.bundles)} ...", err=True)
    run(served, listening, lambda url: click.echo(_told(url, served, listening, as_json=as_json)))


def _tokens(file: Path | None) -> list[str]:
    if file is not None:
        return read_tokens(file)
    return [checked(os.environ[TOKEN])] if os.environ.get(TOKEN) else []


def _named(given: tuple[str, ...]) -> dict[str, Bundle]:
    found: dict[str, Bundle] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        named = bool(equals) and not Path(text).exists()
        bundle = Bundle.open(rest if named else text)
        name = name if named else bundle.folder.resolve().name
        if not _NAME.fullmatch(name):
            raise click.UsageError(f"{name!r} cannot stand in a path; name the bundle yourself: NAME={rest or text}.")
        if name in found:
            raise click.UsageError(f"Two bundles would be called {name!r}; name one yourself: NAME={text}.")
        found[name] = bundle
    return found


def _told(url: str, served: Served, listening: Listening, *, as_json: bool) -> str:
    if as_json:
        models = {name: bundle.manifest.fingerprint for name, bundle in served.bundles.items()}
        return orjson.dumps({"url": url, "models": models, "pid": os.getpid()}).decode()
    name = next(iter(served.bundles))
    token = f' -H "Authorization: Bearer ${TOKEN}"' if listening.tokens else ""
    return (
        f"listening at {url} with {', '.join(served.bundles)}; more at {url}/docs. Try:\n"
        f"""  curl {url}/{name}/documents{token} -H 'Content-Type: application/json' -d '{{"input": ["a text"]}}'"""
    )
