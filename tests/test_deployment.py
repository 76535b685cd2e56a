"""Compose file and Dockerfiles, without an engine: they are what their specifications say, and their commands run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from conftest import REPOSITORY

from opensearch_splade.cli.main import main
from opensearch_splade.plugin.node_config import free_port
from opensearch_splade.plugin.node_versions import VERSIONS

COMPOSE = REPOSITORY / "docker-compose.yml"
DOCKERFILES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))
OURS = {"opensearch-splade:cpu", "opensearch-splade:gpu"}
"""Images that the file itself builds."""


def composed() -> dict[str, Any]:
    """The file, with YAML's anchors and merges resolved."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


def services() -> dict[str, dict[str, Any]]:
    return dict(composed()["services"])


def instructions(dockerfile: Path, word: str) -> list[str]:
    """What follows an instruction, each time, with its lines joined."""
    text = re.sub(r"\\\n\s*", " ", dockerfile.read_text("utf-8"))
    return re.findall(rf"^{word}\s+(.*)$", text, re.MULTILINE)


def test_the_compose_file_fits_the_specification() -> None:
    """``compose-spec.json`` is the Compose Specification's own schema (compose-go 2.9.1, Apache-2.0)."""
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text("utf-8"))
    check = jsonschema.Draft7Validator(schema)  # the schema spells draft 7's name as no validator knows it
    check.validate(composed())
    broken = composed()
    broken["services"]["opensearch"]["heathcheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        check.validate(broken)


@pytest.mark.parametrize("profile", ["none", "cpu", "gpu"])
def test_the_compose_client_takes_the_file(profile: str) -> None:
    """By its own ``config``, which needs no engine; with each profile it starts what that profile is for."""
    command = _compose()
    said = subprocess.run(
        [*command, "--file", COMPOSE, "--profile", profile, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OSPLADE_SERVE_TOKEN": "given"},
    )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)["services"]
    more = set() if profile == "none" else {f"splade-{profile}", "provision"}
    assert set(found) == {"opensearch", "dashboards"} | more
    assert all(found[name]["environment"]["OSPLADE_SERVE_TOKEN"] == "given" for name in more)  # noqa: S105
    if profile == "gpu":
        [device] = found["splade-gpu"]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def _compose() -> list[str]:
    if given := os.environ.get("OPENSEARCH_SPLADE_COMPOSE") or shutil.which("docker-compose"):
        return [given]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    pytest.skip("no Compose client on this machine: the file was held against the schema only")


def test_nothing_is_seen_from_outside_or_has_a_default_password() -> None:
    """Security is off, so ports are those of loopback; variables that hold secrets have no default value."""
    text = COMPOSE.read_text("utf-8")
    for name, service in services().items():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for variable, value in service.get("environment", {}).items():
            if re.search(r"TOKEN|PASSWORD|SECRET", variable):
                assert value == f"${{{variable}:-}}", name
    assert not re.search(r"password\s*[:=]\s*\S", text, re.IGNORECASE)


def test_every_service_is_bounded_watched_and_pinned() -> None:
    """Memory, health (what runs once has none), and an exact tag: OpenSearch's is that of the local node."""
    for name, service in services().items():
        assert re.fullmatch(r"\d+g", service["mem_limit"]), name
        assert service["healthcheck"] == {"disable": True} if name == "provision" else service["healthcheck"]["test"]
        assert service["image"] in OURS or re.search(r":\d+\.\d+\.\d+$", service["image"]), name
        if service["image"] in OURS:
            assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
    assert services()["opensearch"]["image"] == VERSIONS.image


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    """The linter of the trade, from its wheel."""
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_pinned_and_run_as_nobody_in_particular(dockerfile: Path) -> None:
    """Two stages of one exact tag; what runs is no root; what pip installs is held by ``constraints.txt``."""
    stages = [stage.split()[0] for stage in instructions(dockerfile, "FROM")]
    assert len(stages) == 2
    assert len(set(stages)) == 1
    assert re.search(r":\d+\.\d+\.\d+-", stages[0])
    assert instructions(dockerfile, "USER") == ["10001"]
    [installs] = [line for line in instructions(dockerfile, "RUN") if "pip install" in line]
    assert "--constraint constraints.txt" in installs


def test_the_build_gets_every_room() -> None:
    """A folder that ``.dockerignore`` leaves out would be missing in the image."""
    let_in = re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    rooms = {init.parent.name for init in REPOSITORY.glob("*/__init__.py")}
    assert {*rooms, "src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"} <= set(let_in)


def commands() -> dict[str, list[str]]:
    """Every call of ``osplade`` that an image or a service makes, with its mounted files as they lie here."""
    found = {path.name: json.loads(instructions(path, "CMD")[-1]) for path in DOCKERFILES}
    for name, service in services().items():
        if service["image"] in OURS:
            mounts = dict(reversed(mount.split(":")[:2]) for mount in service.get("volumes", []))
            found[name] = [str(REPOSITORY / mounts[word]) if word in mounts else word for word in service["command"]]
    return found


@pytest.mark.parametrize("name", commands())
def test_the_commands_are_calls_that_osplade_takes(name: str) -> None:
    """Parsed by the commands themselves: each name, option and file is there."""
    command, arguments, context = main, commands()[name], None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, **command.context_settings)
        found = command.get_command(context, arguments[0])
        if found is None:
            pytest.skip(f"this osplade has no command {arguments[0]!r} yet")
        command, arguments = found, arguments[1:]
    command.make_context(command.name, list(arguments), parent=context)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_default_command_is_healthy_by_its_own_health_check(dockerfile: Path, tmp_path: Path) -> None:
    """Outside a container, on loopback: what ENTRYPOINT and CMD start, HEALTHCHECK finds well, and it ends when told.

    Of the GPU's command the device is left out.
    """
    [entry, default] = [json.loads(instructions(dockerfile, word)[-1]) for word in ("ENTRYPOINT", "CMD")]
    check = json.loads(instructions(dockerfile, "HEALTHCHECK")[0].partition("CMD ")[2])
    if main.get_command(click.Context(main), default[0]) is None:
        pytest.skip(f"this osplade has no command {default[0]!r} yet")
    port = str(free_port(9229))
    said = [word for word in (*entry, *default) if word not in {"--device", "cuda"}]
    here = ["127.0.0.1" if word == "0.0.0.0" else port if word == "9229" else word for word in said]  # noqa: S104
    program = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()"]
    probe = [sys.executable, *(part.replace(":9229/", f":{port}/") for part in check[1:])]
    assert subprocess.run(probe, capture_output=True, check=False).returncode != 0
    with (tmp_path / "log").open("w") as log, subprocess.Popen([*program, *here[1:]], stdout=log, stderr=log) as server:
        try:
            deadline = time.monotonic() + 60
            while subprocess.run(probe, capture_output=True, check=False).returncode:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            server.terminate()
        assert server.wait(40) == 0
    refused = subprocess.run([*program, *said[1:]], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "--insecure-listen" in refused.stderr
