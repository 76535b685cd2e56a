"""Cluster settings that ML Commons needs, beside those in force: read as a value, put by a call of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.client import address
from opensearch_splade.plugin.ml_commons import reason_of

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

_PREFIX = "plugins.ml_commons."
TRUSTED = f"{_PREFIX}trusted_connector_endpoints_regex"
PRIVATE_IP = f"{_PREFIX}connector.private_ip_enabled"
ONLY_ML_NODES = f"{_PREFIX}only_run_on_ml_node"
LOCAL_FILE = f"{_PREFIX}allow_registering_model_via_local_file"


@dataclass(frozen=True, slots=True)
class MlSettings:
    """Settings that are needed, and those in force.

    Attributes:
        needed: Full name to the value that is needed. Of the trusted endpoints it is the whole list: what stands there
            and what is added.
        in_force: The same names as they are now.
        transient: Names that hold a transient value, which would hide a persistent one.
    """

    needed: Json
    in_force: Json
    transient: frozenset[str] = frozenset()

    @property
    def differing(self) -> Json:
        """Name to needed value of those that are otherwise now; empty where nothing is to do."""
        return {name: value for name, value in self.needed.items() if self.in_force[name] != value}

    @property
    def body(self) -> Json:
        """What ``PUT _cluster/settings`` takes to make them hold."""
        scopes: Json = {}
        for name, value in self.differing.items():
            scopes.setdefault("transient" if name in self.transient else "persistent", {})[name] = value
        return scopes

    def lines(self) -> list[str]:
        """One line each of what differs, for people."""
        return [
            f"{name}: + {', '.join(one for one in value if one not in self.in_force[name])}"
            if isinstance(value, list)
            else f"{name}: {_shown(self.in_force[name])} -> {_shown(value)}"
            for name, value in self.differing.items()
        ]


def settings_for_connector(client: OpenSearch, url: str, *, private: bool | None = None) -> MlSettings:
    """What a remote model at this address needs.

    Args:
        client: Connected to the cluster.
        url: Of the encoder, as the connector has it.
        private: Whether its host has a private address as the nodes see it; by default what the name tells.

    Raises:
        ClusterError: The cluster does not answer, or this user may not read its settings.
    """
    found, transient = _read(client)
    trusted = _as_list(found.get(TRUSTED, []))
    needed: Json = {TRUSTED: trusted if _matches(trusted, url) else [*trusted, endpoint_regex(url)]}
    if is_private(url) if private is None else private:
        needed[PRIVATE_IP] = True
    return _compared(needed, {**found, TRUSTED: trusted}, transient)


def settings_for_local_models(client: OpenSearch) -> MlSettings:
    """What models inside the cluster need: uploading them in chunks, and nodes that may run them.

    Raises:
        ClusterError: The cluster does not answer, or this user may not read its settings.
    """
    found, transient = _read(client)
    needed: Json = {LOCAL_FILE: True}
    if not _has_ml_nodes(client):
        needed[ONLY_ML_NODES] = False
    return _compared(needed, found, transient)


def put_settings(client: OpenSearch, settings: MlSettings) -> None:
    """Puts what differs; nothing is sent where nothing does.

    Raises:
        ClusterError: The cluster does not answer, or this user may not change its settings.
    """
    if settings.differing:
        _settled(client, settings.body)


def endpoint_regex(url: str) -> str:
    """The pattern that trusts this scheme, host and port, and no other."""
    parts = urlsplit(url)
    return f"^{_quoted(f'{parts.scheme}://{parts.netloc}')}/.*$"


def is_private(url: str) -> bool:
    """Whether a URL's host is on this machine or a private network, as far as its name tells.

    A name without a dot (``encoder``, ``localhost``) is one of a private network.
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost", ".svc"))


def _quoted(text: str) -> str:
    """For Java's regular expressions: ``re.escape`` also escapes what Java takes for a construct of its own."""
    return re.sub(r"([.\\+*?^$()\[\]{}|])", r"\\\1", text)


def _matches(patterns: list[str], url: str) -> bool:
    for pattern in patterns:
        try:
            if re.fullmatch(pattern, url):
                return True
        except re.error:  # a construct of Java's; ours is added beside it
            continue
    return False


def _compared(needed: Json, found: Json, transient: frozenset[str]) -> MlSettings:
    in_force = {name: found.get(name) if name == TRUSTED else _flag(found.get(name)) for name in needed}
    return MlSettings(needed, in_force, transient & needed.keys())


def _read(client: OpenSearch) -> tuple[Json, frozenset[str]]:
    """All settings of ML Commons in force by full name, and which of them are transient."""
    from opensearchpy.exceptions import AuthorizationException, OpenSearchException

    try:
        found = client.cluster.get_settings(
            params={"include_defaults": "true", "filter_path": f"*.{_PREFIX.rstrip('.')}"}
        )
    except AuthorizationException as error:
        raise ClusterError(
            f"{address(client)}: this user may not read cluster settings (403): {reason_of(error.info)}"
        ) from error
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not tell its settings: {error}") from error
    scopes = [_flat(found.get(scope, {})) for scope in ("defaults", "persistent", "transient")]  # the last one holds
    return {name: value for scope in scopes for name, value in scope.items()}, frozenset(scopes[-1])


def _flat(tree: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _settled(client: OpenSearch, body: Json) -> None:
    from opensearchpy.exceptions import AuthorizationException, OpenSearchException

    try:
        client.cluster.put_settings(body=body)
    except AuthorizationException as error:
        raise ClusterError(
            f"{address(client)}: this user may not change cluster settings (403): {reason_of(error.info)}; someone who "
            f"may puts {body}"
        ) from error
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not take the cluster settings {body}: {error}") from error


def _has_ml_nodes(client: OpenSearch) -> bool:
    from opensearchpy.exceptions import OpenSearchException

    try:
        nodes = client.nodes.info(params={"filter_path": "nodes.*.roles"})["nodes"].values()
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not tell the roles of its nodes: {error}") from error
    return any("ml" in node["roles"] for node in nodes)


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
