"""Certificates of a test's own: an authority, and what it signed; made by openssl, valid for two days."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_CONFIG = """[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = {names}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Signed:
    """Files of a certificate and of its key, which is PKCS#8 without a passphrase."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl on this machine, which makes the certificates of this test")
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._own = self._made(name, "DNS:none", "authority")

    @property
    def certificate(self) -> Path:
        """What clients are to trust."""
        return self._own.certificate

    def sign(self, name: str, names: str = "DNS:localhost, IP:127.0.0.1") -> Signed:
        """A certificate with the subject ``CN=name`` for server and client, and for these names of hosts."""
        own = ["-CA", str(self._own.certificate), "-CAkey", str(self._own.key)]
        return self._made(name, names, "leaf", *own)

    def _made(self, name: str, names: str, extensions: str, *more: str) -> Signed:
        config = self._folder / f"{name}.cnf"
        config.write_text(_CONFIG.format(name=name, names=names))
        made = Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        given = ["-config", config, "-extensions", extensions, "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        files = ["-keyout", made.key, "-out", made.certificate]
        subprocess.run(["openssl", "req", "-x509", *given, *more, *files], check=True, capture_output=True)  # noqa: S607
        return made
