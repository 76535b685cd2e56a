"""The client of a cluster, and clear words when there is none."""

from __future__ import annotations

import re
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opensearchpy import Connection as HttpConnection
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
from opensearch_splade.plugin.connection import Connection
from opensearch_splade.plugin.hosts import Hosts, redacted
from opensearch_splade.plugin.login import AwsLogin, PasswordLogin
from opensearch_splade.plugin.resending import ResendingTransport
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["address", "connect", "is_loopback", "open_client", "redacted", "server_info", "wait_until_ready"]

TIMEOUT = 30.0


def connect(
    url: str | None = None, *, insecure: bool = False, timeout: float = TIMEOUT, connections: int = 10, **given: Any
) -> OpenSearch:
    """A client; nothing is sent yet (see :func:`server_info`).

    Args:
        url: ``http(s)://[user:password@]host[:port][,host[:port]…][/prefix]``, or a name of the connection file; by
            default ``OPENSEARCH_URL``, else the file's default cluster, else the running local node.
        insecure: Do not verify the server's certificate. Never the default.
        timeout: Seconds for one request.
        connections: Connections kept open to each host, at least the number of threads that share the client.
        given: ``user``, ``password``, ``token``, ``ca_certs`` and what else :meth:`Connection.read` takes.

    Raises:
        ClusterError: No cluster is named, or what is said of it is not usable.
        MissingExtraError: Requests are to be signed for AWS, and boto3 is not installed.
    """
    return open_client(Connection.read(url, insecure=insecure, **given), timeout=timeout, connections=connections)


def open_client(connection: Connection, *, timeout: float = TIMEOUT, connections: int = 10) -> OpenSearch:
    """As :func:`connect`, by what is known already."""
    hosts = connection.hosts
    options: Json = connection.login.options() if connection.login else {}
    # Answers may come compressed. Requests are compressed where it pays, by who sends large ones: `http_compress` would
    # do it always, and at gzip's slowest level.
    options["headers"] = {"accept-encoding": "gzip,deflate"} | options.get("headers", {})
    if hosts.tls:
        options["ssl_context"] = _tls(connection)
    places = [
        {"host": host, "port": port, "url_prefix": hosts.prefix, "use_ssl": hosts.tls} for host, port in hosts.places
    ]
    client = OpenSearch(
        hosts=places, transport_class=ResendingTransport, timeout=timeout, pool_maxsize=connections, **options
    )
    client.transport.login = connection.login  # type: ignore[attr-defined]
    return client


def _tls(connection: Connection) -> ssl.SSLContext:
    trusted = connection.ca_certs or HttpConnection.default_ca_certs() or None
    is_folder = trusted is not None and Path(trusted).is_dir()  # SSL_CERT_DIR
    try:
        context = ssl.create_default_context(
            cafile=None if is_folder else trusted, capath=trusted if is_folder else None
        )
    except (OSError, ssl.SSLError) as error:
        msg = f"{trusted} holds no certificate authorities in PEM form ({error}): look at OPENSEARCH_CA_CERTS"
        raise ClusterError(msg) from error
    if connection.insecure:
        import urllib3

        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if connection.certificate:
        certificate, key = connection.certificate
        try:
            # A key with a passphrase would ask for it on the terminal.
            context.load_cert_chain(certificate, key or None, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            msg = (
                f"the client's certificate {certificate} and its key {key or 'in the same file'} cannot be used "
                f"({error}): both are PEM, belong together, and the key has no passphrase (`openssl pkey` takes it off)"
            )
            raise ClusterError(msg) from error
    return context


def address(client: OpenSearch) -> str:
    """Where a client connects to, for messages; never with credentials."""
    return _hosts(client).url


def is_loopback(client: OpenSearch) -> bool:
    """Whether a client's cluster is on this machine, as far as its address tells."""
    return _hosts(client).are_loopback


def _hosts(client: OpenSearch) -> Hosts:
    hosts = client.transport.hosts
    places = tuple((host["host"], host["port"]) for host in hosts)
    return Hosts(places, bool(hosts[0].get("use_ssl")), "", "", "")


def server_info(client: OpenSearch) -> Json:
    """Ask the server who it is: the cheapest proof that it is there and lets us in.

    Raises:
        ClusterError: It cannot be reached, is not trusted, does not let us in, or is not OpenSearch.
    """
    where = address(client)
    try:
        info = client.info()
    except SSLError as error:
        msg = f"{where}: {_tls_remedy(_reason(error))}"
    except NoConnectionError as error:
        msg = (
            f"{where} cannot be reached ({_reason(error)}). Is it running? `osplade node start` starts a local node; "
            "--url names another cluster; a server with TLS needs an https:// URL"
        )
    except AuthenticationException:
        msg = f"{where} {_refusal(client)}"
    except AuthorizationException:
        login = getattr(client.transport, "login", None)
        whose = f"; {login.remedy}" if isinstance(login, AwsLogin) else ""
        msg = f"{where}: this user may not read the server's version (403): it needs cluster:monitor/main{whose}"
    except OpenSearchException as error:
        msg = f"{where} does not answer as OpenSearch does ({_reason(error)}): look at the URL"
    else:
        if isinstance(info, dict) and "number" in info.get("version", {}):
            return info
        msg = f"{where} does not answer as OpenSearch does: look at the URL"
    raise ClusterError(msg)


def _refusal(client: OpenSearch) -> str:
    login = getattr(client.transport, "login", None)
    if login is None:
        return f"asks for credentials (401): {PasswordLogin.remedy}, OPENSEARCH_TOKEN or OPENSEARCH_CLIENT_CERT"
    return f"refuses {login.said} (401): {login.remedy}"


def _tls_remedy(reason: str) -> str:
    if "certificate required" in reason.lower() or "handshake failure" in reason.lower():
        return (
            f"it asks for a client's certificate ({reason}): name one with OPENSEARCH_CLIENT_CERT and "
            "OPENSEARCH_CLIENT_KEY"
        )
    if "mismatch" in reason.lower() or "doesn't match" in reason.lower() or "not valid for" in reason.lower():
        return f"its certificate is of another host ({reason}): use the name in it; --insecure skips the check"
    return (
        f"its certificate was not accepted ({reason}). Name its authority with OPENSEARCH_CA_CERTS; a server that "
        "speaks plain http needs an http:// URL; --insecure skips the check"
    )


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
