"""``osplade serve`` as it is run: limits, drain, token, TLS, and who may listen where."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from serving_clients import body, certificate, process, server

from opensearch_splade.cli.main import main
from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models import Bundle, Device
from opensearch_splade.serving import Limits, Listening, Served
from opensearch_splade.serving.app import app
from opensearch_splade.serving.metrics import Metrics
from opensearch_splade.serving.service import Service

LONG = "the quick brown fox reads a csv file and jumps over the lazy dog " * 40
PATH = "/splade-tiny/documents"
TOKEN = "correct-horse"  # noqa: S105 - of a test


def gauge(url: str, name: str) -> float:
    """The sum over a metric's labels."""
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"osplade_serve_{name}"))


def wait_for(condition: Any) -> None:
    """Waits for another process."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_queue_is_told_honestly() -> None:
    """429 with a time to come again and JSON; all others are answered whole; who comes again is served."""
    with server("splade-tiny", limits=Limits(max_texts=8, max_queue=8)) as url, httpx.Client(timeout=60) as client:
        with ThreadPoolExecutor(24) as clients:
            answers = list(clients.map(lambda _: client.post(url + PATH, content=body([LONG] * 8)), range(48)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert answer.json()["error"]["type"] == "queue_full"
                assert int(answer.headers["retry-after"]) >= 1
            else:
                assert len(answer.json()) == 8
        time.sleep(int(next(one for one in answers if one.status_code == 429).headers["retry-after"]))
        assert client.post(url + PATH, content=body([LONG] * 8)).status_code == 200
        assert gauge(url, 'requests_total{lane="documents",model="splade-tiny",status="429"}') == statuses.count(429)


def test_a_client_that_goes_away_takes_its_texts_along() -> None:
    """Nothing of it is waited for or encoded; the server goes on."""
    with server("splade-tiny") as url:
        host, port = url.removeprefix("http://").split(":")
        content = body([LONG] * 1000)
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (PATH.encode(), len(content)))
            gone.sendall(content)
            wait_for(lambda: gauge(url, "queue_texts") > 0)
        wait_for(lambda: gauge(url, "queue_texts") == gauge(url, "in_flight") == 0)
        assert gauge(url, "dropped_texts_total") > 0
        assert gauge(url, 'requests_total{lane="documents",model="splade-tiny",status="499"}') == 1
        assert httpx.post(url + PATH, content=body(["a"]), trust_env=False).status_code == 200


def test_sigterm_finishes_what_was_accepted() -> None:
    """New texts get 503 and readiness too, meanwhile; every accepted text has its vector; the exit code is 0."""
    with process("splade-tiny", "--drain-seconds", "300") as (url, running), ThreadPoolExecutor(6) as clients:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            assert client.get("/ready").status_code == 200
            accepted = [clients.submit(client.post, PATH, content=body([LONG] * 20)) for _ in range(6)]
            wait_for(lambda: gauge(url, "in_flight") == 6)
            running.send_signal(signal.SIGTERM)
            wait_for(lambda: client.get("/ready").status_code == 503)
            refused = client.post(PATH, content=body(["a"]))
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) >= 1
            assert client.get("/health").status_code == 200
            answers = [one.result() for one in accepted]
            assert [(answer.status_code, len(answer.json())) for answer in answers] == [(200, 20)] * 6
        assert running.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health", trust_env=False)


def test_what_takes_too_long_to_drain_is_an_error() -> None:
    """The server ends all the same, says so, and its clients get 503 rather than a lost connection."""
    with process("splade-tiny", "--drain-seconds", "1") as (url, running), ThreadPoolExecutor(1) as clients:
        lost = clients.submit(httpx.post, url + PATH, content=body([LONG] * 1024), timeout=60)
        again = httpx.post(url + PATH, content=body([LONG] * 1024 + ["b"]), trust_env=False)
        assert again.status_code == 413
        wait_for(lambda: gauge(url, "in_flight") == 1)
        running.send_signal(signal.SIGTERM)
        _, told = running.communicate(timeout=60)
        assert running.returncode == 1
        assert "--drain-seconds" in told
        assert "Traceback" not in told
        assert (lost.result().status_code, lost.result().json()["error"]["type"]) == (503, "draining")


def test_a_server_that_loads_is_alive_and_not_ready() -> None:
    """So a balancer sends it nothing; texts get 503 with a time to come again."""
    served = Served({"splade-tiny": Bundle.open("splade-tiny")}, Device(), Limits())

    async def ask() -> list[httpx.Response]:
        service = Service(served, Metrics())
        transport = httpx.ASGITransport(app(service))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            found = [await client.get("/health"), await client.get("/ready"), await client.post(PATH, content=body([]))]
            await service.load()
            found.append(await client.get("/ready"))
        service.close()
        return found

    alive, unready, refused, ready = asyncio.run(ask())
    assert [one.status_code for one in (alive, unready, refused, ready)] == [200, 503, 503, 200]
    assert unready.json()["error"]["type"] == refused.json()["error"]["type"] == "loading"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture(scope="module")
def closed(pem: tuple[Path, Path]) -> Iterator[str]:
    """A server with TLS and two tokens."""
    with server("splade-tiny-idf", listening=Listening("127.0.0.1", 0, *pem, tokens=[TOKEN, "the-old-one"])) as url:
        yield url


@pytest.fixture(scope="module")
def trusting(pem: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pem[0])


def test_only_who_shows_the_token_is_answered(closed: str, trusting: ssl.SSLContext) -> None:
    """Probes need none, everything else does; any of the tokens will do."""
    with httpx.Client(base_url=closed, verify=trusting, trust_env=False) as client:
        for shown in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer x"}):
            for method, path in (("POST", "/splade-tiny-idf/queries"), ("GET", "/models"), ("GET", "/metrics")):
                answer = client.request(method, path, headers=shown, content=b"{}")
                assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorised"), shown
                assert answer.headers["www-authenticate"] == "Bearer"
        assert [client.get(path).status_code for path in ("/health", "/ready")] == [200, 200]
        for token in (TOKEN, "the-old-one"):
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.post("/splade-tiny-idf/queries", content=body(["paris"]), headers=headers)
            assert answer.json()[0]["paris"] > 0


def test_tls_is_what_the_certificate_says(closed: str) -> None:
    """Nothing is answered in plain text, and who does not trust the certificate does not go on."""
    assert closed.startswith("https://")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{closed}/health", trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(closed.replace("https", "http") + "/health", trust_env=False)


def test_a_certificate_without_its_key_is_said_before_anything_listens(pem: tuple[Path, Path], tmp_path: Path) -> None:
    """With the file's name and what it should be."""
    other, _ = certificate(tmp_path, "127.0.0.1")
    told = CliRunner().invoke(main, ["serve", "splade-tiny", "--tls-cert", str(other), "--tls-key", str(pem[1])])
    assert told.exit_code == 1
    assert str(other) in told.output
    assert CliRunner().invoke(main, ["serve", "splade-tiny", "--tls-cert", str(other)]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [([], "TLS and a token"), (["--token-file", "token"], "TLS"), (["--tls-cert", "c", "--tls-key", "k"], "a token")],
)
def test_other_machines_are_let_in_only_with_tls_and_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pem: tuple[Path, Path], arguments: list[str], lacking: str
) -> None:
    """Or where somebody says that it is meant; the error names what is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSPLADE_SERVE_TOKEN", raising=False)
    Path("token").write_text(f"{TOKEN}\n", encoding="utf-8")
    Path("c").write_bytes(pem[0].read_bytes())
    Path("k").write_bytes(pem[1].read_bytes())
    for host in ("0.0.0.0", "::", "search.example"):  # noqa: S104 - is refused
        told = CliRunner().invoke(main, ["serve", "splade-tiny", "--host", host, *arguments])
        assert told.exit_code == 1
        assert f"lacks {lacking}." in told.output
        assert "--insecure-listen" in told.output
        assert TOKEN not in told.output


def test_a_token_comes_from_the_environment_and_is_never_printed() -> None:
    """The command's own lines tell how to send it, not what it is."""
    with process("splade-tiny-idf", environment={"OSPLADE_SERVE_TOKEN": TOKEN}) as (url, running):
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{url}/models", headers=headers, trust_env=False).status_code == 200
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 0
    assert TOKEN not in out + err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 1, "There is no bundle nowhere"),
        (["splade-tiny", "splade-tiny"], 2, "Two bundles would be called 'splade-tiny'"),
        (["a/b=splade-tiny"], 2, "cannot stand in a path"),
        (["health=splade-tiny", "--max-texts", "9", "--max-queue", "8"], 1, "--max-queue at least as large"),
        (["splade-tiny", "--token-file", "empty"], 1, "holds no token"),
        ([], 2, "BUNDLE"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    """Before anything is loaded."""
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    told = CliRunner().invoke(main, ["serve", *arguments])
    assert (told.exit_code, said in told.output) == (code, True), told.output


def test_a_port_that_is_taken_is_said() -> None:
    """With the remedy, and without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = CliRunner().invoke(main, ["serve", "splade-tiny", "--port", str(taken.getsockname()[1])])
    assert told.exit_code == 1
    assert "--port 0 takes any that is free" in told.output


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    """With the bundle's error, not with a server that is never ready."""
    import hashlib
    import json
    import shutil

    from opensearch_splade.onnx_models import Manifest
    from opensearch_splade.onnx_models.bundle import fingerprint

    folder = tmp_path / "broken"
    shutil.copytree(Bundle.open("splade-tiny").folder, folder)
    (folder / "model.onnx").write_bytes(b"no graph")
    found = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    found["files"]["model.onnx"] = hashlib.sha256(b"no graph").hexdigest()
    found["plain"] = None
    found["fingerprint"] = fingerprint(Manifest.model_validate(found))
    (folder / "bundle.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(OspladeError, match="cannot be run"), server(str(folder)):
        pass


def test_the_example_that_is_printed_works() -> None:
    """The line that is told once the server is ready can be pasted into a shell."""
    with process("mine=splade-tiny-idf") as (url, _):
        command = f"""curl -s {url}/mine/queries -H 'Content-Type: application/json' -d '{{"input": ["a text"]}}'"""
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)  # noqa: S607
        assert done.stdout.startswith('[{"')
