"""The connection: what is taken from where, and what is said when there is none."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.client import address, connect, redacted, server_info
from opensearch_splade.plugin.launcher import RunningNode

VARIABLES = ("OPENSEARCH_URL", "OPENSEARCH_USER", "OPENSEARCH_PASSWORD", "OPENSEARCH_CA_CERTS")
SECRET = "s3cret:@/pässword"  # noqa: S105
QUOTED = "s3cret%3A%40%2Fp%C3%A4ssword"


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(tmp_path / "no-node"))


@contextmanager
def _server(status: int, body: bytes) -> Iterator[tuple[str, list[str | None]]]:
    """A loopback HTTP server that answers always the same, and the ``Authorization`` headers it saw."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def _said(client: OpenSearch) -> str:
    with client, pytest.raises(ClusterError) as raised:
        server_info(client)
    return str(raised.value)


def test_nothing_listens() -> None:
    """A refused connection says where, and how to start or name a cluster; never the password."""
    said = _said(connect(f"http://me:{QUOTED}@127.0.0.1:1"))
    assert said.startswith("http://127.0.0.1:1 cannot be reached")
    assert "osplade node start" in said
    assert "--url" in said
    assert "s3cret" not in said


def test_credentials_come_from_arguments_then_url_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sent in UTF-8 and unquoted, and a 401 names the variables without showing what was sent.

    An empty user is nobody.
    """
    monkeypatch.setenv("OPENSEARCH_USER", "environment")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "of the environment")
    with _server(401, b"{}") as (host, seen):
        said = _said(connect(f"http://{host}"))
        _said(connect(f"http://me:{QUOTED}@{host}"))
        _said(connect(f"http://me:{QUOTED}@{host}", user="other", password="given"))  # noqa: S106
        _said(connect(f"http://{host}", user="", password=""))
    sent = [base64.b64decode((header or "").removeprefix("Basic ")).decode() for header in seen]
    assert sent == ["environment:of the environment", f"me:{SECRET}", "other:given", ""]
    assert "401" in said
    assert "OPENSEARCH_PASSWORD" in said
    assert "of the environment" not in said


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (403, b"{}", "cluster:monitor/main"),
        (404, b"{}", "does not answer as OpenSearch does"),
        (200, b'{"hello": "world"}', "does not answer as OpenSearch does"),
        (200, b"<html>", "does not answer as OpenSearch does"),
    ],
)
def test_other_answers_are_told_apart(status: int, body: bytes, expected: str) -> None:
    """Not allowed is one thing, not OpenSearch another."""
    with _server(status, body) as (host, _):
        assert expected in _said(connect(f"http://{host}"))


@pytest.mark.server
def test_https_to_a_server_that_speaks_http(node: RunningNode) -> None:
    """The error says that the URL may want http://."""
    said = _said(connect(node.url.replace("http://", "https://")))
    assert "certificate was not accepted" in said or "cannot be reached" in said
    assert "http:// URL" in said


@pytest.mark.server
def test_the_environment_names_the_cluster(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OPENSEARCH_URL`` is used when no URL is given; the argument beats it."""
    monkeypatch.setenv("OPENSEARCH_URL", node.url)
    with connect() as client:
        assert address(client) == node.url
        assert "number" in server_info(client)["version"]
    with connect("http://127.0.0.1:1/behind/proxy") as other:
        assert address(other) == "http://127.0.0.1:1"


def test_no_cluster_is_named() -> None:
    """Without a URL, an environment variable and a local node, all three are offered."""
    with pytest.raises(ClusterError, match=r"--url.*OPENSEARCH_URL.*osplade node start"):
        connect()


@pytest.mark.parametrize("url", ["localhost:9200", "ftp://host", "http://", "http://host:port", f"me:{QUOTED}@host"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The error shows a right one, and no password of the wrong one."""
    with pytest.raises(ClusterError, match="is not a cluster's URL: give http://host:9200") as raised:
        connect(url)
    assert "s3cret" not in str(raised.value)


def test_settings_that_cannot_work_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of authorities that does not exist; a user without a password."""
    monkeypatch.setenv("OPENSEARCH_CA_CERTS", "/no/such/file.pem")
    with pytest.raises(ClusterError, match=r"/no/such/file\.pem does not exist"):
        connect("https://127.0.0.1:9200")
    with pytest.raises(ClusterError, match="a user needs a password"):
        connect("http://127.0.0.1:9200", user="me")


@given(user=st.text(min_size=1), password=st.text(), host=st.from_regex(r"[a-z]{1,9}(:[0-9]{1,4})?", fullmatch=True))
def test_redacted_hides_user_and_password(user: str, password: str, host: str) -> None:
    """Whatever stands before the host is gone, quoted or not."""
    assert redacted(f"https://{user}:{password}@{host}/prefix") == f"https://***@{host}/prefix"
    assert redacted(f"{user}:{password}@{host}/prefix").endswith(f"***@{host}/prefix")
    assert redacted(f"https://{host}/prefix") == f"https://{host}/prefix"
