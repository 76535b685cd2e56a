"""Clusters provisioned from a file: an encoder behind HTTP as a process of its own, and commands called on a file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from opensearch_splade.cli.main import main
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.bundle import fingerprint

BUNDLES = ("splade-tiny", "splade-tiny-idf", "minilm-l6")
OSPLADE = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()"]


class Encoder:
    """``osplade serve`` on a port of its own, which stays the same when it is started again.

    Args:
        bundles: What it serves, as the command takes them.
        environment: Beside that of the tests.
    """

    def __init__(self, bundles: Sequence[str] = BUNDLES, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._bundles, self._environment = bundles, {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, bundles: Sequence[str] = ()) -> None:
        """Starts it and waits until it answers."""
        command = [*OSPLADE, "serve", *(bundles or self._bundles), "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            assert self._process.poll() is None, "the encoder ended"
            try:
                with urllib.request.urlopen(f"{self.url}/ready", timeout=2):  # noqa: S310
                    return
            except OSError as error:
                if getattr(error, "code", 0) == 401:
                    return
                time.sleep(0.1)
        raise AssertionError("the encoder does not answer")

    def kill(self) -> None:
        """As a crash does it."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@contextmanager
def running(bundles: Sequence[str] = BUNDLES, **environment: str) -> Iterator[Encoder]:
    """An encoder while the block runs."""
    encoder = Encoder(bundles, **environment)
    try:
        encoder.start()
        yield encoder
    finally:
        encoder.stop()


def sparse(name: str, endpoint: str, **more: Any) -> dict[str, Any]:
    """The usual spec: one bundle, one index that is called like the owner."""
    return {
        "name": name,
        "models": {"splade": {"bundle": "splade-tiny", "endpoint": endpoint}},
        "ingest": {"documents": {"sparse": "splade"}},
        "search": {"questions": {"sparse": "splade"}},
        "indices": {name: {"ingest": "documents", "search": "questions"}},
        **more,
    }


def writing(name: str, endpoint: str) -> dict[str, Any]:
    """The same without questions: one model, which is quickly there."""
    return sparse(name, endpoint, search={}, indices={name: {"ingest": "documents"}})


class World:
    """Files of one owner and the commands on them.

    Args:
        url: Of the cluster.
        folder: Where files are written.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.files: dict[str, Path] = {}

    def write(self, spec: dict[str, Any]) -> Path:
        """The spec as its file; one owner has one file."""
        path = self.folder / f"{spec['name']}.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        self.files[spec["name"]] = path
        return path

    def run(self, command: str, path: Path, *arguments: str) -> Result:
        """``osplade cluster COMMAND``."""
        return CliRunner().invoke(main, ["cluster", command, str(path), "--url", self.url, *arguments])

    def apply(self, path: Path, *arguments: str) -> list[str]:
        """Applies, which must go well; gives what was done."""
        done = self.run("apply", path, "--yes", "--allow-settings", "--json", *arguments)
        assert done.exit_code == 0, done.output
        found: list[str] = json.loads(done.stdout)["done"]
        return found

    def states(self, command: str, path: Path) -> dict[str, str]:
        """What differs: ``kind name`` to state, with reason and places."""
        done = self.run(command, path, "--json")
        assert done.exit_code in {0, 3}, done.output
        found = {
            f"{one['kind']} {one['name']}": " ".join(
                [one["state"], one.get("reason", ""), *(place["path"] for place in one.get("differences", []))]
            ).strip()
            for one in json.loads(done.stdout)["objects"]
            if one["state"] != "as declared"
        }
        assert done.exit_code == (3 if found else 0)
        return found

    def clear(self) -> None:
        """Removes what the files own."""
        for path in self.files.values():
            done = self.run("remove", path, "--yes", "--delete-indices")
            assert done.exit_code == 0, done.output


def bulk(client: Any, index: str, documents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A plain ``_bulk`` of an application; id to item of the answer."""
    lines: list[dict[str, Any]] = []
    for key, document in documents.items():
        lines += [{"index": {"_id": key}}, document]
    answer = client.bulk(index=index, body=lines, params={"refresh": "true"})
    return {item["index"]["_id"]: item["index"] for item in answer["items"]}


def other_bundle(folder: Path) -> Path:
    """splade-tiny that reads less of a text, so a bundle of another fingerprint."""
    shutil.copytree(Bundle.open("splade-tiny").folder, folder)
    manifest = Bundle.open("splade-tiny").manifest.model_copy(update={"max_length": 16})
    manifest = manifest.model_copy(update={"fingerprint": fingerprint(manifest)})
    (folder / "bundle.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder
