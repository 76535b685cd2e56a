"""Credentials of another cluster: from its URL or the environment, sent there alone, and kept nowhere."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from migrations import make_old

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.job import client_of_source
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.migration.state import State
from opensearch_splade.plugin.launcher import RunningNode

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PASSWORD = "not to be seen: / @ %"  # noqa: S105 - the server of the tests asks for none
QUOTED = quote(PASSWORD, safe="")
VARIABLES = ("OPENSEARCH_USER", "OPENSEARCH_PASSWORD", "OPENSEARCH_SOURCE_USER", "OPENSEARCH_SOURCE_PASSWORD")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def at(node: RunningNode, index: str) -> str:
    """The source as an engineer names it, as if it were on another cluster."""
    return f"{node.url.replace('://', f'://someone:{QUOTED}@')}/{index}"


def header(spec: MigrationSpec, client: OpenSearch) -> str:
    """What the source's cluster is sent."""
    return str(client_of_source(spec, client).transport.get_connection().headers.get("authorization", ""))


def test_a_password_is_neither_shown_nor_written(
    node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the state, the answers or the errors; a step by the state alone takes it from the environment."""
    old, new = f"{index_name}-old", f"{index_name}-new"
    make_old(client, old, 5)
    where = ["--url", node.url, "--state"]
    told = ""
    for source, target, state in ((old, new, "state"), ("missing", f"{new}-2", "none"), (old, f"{new}-3", "state")):
        given = ["--source", at(node, source), "--target", target, *where, str(tmp_path / state)]
        ran = CliRunner().invoke(main, ["migrate", "run", *given])
        told += ran.output + repr(ran.exception)
    assert "begun otherwise" in told
    assert "no index or alias 'missing'" in told
    for path in tmp_path.rglob("*"):
        told += path.read_bytes().decode(errors="replace") if path.is_file() else ""
    spec = MigrationSpec(source=at(node, old), target=new)
    told += repr(spec) + str(spec) + spec.model_dump_json()
    assert not [secret for secret in (PASSWORD, QUOTED, "someone") if secret in told]
    assert spec.credentials == ("someone", PASSWORD)
    kept = State.open(tmp_path / "state").record.spec
    assert kept.credentials == ("", "")
    assert kept.source == f"{node.url}/{old}"
    monkeypatch.setenv("OPENSEARCH_SOURCE_USER", "someone")
    monkeypatch.setenv("OPENSEARCH_SOURCE_PASSWORD", PASSWORD)
    assert kept.credentials == spec.credentials
    again = CliRunner().invoke(main, ["migrate", "run", *where, str(tmp_path / "state")])
    assert "caught up" in again.output


def test_a_password_of_the_target_goes_to_no_other_cluster(client: OpenSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's own is sent there, or none."""
    monkeypatch.setenv("OPENSEARCH_USER", "target")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "of the target")
    spec = MigrationSpec(source="http://127.0.0.1:1/x", target="t")
    assert header(spec, client) == ""
    monkeypatch.setenv("OPENSEARCH_SOURCE_USER", "someone")
    with pytest.raises(MigrationError, match=r"needs both a user and a password.*OPENSEARCH_SOURCE_PASSWORD"):
        header(spec, client)
    monkeypatch.setenv("OPENSEARCH_SOURCE_PASSWORD", PASSWORD)
    assert header(spec, client) == f"Basic {b64encode(f'someone:{PASSWORD}'.encode()).decode()}"


@pytest.mark.parametrize(
    "source", ["http://u:p/w@h:9200/x", "http://u:1/w@h:9200/x", "http://u:p@h:9200/", "http:///x"]
)
def test_a_wrong_address_is_refused_without_its_password(source: str) -> None:
    """With the form that is wanted, and which characters are to be escaped."""
    with pytest.raises(MigrationError, match="source is http") as caught:
        MigrationSpec.read(source=source, target="t")
    assert source not in str(caught.value)
