"""Users who have roles of docs/security.md and nothing else."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Signed
from click.testing import CliRunner, Result
from secured_node import SecuredNode

from opensearch_splade.cli.main import main
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.connection_file import NAMES

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

DOCS = Path(__file__).parents[1] / "docs" / "security.md"
ROLES = dict(
    re.findall(r"```http\nPUT _plugins/_security/api/roles/(\S+)\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
)
PASSWORD = f"aA1!{secrets.token_urlsafe(18)}"


def trusting(secured: SecuredNode) -> dict[str, str]:
    return {"ca_certs": str(secured.authority.certificate)}


def as_(signed: Signed) -> dict[str, str]:
    return {"client_cert": str(signed.certificate), "client_key": str(signed.key)}


class User:
    """Runs commands as somebody who has some roles of the document and nothing else.

    Args:
        secured: Where.
        admin: Makes roles and the user.
        role: The one that the user is called by.
        folder: Where commands run.
        more: Further roles.
    """

    def __init__(self, secured: SecuredNode, admin: OpenSearch, role: str, folder: Path, *more: str) -> None:
        self._role, self._folder, self._secured = role, folder, secured
        for one in (role, *more):
            put_role(admin, one, json.loads(ROLES[one]))
        name = "-".join([role, *more])
        user = {"password": PASSWORD, "opendistro_security_roles": [role, *more]}
        admin.transport.perform_request("PUT", f"/_plugins/_security/api/internalusers/{name}", body=user)
        said = {"url": secured.url, "user": name, "password": PASSWORD, **trusting(secured)}
        self._env = {f"OPENSEARCH_{key.upper()}": said.get(key) for key in NAMES}
        self.name = name

    def tries(self, command: str, *more: str) -> Result:
        """Whatever comes of it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self._folder)
            return CliRunner(env=self._env).invoke(main, [*command.split(), *more])

    def runs(self, command: str, *more: str) -> None:
        """It must do what it is for."""
        ran = self.tries(command, *more)
        assert ran.exit_code == 0, f"{self._role}: {command}: {ran.output}"

    def client(self) -> OpenSearch:
        """As an application has it."""
        return connect(self._secured.url, user=self.name, password=PASSWORD, **trusting(self._secured))


def put_role(admin: OpenSearch, name: str, body: dict[str, Any]) -> None:
    """Makes a role, or makes it otherwise."""
    admin.transport.perform_request("PUT", f"/_plugins/_security/api/roles/{name}", body=body)
