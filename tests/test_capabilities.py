"""Capabilities: read from the cluster once, and refusals that say what is missing."""

from __future__ import annotations

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException

from opensearch_splade.errors import CapabilityError, ClusterError
from opensearch_splade.plugin.capabilities import parse, probe
from opensearch_splade.types import Capabilities, Requirement


def node(version, *names):
    """One entry of ``_nodes/plugins``: all but the last name are plugins, the last is a module."""
    *plugins, module = names
    return {"version": version, "plugins": [{"name": name} for name in plugins], "modules": [{"name": module}]}


def clause_limit(scope, value):
    """The cluster's settings with one clause limit."""
    return {scope: {"indices": {"query": {"bool": {"max_clause_count": value}}}}}


def test_the_oldest_node_and_the_common_plugins_count():
    """In a rolling upgrade only what every node can do can be asked for."""
    nodes = {"nodes": {"a": node("3.6.0", "knn", "ml", "mapper"), "b": node("2.19.1-SNAPSHOT", "knn", "mapper")}}
    assert parse(nodes, {}) == Capabilities((2, 19, 1), frozenset({"knn", "mapper"}), 1024)


def test_transient_settings_hold_before_persistent_and_default_ones():
    """The clause limit in force is the one set last in the cluster's order."""
    nodes = {"nodes": {"a": node("3.6.0", "mapper")}}
    settings = clause_limit("defaults", "1024")
    assert parse(nodes, settings).max_clause_count == 1024
    settings |= clause_limit("persistent", "2048")
    assert parse(nodes, settings).max_clause_count == 2048
    settings |= clause_limit("transient", "4096")
    assert parse(nodes, settings).max_clause_count == 4096


def test_versions_compare_as_numbers():
    """2.9 is older than 2.10, and a later major version has what an earlier one had."""
    newer = Requirement("it", (2, 10))
    assert not Capabilities((2, 9, 5)).supports(newer)
    assert Capabilities((2, 10, 0)).supports(newer)
    assert Capabilities((3, 0, 0)).supports(newer)


def test_refusals_say_what_is_missing():
    """The error names the construct, what it needs and what this server is."""
    plugin = Requirement("a thing", (2, 10), "opensearch-knn")
    Capabilities((2, 10, 0), frozenset({"opensearch-knn"})).require(plugin)
    with pytest.raises(CapabilityError, match=r"a thing needs OpenSearch 2\.10 or later; this server is 2\.9\.1"):
        Capabilities((2, 9, 1), frozenset({"opensearch-knn"})).require(plugin)
    with pytest.raises(CapabilityError, match=r"a thing needs the plugin opensearch-knn; this server \(3\.0\.0\)"):
        Capabilities((3, 0, 0)).require(plugin)


def client_of(answers, monkeypatch):
    """A client whose transport answers from a table, by path."""
    client = OpenSearch("http://127.0.0.1:1")

    def perform_request(_method, path, **_):
        answer = answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client.transport, "perform_request", perform_request)
    return client


def test_elasticsearch_is_refused(monkeypatch):
    """Elasticsearch answers the same root request without a distribution; it is told apart and refused."""
    client = client_of({"/": {"version": {"number": "8.15.0", "build_flavor": "default"}}}, monkeypatch)
    with pytest.raises(CapabilityError, match=r"is not OpenSearch \(it says Elasticsearch 8\.15\.0\)"):
        probe(client)


def test_a_user_who_may_not_ask_is_told_the_permission(monkeypatch):
    """HTTP 403 names the action group that is missing."""
    denied = AuthorizationException(403, "security_exception", {"error": {"reason": "no permissions"}})
    root = {"version": {"number": "3.6.0", "distribution": "opensearch"}}
    with pytest.raises(ClusterError, match="cluster_monitor"):
        probe(client_of({"/": root, "/_nodes/plugins": denied}, monkeypatch))


def test_a_server_that_is_not_there():
    """Nobody listening is a cluster error with the address."""
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1 cannot be reached"):
        probe(OpenSearch("http://127.0.0.1:1", max_retries=0))


@pytest.mark.server
def test_the_real_node_tells_what_it_can_do(client):
    """The node's version, its plugins and modules by their own names, and the clause limit in force."""
    found = probe(client)
    assert found.version_text == client.info()["version"]["number"]
    assert {"opensearch-knn", "opensearch-neural-search", "mapper-extras"} <= found.plugins
    assert found.max_clause_count == 1024
