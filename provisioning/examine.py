"""Examine: compare what is declared with what a cluster has. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.index_meta import CLUSTER
from opensearch_splade.provisioning import cluster_models, settings
from opensearch_splade.provisioning.cluster_models import Found, Owned, model_differences
from opensearch_splade.provisioning.declared import Declared, Object
from opensearch_splade.provisioning.findings import Finding
from opensearch_splade.provisioning.index_changes import is_changeable, remedy
from opensearch_splade.provisioning.models import WantedModel
from opensearch_splade.provisioning.settings import Needed
from opensearch_splade.provisioning.stored import INDICES, INGEST, SEARCH, TEMPLATES, Kind
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearchpy import OpenSearch


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    Attributes:
        settings: Those that are to be put.
        owned: Models and connectors of the owner.
        ids: Of every wanted model: its own where it is as declared, else words for people.
        findings: All, in the order of ``apply``.
        stored: Left-over objects by kind and name.
    """

    settings: Needed
    owned: Owned
    ids: Mapping[str, str]
    findings: list[Finding]
    stored: list[tuple[Kind, str]]


def examine(declared: Declared, *, renew: bool = False) -> Examined:
    """Looks at everything.

    Args:
        declared: What should be there.
        renew: Take no remote model for as declared, because its token is to be another.

    Raises:
        ClusterError: The cluster does not answer or refuses.
        CapabilityError: It cannot do something that is declared.
    """
    client, owner = declared.client, declared.spec.name
    wanted = settings.needed(client, declared.models.values())
    owned = cluster_models.owned(client, owner)
    findings = [Finding("cluster setting", one.path, "changed", [one]) for one in wanted.differences]
    ids: dict[str, str] = {}
    for name, model in declared.models.items():
        finding, found = _model(model, owned.models.get(name, []), renew=renew)
        findings.append(finding)
        ids[name] = found.model.id if found and finding.state in {"as declared", "not deployed"} else f"<{name}>"
    objects = declared.objects(ids)
    findings += [_object(client, one, owner) for one in objects]
    left = _left_over(client, owner, objects)
    findings += [_no_longer_declared(kind, name) for kind, name in left]
    findings += _left_over_models(declared, owned, ids)
    return Examined(wanted, owned, ids, findings, [one for one in left if one[0] is not INDICES])


def fitting(model: WantedModel, candidates: list[Found]) -> Found | None:
    """The model that is as wanted, deployed before not deployed."""
    fit = [one for one in candidates if not model_differences(one, model)]
    return next((one for one in fit if one.model.is_deployed), fit[0] if fit else None)


def _model(model: WantedModel, candidates: list[Found], *, renew: bool) -> tuple[Finding, Found | None]:
    if not candidates:
        return Finding("model", model.name, "missing"), None
    if renew and model.is_remote:
        return Finding("model", model.name, "changed", reason="a connector with another token"), None
    found = fitting(model, candidates)
    if found is None:
        return Finding("model", model.name, "changed", model_differences(candidates[0], model)), None
    if not found.model.is_deployed:
        return Finding("model", model.name, "not deployed", reason=f"it is {found.model.state}"), found
    return Finding("model", model.name), found


def _object(client: OpenSearch, one: Object, owner: str) -> Finding:
    found = one.kind.get(client, one.name)
    if found is None:
        return Finding(one.kind.word, one.name, "missing")
    if (theirs := one.kind.owner(found)) != owner:
        return Finding(one.kind.word, one.name, "foreign", reason=_foreign(one, found, theirs))
    differing = one.kind.differences(found, one.body)
    fixed = [place for place in differing if not is_changeable(place)] if one.kind is INDICES else []
    if fixed:
        return Finding(one.kind.word, one.name, "fixed", differing, remedy(one.name, fixed))
    return Finding(one.kind.word, one.name, "changed" if differing else "as declared", differing)


def _foreign(one: Object, found: Json, theirs: str) -> str:
    if alias := found.get("alias_of"):
        return f"{one.name!r} is an alias of {', '.join(alias)}; declare another name"
    whose = f"it is owned by the file named {theirs!r}" if theirs else "it was not made by osplade cluster"
    return f"{whose}, and is left alone: delete it first, or declare another name"


def _left_over(client: OpenSearch, owner: str, objects: list[Object]) -> list[tuple[Kind, str]]:
    declared = {(one.kind.word, one.name) for one in objects}
    return [
        (kind, name)
        for kind in (INDICES, TEMPLATES, SEARCH, INGEST)  # who names something goes before it
        for name, body in kind.all(client).items()
        if kind.owner(body) == owner and (kind.word, name) not in declared and not _by_template(kind, body)
    ]


def _no_longer_declared(kind: Kind, name: str) -> Finding:
    reason = f"it is not declared any more: declare it again, or DELETE /{name}" if kind is INDICES else ""
    return Finding(kind.word, name, "left over", reason=reason)


def _by_template(kind: Kind, body: Json) -> bool:
    """Whether an index was made by a template of ours: nobody declared it by name."""
    return kind is INDICES and bool(body["mappings"]["_meta"][CLUSTER].get("by_template"))


def _left_over_models(declared: Declared, owned: Owned, ids: Mapping[str, str]) -> list[Finding]:
    models = [
        Finding("model", name, "left over", reason=f"id {one.model.id}")
        for name, found in owned.models.items()
        for one in found
        if name not in declared.models or (one.model.id != ids[name] and not ids[name].startswith("<"))
    ]
    connectors = [Finding("connector", name, "left over") for name in owned.connectors.values()]
    return models + connectors
