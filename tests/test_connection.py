"""One connection from many places: which counts more, what contradicts, what is sent, what is never shown."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from click.testing import CliRunner
from echo_server import Asked, echo_server
from opensearchpy.exceptions import ConnectionError as NoConnectionError
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from opensearch_splade.cli.main import main
from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.client import address, connect, server_info
from opensearch_splade.plugin.connection import SOURCE, Connection
from opensearch_splade.plugin.connection_file import NAMES
from opensearch_splade.plugin.hosts import Hosts
from opensearch_splade.plugin.login import AwsLogin, PasswordLogin, TokenLogin

URL = "https://127.0.0.1:9200"
SECRET = "never-to-be-seen"  # noqa: S105


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for beginning in ("OPENSEARCH_", "OPENSEARCH_SOURCE_"):
            monkeypatch.delenv(f"{beginning}{name.upper()}", raising=False)
    monkeypatch.delenv("OPENSEARCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(tmp_path / "no-node"))


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_arguments_beat_the_url_which_beats_the_environment_which_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the strongest place that says who asks decides how; a password completes the user of a stronger place."""
    file = write(tmp_path / "c.toml", f'default = "a"\n[clusters.a]\nurl = "{URL}"\ntoken = "of-file"\n')
    monkeypatch.setenv("OPENSEARCH_CONFIG", str(file))
    assert Connection.read().login == TokenLogin("of-file")
    monkeypatch.setenv("OPENSEARCH_USER", "env")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "of env")
    assert Connection.read().login == PasswordLogin("env", "of env")
    assert Connection.read("https://url:of%20url@127.0.0.1").login == PasswordLogin("url", "of url")
    assert Connection.read("https://env@127.0.0.1").login == PasswordLogin("env", "of env")
    with pytest.raises(ClusterError, match="a user needs a password"):
        Connection.read("https://another@127.0.0.1")  # that password is another user's
    assert Connection.read("https://u:p@127.0.0.1", token="arg").login == TokenLogin("arg")  # noqa: S106
    assert Connection.read(URL, user="").login is None
    assert Connection.read(URL, environment=SOURCE).login is None
    # Named, the file's cluster is not sent what the environment has for another one.
    assert Connection.read("a").login == TokenLogin("of-file")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"OPENSEARCH_USER": "me", "OPENSEARCH_TOKEN": SECRET}, "OPENSEARCH_USER and OPENSEARCH_TOKEN are two ways"),
        ({"OPENSEARCH_AWS_REGION": "x", "OPENSEARCH_PASSWORD": SECRET}, "OPENSEARCH_PASSWORD and OPENSEARCH_AWS_REG"),
        ({"OPENSEARCH_USER": "me", "OPENSEARCH_PASSWORD": SECRET, "OPENSEARCH_PASSWORD_FILE": "/x"}, "both said"),
        ({"OPENSEARCH_USER": "me", "OPENSEARCH_PASSWORD_FILE": "/no/such"}, "/no/such cannot be read"),
        ({"OPENSEARCH_TOKEN": f"Bearer {SECRET}"}, "give the bare token"),
        ({"OPENSEARCH_TOKEN": f"{SECRET}\nx: y"}, "give the bare token"),
        ({"OPENSEARCH_CLIENT_KEY": "/x"}, "OPENSEARCH_CLIENT_KEY needs OPENSEARCH_CLIENT_CERT"),
        ({"OPENSEARCH_CLIENT_CERT": "/no/such.pem"}, r"client's certificate /no/such\.pem does not exist"),
        ({"OPENSEARCH_AWS_REGION": "x", "OPENSEARCH_AWS_SERVICE": "s3"}, "is es .* or aoss"),
    ],
)
def test_what_contradicts_or_is_missing_is_refused(
    said: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names of the variables, without what they hold."""
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=expected) as raised:
        Connection.read(URL)
    assert SECRET not in str(raised.value)


def test_a_certificate_needs_tls_and_its_own_key(tmp_path: Path) -> None:
    """What cannot be used is refused before anything is sent; a locked key asks nobody for its passphrase."""
    authority = Authority(tmp_path / "ca")
    one, other = authority.sign("one"), authority.sign("other")
    with pytest.raises(ClusterError, match="needs an https:// URL"):
        connect("http://127.0.0.1:9200", client_cert=str(one.certificate))
    with pytest.raises(ClusterError, match="belong together"):
        connect(URL, client_cert=str(one.certificate), client_key=str(other.key))
    with pytest.raises(ClusterError, match="holds no certificate authorities in PEM form"):
        connect(URL, ca_certs=str(write(tmp_path / "none.pem", "nothing")))
    connect(URL, client_cert=str(one.certificate), client_key=str(one.key)).close()


def test_secrets_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line end behind them is none of theirs."""
    monkeypatch.setenv("OPENSEARCH_USER", "me")
    monkeypatch.setenv("OPENSEARCH_PASSWORD_FILE", str(write(tmp_path / "p", "pä ss\n")))
    assert Connection.read(URL).login == PasswordLogin("me", "pä ss")
    assert Connection.read(URL, token_file=str(write(tmp_path / "t", "abc.def\n"))).login == TokenLogin("abc.def")
    with pytest.raises(ClusterError, match="is empty"):
        Connection.read(URL, token_file=str(write(tmp_path / "e", "\n")))


def test_the_file_names_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths begin where it lies; the command line takes its names; a wrong one is answered with those there are."""
    folder = tmp_path / "config" / "opensearch-splade"
    folder.mkdir(parents=True)
    write(folder / "ca.pem", "x")
    write(folder / "secret", "hidden")
    text = (
        'default = "b"\n[clusters.a]\nurl = "http://127.0.0.1:1"\n[clusters.b]\nurl = "https://h1:9200,h2:9201/x"\n'
        'user = "me"\npassword_file = "secret"\nca_certs = "ca.pem"\n'
    )
    write(folder / "connection.toml", text, 0o644)  # holds no secret itself
    found = Connection.read()
    assert found.hosts == Hosts((("h1", 9200), ("h2", 9201)), tls=True, prefix="x", user="", password="")
    assert found.login == PasswordLogin("me", "hidden")
    assert found.ca_certs == str(folder / "ca.pem")
    ran = CliRunner().invoke(main, ["search", "x", "--index", "i", "--url", "a"])
    assert "http://127.0.0.1:1 cannot be reached" in ran.output
    ran = CliRunner().invoke(main, ["search", "x", "--index", "i", "--url", "c"])
    assert (ran.exit_code, "no cluster 'c'" in ran.output, "there: a, b" in ran.output) == (1, True, True)
    monkeypatch.setenv("OPENSEARCH_URL", "a")
    assert Connection.read().hosts.url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (f'[clusters.a]\nurl = "{URL}"\npassword = "{SECRET}"\n', 0o640, "chmod 600"),
        (f'[clusters.a]\nurl = "https://me:{SECRET}@h"\n', 0o604, "chmod 600"),
        (f'[clusters.a]\nurl = "{URL}"\npasword = "{SECRET}"\n', 0o600, "pasword is not known; known: url, user"),
        (f'[clusters.a]\nurl = "{URL}"\npassword = {{x = "{SECRET}"}}\n', 0o600, "password needs a text"),
        (f'[clusters.a]\ntoken = "{SECRET}"\n', 0o600, "url = .* is missing"),
        (f'[clusters.a]\nurl = "{URL}\npassword = "{SECRET}"\n', 0o600, "cannot be read as TOML: at line 2"),
        (f'default = "b"\n[clusters.a]\nurl = "{URL}"\n', 0o600, "no cluster 'b'"),
        (f'token = "{SECRET}"', 0o600, "token is not known there"),
        ("clusters = 1", 0o600, "clusters are tables"),
    ],
)
def test_a_file_that_is_wrong_or_open_to_others_is_refused(
    text: str, mode: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place, never with what stands there."""
    monkeypatch.setenv("OPENSEARCH_CONFIG", str(write(tmp_path / "c.toml", text, mode)))
    with pytest.raises(ClusterError, match=expected) as raised:
        Connection.read()
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("https://a,b:1/x", (("a", 443), ("b", 1))),
        ("https://me:p%2Cw@a:1,b:2", (("a", 1), ("b", 2))),
        ("http://a:1,http://b:2,http://a:1", (("a", 1), ("b", 2))),
        ("http://[::1]:1,[::2]", (("::1", 1), ("::2", 9200))),
    ],
)
def test_several_hosts_stand_in_one_url(url: str, places: tuple[tuple[str, int], ...]) -> None:
    """With or without a scheme each, and one user for all."""
    assert Hosts.parse(url).places == places
    with connect(url, user="me", password="x") as client:  # noqa: S106
        assert address(client) == Hosts.parse(url).url


@pytest.mark.parametrize(
    "url",
    ["http://a,https://b", "http://a/x,http://b/y", "http://u:s3cret@a,http://v:s3cret@b", "http://a,", "http://a:0,b"],
)
def test_hosts_of_one_cluster_differ_in_host_and_port_only(url: str) -> None:
    """And the error shows no password."""
    with pytest.raises(ClusterError) as raised:
        Hosts.parse(url)
    assert "s3cret" not in str(raised.value)


def test_secrets_are_neither_shown_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not by ``repr``, not at any level of logging, not in errors; a connection travels to workers whole."""
    caplog.set_level(logging.DEBUG)
    told = ""
    with echo_server(401, b"{}") as echo:
        for said in ({"user": "me", "password": SECRET}, {"token": SECRET}):
            connection = Connection.read(f"http://{echo.host}", **said)
            assert pickle.loads(pickle.dumps(connection)) == connection  # noqa: S301
            client = connect(f"http://{echo.host}", **said)  # type: ignore[arg-type]
            with client, pytest.raises(ClusterError) as raised:
                server_info(client)
            told += f"{connection!r} {client!r} {client.transport.connection_pool!r} {raised.value}"
    in_url = Connection.read(f"https://me:{SECRET}@h")
    told += f"{in_url!r} {in_url.hosts!r} {Hosts.parse(f'https://me:{SECRET}@h')}"
    assert SECRET not in told
    assert SECRET not in caplog.text
    assert "refuses the token (401): it may have expired" in told


def test_a_token_is_sent_as_a_bearer() -> None:
    """The server here stands for one that knows tokens; ``test_security`` asks a real one."""
    with echo_server() as echo, connect(f"http://{echo.host}", token="abc") as client:  # noqa: S106
        server_info(client)
    assert [asked.headers["authorization"] for asked in echo.asked] == ["Bearer abc"]


@pytest.mark.parametrize("service", ["es", "aoss"])
def test_requests_are_signed_as_aws_signs_them(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server here stands for Amazon's: what it got is signed again by botocore, which gives the same signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    with echo_server() as echo:
        with connect(f"http://{echo.host}", aws_region="eu-central-1", aws_service=service) as client:
            server_info(client)
            client.search(index="an index*", body={"query": {"match": {"text": "größe"}}}, params={"routing": "a b/ü"})
            client.transport.perform_request("POST", "/_bulk", body=b"\x1f\x8b", headers={"content-encoding": "gzip"})
            assert SECRET not in repr(client) + repr(Connection.read(URL, aws_region="eu-central-1"))
        assert len(echo.asked) == 3
        for asked in echo.asked:
            signed = {name.lower(): value for name, value in asked.headers.items()}
            assert f"eu-central-1/{service}/aws4_request" in signed["authorization"]
            assert signed["x-amz-security-token"] == "session"
            assert signed["authorization"].endswith(f"Signature={_signature(asked, signed, echo.host, service)}")


def _signature(asked: Asked, signed: dict[str, str], host: str, service: str) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET, "session"), service, "eu-central-1")
    names = signed["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = {name: signed[name] for name in names if name != "host"}
    request = AWSRequest(method=asked.method, url=f"http://{host}{asked.path}", data=asked.body, headers=headers)
    request.context["timestamp"] = signed["x-amz-date"]
    canonical = signer.canonical_request(request)
    return str(signer.signature(signer.string_to_sign(request, canonical), request))


def test_aws_without_credentials_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ClusterError, match=r"OPENSEARCH_AWS_REGION=x asks for signed .* AWS_PROFILE"):
        connect(URL, aws_region="x")
    assert Connection.read(URL, aws_region="x").login == AwsLogin("x")


def ask(client: Any, method: str, path: str) -> Any:
    return client.transport.perform_request(method, path)


def test_a_host_that_is_away_is_passed_over() -> None:
    """Nothing was sent to it, so writes go on as well as reads, and each host that answers gets its share."""
    with echo_server() as one, echo_server() as two:
        with connect(f"http://{one.host},127.0.0.1:1,{two.host}") as client:
            for _ in range(6):
                ask(client, "POST", "/i/_doc")
        assert len(one.asked) + len(two.asked) == 6
        assert min(len(one.asked), len(two.asked)) >= 2


@pytest.mark.parametrize(
    ("method", "path", "again"),
    [
        ("GET", "/i/_mapping", True),
        ("POST", "/i/_search", True),
        ("POST", "/_msearch/template", True),
        ("POST", "/i/_doc", False),
        ("POST", "/_bulk", False),
        ("PUT", "/i", False),
        ("DELETE", "/i", False),
        ("POST", "/_search/scroll", False),
        ("POST", "/i/_search/point_in_time", False),
        ("POST", "/_search_it/_doc", False),
    ],
)
def test_what_may_have_been_done_is_not_sent_again(method: str, path: str, *, again: bool) -> None:
    """A host that took a request and went away: reads go to the next one, of writes the caller is told."""
    with echo_server(drops=True) as bad, echo_server() as good:
        with connect(f"http://{bad.host},{good.host}") as client:
            pool = client.transport.connection_pool
            pool.selector.select = lambda live: min(live, key=lambda one: good.host in one.host)  # the bad one first
            if again:
                ask(client, method, path)
            else:
                with pytest.raises(NoConnectionError):
                    ask(client, method, path)
        assert (len(bad.asked), len(good.asked)) == (1, int(again))


def test_a_busy_host_is_told_of_and_a_slow_one_is_not_asked_twice() -> None:
    """503: a read goes three times more, a write never. A time-out of the only host would only double its work."""
    with echo_server(503, b"{}") as busy, connect(f"http://{busy.host}") as client:
        for method, times in (("GET", 4), ("PUT", 1)):
            busy.asked.clear()
            with pytest.raises(TransportError):
                ask(client, method, "/i")
            assert len(busy.asked) == times
    error = ConnectionTimeout("TIMEOUT", "", Exception())
    with connect("http://127.0.0.1:1") as one, connect("http://127.0.0.1:1,127.0.0.1:2") as two:
        assert [client.transport._may_go_again("GET", "/", error) for client in (one, two)] == [False, True]
