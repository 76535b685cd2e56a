"""A node with TLS and the security plugin: OpenSearch 2.19.4, the newest pair of which Maven Central has both parts.

It has an authority and certificates of its own, one user ``admin`` with a random password, and takes basic
authentication, JSON web tokens and client certificates. Its distribution is the minimal one: ``rank_features`` are
added as in ``second_node``; analyzers beyond the standard one, painless and k-NN it does not have.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Signed
from second_node import add_mapper_extras, java_21

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin import node
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.node_config import Additions, free_port
from opensearch_splade.plugin.node_files import installation
from opensearch_splade.plugin.node_java import JavaRuntime
from opensearch_splade.plugin.node_versions import VERSIONS, NodeVersions, PinnedFile

SECURED = NodeVersions(
    opensearch="2.19.4",
    image="opensearchproject/opensearch:2.19.4",
    oldest_java=11,
    newest_java=23,
    distribution=PinnedFile(
        "org.opensearch.distribution.integ-test-zip:opensearch:zip:2.19.4",
        "3902e642715210d1d9d7cbdcc8f5abd6f931d1d7a679cea3750937becf16c406",
        56192149,
    ),
    plugins=(
        PinnedFile(
            "org.opensearch.plugin:opensearch-security:zip:2.19.4.0",
            "1f673622c462c4171a8c53f9b1ad20e5b839834cb79b0d3b388da180a0e514e8",
            44937300,
        ),
    ),
    thai_rules=VERSIONS.thai_rules,
)
_MAPPER_EXTRAS = PinnedFile(
    "org.opensearch.plugin:mapper-extras-client:jar:2.19.4",
    "fc1565cfdb1beb7a44e0585039000dab5de76ccee90c7038fa1c073bfff759eb",
    84961,
)


@dataclass(frozen=True)
class SecuredNode:
    """A node that asks who you are.

    Attributes:
        url: With https.
        authority: What signed its certificate.
        stranger: An authority that did not.
        admin: A certificate that may do everything.
        password: Of the user ``admin``.
        signing_key: Of JSON web tokens.
    """

    url: str
    authority: Authority
    stranger: Authority
    admin: Signed
    password: str = field(repr=False)
    signing_key: bytes = field(repr=False)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self.url.rpartition(":")[2])

    def token(self, user: str, roles: list[str], seconds: float = 600) -> str:
        """A JSON web token (RFC 7519) as an identity provider would make it."""
        said = {"sub": user, "roles": roles, "exp": int(time.time() + seconds)}
        parts = [_url64(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, said)]
        signature = hmac.new(self.signing_key, ".".join(parts).encode(), sha512).digest()
        return ".".join([*parts, _url64(signature)])


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass(frozen=True)
class Installed:
    """A server on disk that has the security plugin.

    Attributes:
        versions: What it is made of.
        server: Its folder.
        java: What runs it.
    """

    versions: NodeVersions
    server: Path
    java: JavaRuntime


def _released() -> Installed:
    java = java_21()
    server = installation(java, node.QUIET, SECURED)
    add_mapper_extras(server, _MAPPER_EXTRAS)
    return Installed(SECURED, server, java)


@contextmanager
def secured_node(home: Path, files: Path, install: Callable[[], Installed] = _released) -> Iterator[SecuredNode]:
    """A running node, stopped and its data deleted in the end; the test is skipped where none can be had.

    Args:
        home: A folder that every user can reach.
        files: A folder for the certificates.
        install: Gives the server.
    """
    authority, stranger = Authority(files / "ours"), Authority(files / "others")
    at, admin = authority.sign("node"), authority.sign("administrator")
    password, key = secrets.token_urlsafe(24), secrets.token_bytes(64)
    try:
        installed = install()
        hashed = _hashed(installed.server, installed.java.home, password)
        running = node.start(
            home,
            heap="512m",
            port=free_port(9600),  # not where others look for a node
            versions=installed.versions,
            java=installed.java,
            additions=Additions(_settings(), _files(authority, at, hashed, key)),
            client=lambda url: connect(
                url.replace("http:", "https:"), user="admin", password=password, ca_certs=str(authority.certificate)
            ),
        )
    except NodeError as error:
        if "downloaded" not in str(error):
            raise
        pytest.skip(f"no node with a security plugin: {error}")
    try:
        yield SecuredNode(running.url.replace("http:", "https:"), authority, stranger, admin, password, key)
    finally:
        node.stop(home, purge=True)


def _settings() -> dict[str, Any]:
    tls = {
        f"plugins.security.ssl.{layer}.{name}": file
        for layer in ("transport", "http")
        for name, file in (
            ("pemcert_filepath", "node.pem"),
            ("pemkey_filepath", "node.key"),
            ("pemtrustedcas_filepath", "authority.pem"),
        )
    }
    return tls | {
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.transport.enforce_hostname_verification": False,
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.nodes_dn": ["CN=node"],
        "plugins.security.authcz.admin_dn": ["CN=administrator"],
        "plugins.security.restapi.roles_enabled": ["all_access"],
    }


def _files(authority: Authority, at: Signed, hashed: str, key: bytes) -> dict[str, bytes]:
    users = {"_meta": {"type": "internalusers", "config_version": 2}}
    users["admin"] = {"hash": hashed, "reserved": True, "backend_roles": ["admin"]}
    ways = {
        "token": _way(0, "jwt", signing_key=base64.b64encode(key).decode(), subject_key="sub", roles_key="roles"),
        "certificate": _way(1, "clientcert", username_attribute="cn"),
        "basic": _way(2, "basic"),
    }
    ways["basic"]["authentication_backend"] = {"type": "intern"}
    ways["basic"]["http_authenticator"]["challenge"] = True
    config = {"_meta": {"type": "config", "config_version": 2}, "config": {"dynamic": {"authc": ways}}}
    # JSON is YAML.
    return {
        "node.pem": at.certificate.read_bytes(),
        "node.key": at.key.read_bytes(),
        "authority.pem": authority.certificate.read_bytes(),
        "jvm.options.d/short.options": b"-XX:TieredStopAtLevel=1\n",  # starts sooner, and nothing runs for long
        "opensearch-security/internal_users.yml": json.dumps(users).encode(),
        "opensearch-security/config.yml": json.dumps(config).encode(),
    }


def _way(order: int, kind: str, **config: str) -> dict[str, Any]:
    return {
        "http_enabled": True,
        "order": order,
        "http_authenticator": {"type": kind, "challenge": False, "config": config},
        "authentication_backend": {"type": "noop"},
    }


def _hashed(server: Path, java: Path, password: str) -> str:
    done = subprocess.run(
        ["/bin/bash", server / "plugins" / "opensearch-security" / "tools" / "hash.sh", "-env", "SECRET"],
        env={"PATH": os.environ["PATH"], "OPENSEARCH_JAVA_HOME": str(java), "SECRET": password},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]
