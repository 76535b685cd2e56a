"""The connection to a cluster, and clear words when there is none."""

from __future__ import annotations

import base64
import os
import re
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from opensearchpy import OpenSearch
from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    OpenSearchException,
    SSLError,
    TransportError,
)
from opensearchpy.exceptions import ConnectionError as NoConnectionError

from opensearch_splade.errors import ClusterError, NodeError
from opensearch_splade.plugin.node_state import running_node
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 30.0


def connect(
    url: str | None = None,
    *,
    user: str | None = None,
    password: str | None = None,
    ca_certs: str | None = None,
    insecure: bool = False,
    timeout: float = TIMEOUT,
    connections: int = 10,
) -> OpenSearch:
    """A client; nothing is sent yet (see :func:`server_info`).

    Args:
        url: ``http(s)://[user:password@]host[:port][/prefix]``; by default ``OPENSEARCH_URL``, else the running local
            node.
        user: By default the URL's, else ``OPENSEARCH_USER``; empty for nobody.
        password: By default the URL's, else ``OPENSEARCH_PASSWORD``.
        ca_certs: File of certificate authorities; by default ``OPENSEARCH_CA_CERTS``, else the usual ones.
        insecure: Do not verify the server's certificate. Never the default.
        timeout: Seconds for one request.
        connections: Connections kept open, at least the number of threads that share the client.

    Raises:
        ClusterError: No cluster is named, or the URL or the file of certificates is not usable.
    """
    parts = _parsed(url or known_url())
    is_tls = parts.scheme == "https"
    if user is None:
        user = unquote(parts.username or "") or os.environ.get("OPENSEARCH_USER", "")
    if password is None:
        password = unquote(parts.password or "") or os.environ.get("OPENSEARCH_PASSWORD", "")
    ca_certs = ca_certs or os.environ.get("OPENSEARCH_CA_CERTS")
    if is_tls and ca_certs and not Path(ca_certs).is_file():
        msg = f"file of certificate authorities {ca_certs} does not exist"
        raise ClusterError(msg)
    if bool(user) != bool(password):
        msg = "a user needs a password and the other way round: OPENSEARCH_USER and OPENSEARCH_PASSWORD"
        raise ClusterError(msg)
    options: Json = {"verify_certs": not insecure, "ssl_show_warn": False, "ca_certs": ca_certs} if is_tls else {}
    # Answers may come compressed. Requests are compressed where it pays, by who sends large ones: `http_compress` would
    # do it always, and at gzip's slowest level.
    options["headers"] = {"accept-encoding": "gzip,deflate"}
    if user:
        # Not http_auth: that encodes latin-1 and fails on any other password; the server reads UTF-8.
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        options["headers"]["authorization"] = f"Basic {token}"
    port = parts.port or (443 if is_tls else 9200)
    return OpenSearch(
        hosts=[{"host": parts.hostname, "port": port, "url_prefix": parts.path.strip("/"), "use_ssl": is_tls}],
        timeout=timeout,
        pool_maxsize=connections,
        **options,
    )


def known_url() -> str:
    """The cluster nobody had to name: ``OPENSEARCH_URL``, else the running local node.

    Raises:
        ClusterError: There is neither.
    """
    if given := os.environ.get("OPENSEARCH_URL"):
        return given
    if node := running_node():
        return node.url
    msg = "no cluster is named: give --url, set OPENSEARCH_URL, or run `osplade node start` for a local one"
    raise ClusterError(msg)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = f"{redacted(url)!r} is not a cluster's URL: give http://host:9200 or https://host:9200"
        raise ClusterError(msg)
    return parts


def redacted(url: str) -> str:
    """The URL without user and password, for messages."""
    # Up to the last @: a password that was not quoted may hold / and @ itself.
    return re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)


def address(client: OpenSearch) -> str:
    """Where a client connects to, for messages; never with credentials."""
    host = client.transport.hosts[0]
    scheme = "https" if host.get("use_ssl") else "http"
    return f"{scheme}://{host['host']}:{host['port']}"


def is_loopback(client: OpenSearch) -> bool:
    """Whether a client's cluster is on this machine, as far as its address tells."""
    host = client.transport.hosts[0]["host"]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return bool(host == "localhost")


def server_info(client: OpenSearch) -> Json:
    """Ask the server who it is: the cheapest proof that it is there and lets us in.

    Raises:
        ClusterError: It cannot be reached, is not trusted, does not let us in, or is not OpenSearch.
    """
    where = address(client)
    try:
        info = client.info()
    except SSLError as error:
        msg = (
            f"{where}: its certificate was not accepted ({_reason(error)}). Name its authority with "
            "OPENSEARCH_CA_CERTS; a server that speaks plain http needs an http:// URL; --insecure skips the check"
        )
    except NoConnectionError as error:
        msg = (
            f"{where} cannot be reached ({_reason(error)}). Is it running? `osplade node start` starts a local node; "
            "--url names another cluster; a server with TLS needs an https:// URL"
        )
    except AuthenticationException:
        msg = f"{where} refuses the user or password (401): set OPENSEARCH_USER and OPENSEARCH_PASSWORD"
    except AuthorizationException:
        msg = f"{where}: this user may not read the server's version (403): it needs cluster:monitor/main"
    except OpenSearchException as error:
        msg = f"{where} does not answer as OpenSearch does ({_reason(error)}): look at the URL"
    else:
        if isinstance(info, dict) and "number" in info.get("version", {}):
            return info
        msg = f"{where} does not answer as OpenSearch does: look at the URL"
    raise ClusterError(msg)


def _reason(error: OpenSearchException) -> str:
    """The cause alone: the client library repeats it up to three times in its own text."""
    cause = error.info if isinstance(error, TransportError) and len(error.args) > 2 else error
    return re.split(r"(?<!\[SSL): ", str(cause))[-1] if isinstance(cause, Exception) else str(cause)


def wait_until_ready(client: OpenSearch, seconds: float, require_alive: Callable[[], None]) -> None:
    """Return when the cluster is yellow or green.

    Args:
        client: A client of a server that is starting.
        seconds: Patience.
        require_alive: Called between two questions; raises when waiting has become useless.

    Raises:
        NodeError: Time is up.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        require_alive()
        try:
            # Red until the node has read what it knows from disk.
            if client.cluster.health()["status"] != "red":
                return
        except TransportError:
            pass
        time.sleep(0.25)
    msg = f"{address(client)} was not ready after {seconds:.0f} s"
    raise NodeError(msg)
