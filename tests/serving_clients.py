"""Real servers for tests: in a thread of this process, or a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.serving import Limits, Listening, Served
from opensearch_splade.serving.server import Running, bound

COMMAND = "from opensearch_splade.cli.main import main; main()"
BUNDLES = ("splade-tiny", "splade-tiny-idf", "minilm-l6")


@contextmanager
def server(
    *bundles: str, limits: Limits | None = None, listening: Listening | None = None, **served: Any
) -> Iterator[str]:
    """A server on loopback in a thread; gives its URL once it is ready."""
    listening = listening or Listening(port=0)
    found = {name: Bundle.open(name) for name in bundles or BUNDLES}
    ready, urls = threading.Event(), []
    failures: list[BaseException] = []

    def told(url: str) -> None:
        urls.append(url)
        ready.set()

    with bound(listening) as listener:
        running = Running(Served(found, Device(), limits or Limits(), **served), listening, listener, told)
        loops: list[asyncio.AbstractEventLoop] = []

        async def run() -> None:
            loops.append(asyncio.get_running_loop())
            await running.run()

        def work() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
        try:
            if failures:
                raise failures[0]
            yield urls[0]
        finally:
            if thread.is_alive():
                loops[0].call_soon_threadsafe(running.stop)
            thread.join()


@contextmanager
def process(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``osplade serve`` as users run it, ready; killed if it is still there at the end."""
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0", "--json", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    ) as running:
        try:
            line = running.stdout.readline() if running.stdout else ""
            yield (orjson.loads(line)["url"] if line else ""), running
        finally:
            if running.poll() is None:
                running.kill()


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, as PEM files."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "osplade test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def body(texts: Sequence[str]) -> bytes:
    """What a connector sends."""
    return orjson.dumps({"input": list(texts)})
