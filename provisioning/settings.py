"""Cluster settings that declared models need: compared, put with a record of what was before, given back.

The record is a cluster setting itself, ``cluster.metadata.osplade.NAME``, put by the same request as what it records:
no kill leaves one without the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearch_splade.plugin.ml_settings import (
    PRIVATE_IP,
    TRUSTED,
    MlSettings,
    is_private,
    settings_for_connector,
    settings_for_local_models,
)
from opensearch_splade.provisioning.cluster_models import search
from opensearch_splade.provisioning.comparing import Difference
from opensearch_splade.provisioning.models import WantedModel
from opensearch_splade.provisioning.stored import ask
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

RECORDS = "cluster.metadata.osplade."


@dataclass(frozen=True, slots=True)
class Needed:
    """Settings that are to be put.

    Attributes:
        body: What ``PUT _cluster/settings`` takes.
        differences: The same for people.
    """

    body: Json
    differences: list[Difference]


def needed(client: OpenSearch, models: Iterable[WantedModel]) -> Needed:
    """What differs from what these models need.

    Raises:
        ClusterError: The cluster does not answer, or this user may not read its settings.
    """
    values: Json = {}
    in_force: Json = {}
    transient: frozenset[str] = frozenset()
    for one in _each(client, models):
        for name, value in one.differing.items():
            added = [item for item in value if item not in values.get(name, [])] if name == TRUSTED else value
            values[name] = [*values.get(name, []), *added] if name == TRUSTED else value
            in_force[name] = one.in_force[name]
        transient |= one.transient
    found = [Difference((name,), in_force[name], value) for name, value in values.items()]
    return Needed(MlSettings(values, in_force, transient).body, found)


def put(client: OpenSearch, owner: str, wanted: Needed) -> Json:
    """Puts them, and records what was there before; a record of an earlier run keeps its older word.

    Returns:
        The body of ``PUT _cluster/settings`` that undoes it.

    Raises:
        ClusterError: The cluster does not answer, or refuses.
    """
    before = _in_force(client)
    record = _record(before, owner)
    in_force = {one.path: one.found for one in wanted.differences}
    for scope, values in wanted.body.items():
        for name, value in values.items():
            there = before.get(scope, {}).get(name)
            mine = record.setdefault(scope, {}).setdefault(name, {"before": there, "added": []})
            mine["set"] = value
            if name == TRUSTED:
                mine["added"] += [one for one in value if one not in in_force.get(name, [])]
    body = {**wanted.body}
    body["persistent"] = {**body.get("persistent", {}), f"{RECORDS}{owner}": json.dumps(record, sort_keys=True)}
    ask(client, "PUT", "/_cluster/settings", body)
    return {scope: {name: before.get(scope, {}).get(name) for name in values} for scope, values in body.items()}


def give_back(client: OpenSearch) -> list[str]:
    """Settings as they were before any owner set them, except what somebody changed since or what is needed by others.

    Call it when an owner's models are gone. What stays because others need it stays recorded too, so it is given back
    when the last of these goes.

    Returns:
        What was done, or left and why, a line each.

    Raises:
        ClusterError: The cluster does not answer, or refuses.
    """
    now = _in_force(client)
    owners = [name.removeprefix(RECORDS) for name in now.get("persistent", {}) if name.startswith(RECORDS)]
    if not owners:
        return []
    others = _Others.of(client)
    body: Json = {"persistent": {}}
    told: list[str] = []
    for owner in owners:
        left: Json = {}
        for scope, name, mine in _entries(_record(now, owner)):
            there = body.get(scope, {}).get(name, now.get(scope, {}).get(name))
            value, why = _given_back(name, there, mine, others)
            if why:
                told.append(f"{name} is left as it is: {why}")
            else:
                body.setdefault(scope, {})[name] = value
                told.append(_said(name, there, value, mine))
            if why == _NEEDED:
                left.setdefault(scope, {})[name] = mine
        record = json.dumps(left, sort_keys=True) if left else None
        if record != now["persistent"][f"{RECORDS}{owner}"]:
            body["persistent"][f"{RECORDS}{owner}"] = record
    if any(body.values()):  # else somebody who may not change settings can still remove what needed none
        ask(client, "PUT", "/_cluster/settings", body)
    return told


def has_record(client: OpenSearch, owner: str) -> bool:
    """Whether an owner has set anything.

    Raises:
        ClusterError: The cluster does not answer, or this user may not read its settings.
    """
    return bool(_record(_in_force(client), owner))


def _each(client: OpenSearch, models: Iterable[WantedModel]) -> list[MlSettings]:
    kept = list(models)
    found = [settings_for_connector(client, url) for url in sorted({one.url for one in kept if one.is_remote})]
    return found + ([settings_for_local_models(client)] if any(not one.is_remote for one in kept) else [])


@dataclass(frozen=True, slots=True)
class _Others:
    """What is on the cluster beside an owner's own.

    Attributes:
        urls: Where connectors call to.
        has_local: Whether there is a model that runs inside.
    """

    urls: list[str]
    has_local: bool

    @classmethod
    def of(cls, client: OpenSearch) -> _Others:
        connectors = search(client, "connectors", {"match_all": {}}).values()
        models = search(client, "models", {"bool": {"must_not": {"exists": {"field": "chunk_number"}}}}).values()
        urls = [action.get("url", "") for one in connectors for action in one.get("actions", [])]
        return cls(urls, any(str(one.get("algorithm", "")).upper() != "REMOTE" for one in models))


_NEEDED = "others on this cluster need it"


def _entries(record: Json) -> list[tuple[str, str, Json]]:
    return [(scope, name, mine) for scope, values in record.items() for name, mine in values.items()]


def _given_back(name: str, there: Any, mine: Json, others: _Others) -> tuple[Any, str]:
    """The value to put, or why none."""
    if name == TRUSTED:
        needed = [one for one in mine["added"] if any(re.fullmatch(one, url) for url in others.urls)]
        if needed:
            return None, _NEEDED
        left = [one for one in there or [] if one not in mine["added"]]
        is_default = mine["before"] is None and left == [one for one in mine["set"] if one not in mine["added"]]
        return (None if is_default else left), ""
    if there is None or str(there).lower() != str(mine["set"]).lower():
        return None, "somebody changed it since"
    is_needed = any(map(is_private, others.urls)) if name == PRIVATE_IP else others.has_local
    return (None, _NEEDED) if is_needed else (mine["before"], "")


def _said(name: str, there: Any, value: Any, mine: Json) -> str:
    if name == TRUSTED:
        return f"{name}: - {', '.join(mine['added'])}"
    return f"{name}: {there} -> {'its default' if value is None else value}"


def _in_force(client: OpenSearch) -> Json:
    return ask(client, "GET", "/_cluster/settings?flat_settings=true") or {}


def _record(settings: Json, owner: str) -> Json:
    found: Json = json.loads(settings.get("persistent", {}).get(f"{RECORDS}{owner}", "{}"))
    return found
