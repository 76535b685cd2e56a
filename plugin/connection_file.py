"""Connection file: clusters by name, in TOML, so that neither URLs nor secrets are typed.

default = "prod"

[clusters.prod]
url = "https://a.example:9200,https://b.example:9200"
user = "searcher"
password_file = "/run/secrets/opensearch"
ca_certs = "ca.pem"
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs.unix import Unix

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.hosts import Hosts

PATHS = ("password_file", "token_file", "client_cert", "client_key", "ca_certs")
NAMES = ("url", "user", "password", "token", "aws_region", "aws_service", *PATHS)
"""What may be said of a cluster; the environment says the same in capitals, after ``OPENSEARCH_``."""
_SECRETS = {"password", "token"}


@dataclass(frozen=True, slots=True)
class ConnectionFile:
    """Attributes:
    path: Of the file, for messages.
    clusters: What it says of each, by name; not in ``repr``, since there may be secrets among it.
    default: The cluster that nobody had to name; empty for none.
    """  # noqa: D205

    path: Path
    clusters: dict[str, dict[str, str]]
    default: str

    @classmethod
    def read(cls) -> ConnectionFile:
        """``OPENSEARCH_CONFIG``, else ``~/.config/opensearch-splade/connection.toml``, which need not be there.

        Raises:
            ClusterError: It cannot be read, says something that is not known, or others may read its secrets.
        """
        given = os.environ.get("OPENSEARCH_CONFIG")
        path = Path(given).expanduser() if given else Unix("opensearch-splade").user_config_path / "connection.toml"
        if not given and not path.exists():
            return cls(path, {}, "")
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            # Where in the file, never what stands there: it may be a password.
            where = error.strerror if isinstance(error, OSError) else str(error).rpartition("(")[2].rstrip(")")
            msg = f"{path} cannot be read as TOML: {where}"
            raise ClusterError(msg) from None
        found = cls(path, _checked(path, said), str(said.get("default", "")))
        if found.default:
            found.of(found.default)
        return found

    def of(self, name: str) -> dict[str, str]:
        """What is said of a cluster.

        Raises:
            ClusterError: It is not in the file.
        """
        if name not in self.clusters:
            known = ", ".join(self.clusters) or "none"
            msg = (
                f"no cluster {name!r} in {self.path} (there: {known}): give its URL, http://{name}:9200 say, or add "
                f"[clusters.{name}]"
            )
            raise ClusterError(msg)
        return self.clusters[name]

    def __repr__(self) -> str:
        return f"ConnectionFile({str(self.path)!r}, clusters={list(self.clusters)}, default={self.default!r})"


def _checked(path: Path, said: dict[str, Any]) -> dict[str, dict[str, str]]:
    clusters = said.get("clusters", {})
    if unknown := said.keys() - {"clusters", "default"}:
        msg = f"{path}: {', '.join(sorted(unknown))} is not known there; it holds default and [clusters.NAME]"
        raise ClusterError(msg)
    tables = clusters.values() if isinstance(clusters, dict) else [clusters]
    if not all(isinstance(table, dict) for table in tables):
        msg = f"{path}: clusters are tables, such as [clusters.prod]"
        raise ClusterError(msg)
    for name, table in clusters.items():
        if unknown := table.keys() - set(NAMES):
            msg = f"{path}, [clusters.{name}]: {', '.join(sorted(unknown))} is not known; known: {', '.join(NAMES)}"
            raise ClusterError(msg)
        if wrong := [key for key, value in table.items() if not isinstance(value, str) or not value]:
            msg = f"{path}, [clusters.{name}]: {', '.join(wrong)} needs a text in quotes"
            raise ClusterError(msg)
        if "url" not in table:
            msg = f'{path}, [clusters.{name}]: url = "https://host:9200" is missing'
            raise ClusterError(msg)
    if any(_SECRETS & table.keys() or Hosts.parse(table["url"]).password for table in clusters.values()):
        _require_private(path)
    return {
        name: {key: _absolute(path, key, value) for key, value in table.items()} for name, table in clusters.items()
    }


def _absolute(path: Path, key: str, value: str) -> str:
    return str(path.parent / Path(value).expanduser()) if key in PATHS else value


def _require_private(path: Path) -> None:
    status = path.stat()
    if status.st_mode & 0o077 or status.st_uid not in {os.geteuid(), 0}:
        msg = f"{path} holds secrets and others may read or own it: chmod 600 {path}, or name password_file there"
        raise ClusterError(msg)
