"""What the connected server can do, asked once: version, plugins and the clause limit in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import CapabilityError, ClusterError
from opensearch_splade.plugin.client import address, server_info
from opensearch_splade.types import Capabilities, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

MAX_CLAUSE_COUNT = "indices.query.bool.max_clause_count"


def probe(client: OpenSearch) -> Capabilities:
    """Ask the cluster what it can do.

    A version is the oldest of all nodes and a plugin counts when every node has it, so that the answer also holds
    in the middle of a rolling upgrade. The nodes' versions are asked because the root's one can be set to pretend
    7.10.2 (``compatibility.override_main_response_version``).

    Raises:
        ClusterError: The cluster does not answer, or this user may not ask.
        CapabilityError: It is not OpenSearch.
    """
    from opensearchpy.exceptions import AuthorizationException, OpenSearchException

    info = server_info(client)["version"]
    if info.get("distribution") != "opensearch":
        raise CapabilityError(
            f"{address(client)} is not OpenSearch (it says {info.get('distribution', 'Elasticsearch')} "
            f"{info['number']}): only OpenSearch is supported"
        )
    try:
        nodes = client.nodes.info(
            metric="plugins", params={"filter_path": "nodes.*.version,nodes.*.plugins,nodes.*.modules"}
        )
        settings = client.cluster.get_settings(
            params={"include_defaults": "true", "filter_path": f"*.{MAX_CLAUSE_COUNT}"}
        )
    except AuthorizationException as error:
        raise ClusterError(
            f"{address(client)}: this user may not ask what the cluster can do (403): {error.error}; its role needs "
            "cluster:monitor/nodes/info and cluster:monitor/state, which are in the action group 'cluster_monitor'"
        ) from error
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not tell what it can do: {error}") from error
    return parse(nodes, settings)


def parse(nodes: Json, settings: Json) -> Capabilities:
    """Read the answers of ``GET _nodes/plugins`` and ``GET _cluster/settings?include_defaults=true``."""
    members = nodes["nodes"].values()
    plugins = [{part["name"] for kind in ("plugins", "modules") for part in node.get(kind, [])} for node in members]
    return Capabilities(
        version=min(_version(node["version"]) for node in members),
        plugins=frozenset(set.intersection(*plugins)),
        max_clause_count=_max_clause_count(settings),
    )


def _version(text: str) -> tuple[int, int, int]:
    """``3.6.0`` or ``3.0.0-beta1-SNAPSHOT`` as numbers."""
    major, minor, patch = text.partition("-")[0].split(".")[:3]
    return int(major), int(minor), int(patch)


def _max_clause_count(settings: Json) -> int:
    for scope in ("transient", "persistent", "defaults"):  # the order in which they hold
        value = settings.get(scope, {})
        for name in MAX_CLAUSE_COUNT.split("."):
            value = value.get(name, {})
        if value:
            return int(value)
    return 1024  # the server's own default
