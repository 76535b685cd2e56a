"""The least that provisioning needs, and applications that write and ask with no Python: roles of docs/security.md.

On a doctored mix (see ``mixed_node``): permissions' names are proven here, no release of the security plugin.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from least_users import ROLES, User, as_, put_role, trusting
from mixed_node import mixed_node
from ml_cleanup import HEAP
from provisioned import Encoder, bulk
from secured_node import SecuredNode

from opensearch_splade.plugin.client import connect
from opensearch_splade.provisioning.stored import INGEST, SEARCH, TEMPLATES

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("no_cluster_named")]
APPLY = "osplade-cluster-apply"
LOOKING = {"diff": "osplade-cluster-diff", "status": "osplade-cluster-status"}
SIMULATE = "cluster:admin/ingest/pipeline/simulate"


@pytest.fixture(scope="module")
def secured(open_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNode]:
    with mixed_node(open_folder / "mixed", tmp_path_factory.mktemp("certificates")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(secured: SecuredNode) -> Iterator[OpenSearch]:
    """With an index of somebody else, whose mapping commands may read and whose documents they may not."""
    with connect(secured.url, **trusting(secured), **as_(secured.admin)) as client:
        client.cluster.put_settings(body={"persistent": {HEAP: 100}})
        client.indices.create(index="others", body={"settings": {"number_of_replicas": 0}})
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("least")


@pytest.fixture(scope="module")
def user(secured: SecuredNode, admin: OpenSearch, folder: Path) -> Any:
    return lambda *roles: User(secured, admin, roles[0], folder, *roles[1:])


@pytest.fixture(scope="module")
def spec(encoder: Encoder) -> dict[str, Any]:
    """A model behind HTTP, one inside the cluster, pipelines, a template, an index with them, a semantic field."""
    piped = {"ingest": "documents", "search": "questions"}
    return {
        "name": "docs",
        "models": {
            "splade": {"bundle": "splade-tiny-idf", "endpoint": encoder.url},
            "tokenizer": {"bundle": "splade-tiny-idf", "in_cluster": "tokenizer"},
        },
        "ingest": {"documents": {"sparse": "splade"}},
        "search": {"questions": {"sparse": "tokenizer"}},
        "indices": {"docs": piped, "docs-notes": {"semantic": {"model": "splade"}}},
        "templates": {key: {"patterns": [f"docs-{key}-*"], **piped} for key in ("logs", "old")},
    }


@pytest.fixture(scope="module")
def before(admin: OpenSearch) -> dict[str, Any]:
    """Cluster settings that are to be there again in the end."""
    return settings_of(admin)


@pytest.fixture(scope="module")
def applied(user: Any, folder: Path, spec: dict[str, Any], before: dict[str, Any]) -> str:
    """By the least user; ``docs.json`` of the folder."""
    assert before
    write(folder, spec)
    whole = user(APPLY, "osplade-cluster-settings", "osplade-cluster-upload")
    whole.runs("cluster apply docs.json --allow-settings --yes")
    return "docs"


def write(folder: Path, spec: dict[str, Any]) -> None:
    (folder / "docs.json").write_text(json.dumps(spec), encoding="utf-8")


def settings_of(client: OpenSearch) -> dict[str, Any]:
    found: dict[str, Any] = client.cluster.get_settings(params={"flat_settings": "true"})
    return found


def without(role: str, permission: str) -> dict[str, Any]:
    """A role of the document that lacks one permission."""
    body: dict[str, Any] = json.loads(ROLES[role])
    for actions in (body["cluster_permissions"], *(one["allowed_actions"] for one in body["index_permissions"])):
        if permission in actions:
            actions.remove(permission)
    return body


def permissions(role: str) -> list[str]:
    body = json.loads(ROLES[role])
    return [
        *body["cluster_permissions"],
        *(one for part in body["index_permissions"] for one in part["allowed_actions"]),
    ]


def test_what_a_role_cannot_finish_is_undone(
    user: Any, admin: OpenSearch, folder: Path, spec: dict[str, Any], before: dict[str, Any]
) -> None:
    """By the same role: refused at the settings, and at the last step, it leaves nothing and names what it lacked."""
    small = {name: value for name, value in spec["indices"].items() if name == "docs"}
    write(folder, {**spec, "indices": small, "search": {"questions": {"sparse": "splade"}}})
    apply = user(APPLY)
    refused = apply.tries("cluster apply docs.json --allow-settings --yes")
    assert refused.exit_code == 1
    assert "[cluster:admin/settings/update]" in refused.output
    assert "nothing had been changed" in refused.output
    whole = user(APPLY, "osplade-cluster-settings", "osplade-cluster-upload")
    put_role(admin, APPLY, without(APPLY, SIMULATE))
    refused = whole.tries("cluster apply docs.json --allow-settings --yes")
    assert refused.exit_code == 1
    assert f"[{SIMULATE}]" in refused.output
    assert "undone: index docs\n" in refused.output
    assert "not undone" not in refused.output
    assert not admin.indices.exists(index="docs*", params={"allow_no_indices": "false"})
    assert settings_of(admin) == before


@pytest.mark.usefixtures("applied")
def test_the_role_is_enough_to_apply(user: Any, folder: Path, spec: dict[str, Any]) -> None:
    """Again without any change, and with each kind of change; settings and uploads are asked of no later run."""
    apply = user(APPLY)
    apply.runs("cluster apply docs.json")
    changed = copy.deepcopy(spec)
    changed["models"]["splade"]["timeout"] = 33
    changed["ingest"]["documents"]["batch_size"] = 8
    changed["indices"]["docs"] |= {"properties": {"kind": {"type": "keyword"}}, "replicas": 1}
    del changed["templates"]["old"]
    write(folder, changed)
    apply.runs("cluster apply docs.json --yes")


@pytest.mark.usefixtures("applied")
def test_an_application_writes_and_asks(user: Any, admin: OpenSearch) -> None:
    """Through pipelines, a template and a semantic field; the one may not ask, the other may not write."""
    writer, reader = user("osplade-application-write"), user("osplade-application-search")
    fox = {"text": "A red fox crossed the road."}
    with writer.client() as client:
        for index in ("docs", "docs-notes", "docs-logs-1"):
            lines = [{"index": {"_id": "1"}}, fox, {"index": {"_id": "2"}}, {"text": "Vitamin D and bones."}]
            more = [
                {"update": {"_id": "2"}},
                {"doc": {"text": "Bones."}, "doc_as_upsert": True},
                {"delete": {"_id": "3"}},
            ]
            answer = client.bulk(index=index, body=lines + more)
            assert not answer["errors"], answer
            client.index(index=index, id="1", body=fox)
        refused = client.bulk(index="others", body=[{"index": {}}, fox])["items"][0]["index"]
        assert "indices:data/write" in refused["error"]["reason"]
    admin.indices.refresh(index="docs*")
    sparse = {"neural_sparse": {"sparse": {"query_text": "red fox"}}}
    asked = {"docs": sparse, "docs-logs-1": {"hybrid": {"queries": [sparse, {"match": {"text": "fox"}}]}}}
    asked["docs-notes"] = {"neural": {"text": {"query_text": "red fox"}}}
    with reader.client() as client:
        for index, query in asked.items():
            assert client.search(index=index, body={"query": query})["hits"]["hits"][0]["_id"] == "1", index
        refused = bulk_refused(client)
    assert "indices:data/write" in refused


def bulk_refused(client: OpenSearch) -> str:
    return str(bulk(client, "docs", {"9": {"text": "no"}})["9"]["error"]["reason"])


@pytest.mark.usefixtures("applied")
def test_each_permission_to_look_is_needed_and_named(user: Any, admin: OpenSearch) -> None:
    """With all of them all is as declared; without any one of them the error has its name."""
    known: set[str] = set()
    for command, role in LOOKING.items():
        looking = user(role)
        looking.runs(f"cluster {command} docs.json")
        assert known < set(permissions(role))
        for permission in sorted(set(permissions(role)) - known):
            put_role(admin, role, without(role, permission))
            ran = looking.tries(f"cluster {command} docs.json")
            assert ran.exit_code == 1, permission
            assert permission.rstrip("*") in ran.output
        put_role(admin, role, json.loads(ROLES[role]))
        known |= set(permissions(role))
    refused = looking.tries("cluster remove docs.json --yes --delete-indices")
    assert refused.exit_code == 1
    assert "[indices:admin/delete]" in refused.output


@pytest.mark.usefixtures("applied")
def test_the_role_is_enough_to_remove(user: Any, admin: OpenSearch, before: dict[str, Any]) -> None:
    """All but the settings, which the cluster still has on record for one who may give them back."""
    admin.indices.delete(index="docs-notes")  # with documents it can only go, and the other can stay
    remove = user("osplade-cluster-remove")
    ran = remove.tries("cluster remove docs.json --yes")
    assert ran.exit_code == 1
    assert "[cluster:admin/settings/update]" in ran.output
    assert INGEST.all(admin) == SEARCH.all(admin) == TEMPLATES.all(admin) == {}
    assert admin.indices.exists(index="docs")
    user("osplade-cluster-remove", "osplade-cluster-settings").runs("cluster remove docs.json --yes --delete-indices")
    assert not admin.indices.exists(index="docs")
    assert settings_of(admin) == before
    remove.runs("cluster remove docs.json --yes")
