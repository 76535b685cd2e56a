"""Status: what differs on a cluster, what does not answer, and which documents have no vector."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opensearch_splade.provisioning.apply import count, documents
from opensearch_splade.provisioning.declared import Declared
from opensearch_splade.provisioning.examine import Examined, examine
from opensearch_splade.provisioning.findings import Finding
from opensearch_splade.provisioning.proof import model_fault
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable


def unencoded(fingerprints: list[str]) -> Json:
    """The query that finds documents without vectors, or with those of other bundles.

    Of the vector field itself no server answers ``exists``.
    """
    return {"bool": {"must_not": [{"bool": {"filter": [{"term": {"encoded": one}} for one in fingerprints]}}]}}


def status(declared: Declared, tell: Callable[[str], None]) -> list[Finding]:
    """All findings of ``examine``; models are asked, and documents counted.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    examined = examine(declared)
    findings = []
    for one in examined.findings:
        if one.kind == "model" and one.state == "as declared":
            tell(f"asking {one.name}")
            findings.append(_asked(declared, examined, one))
        elif one.kind == "index" and one.name in declared.spec.indices and one.state in {"as declared", "changed"}:
            findings.append(one)
            findings += _counted(declared, one.name)
        else:
            findings.append(one)
    return findings


def _asked(declared: Declared, examined: Examined, finding: Finding) -> Finding:
    fault = model_fault(declared.client, declared.models[finding.name], examined.ids[finding.name])
    return replace(finding, state="failing", reason=fault) if fault else finding


def _counted(declared: Declared, name: str) -> list[Finding]:
    total = documents(declared.client, name)
    found = count(declared.client, name, unencoded(fingerprints(declared, name)))
    if not found:
        return []
    reason = (
        f"{found:,} of {total:,} documents have no vector of the declared bundle (field `encoded`): write "
        "them again; docs/cluster.md has the query that finds them"
    )
    return [Finding("documents", name, "incomplete", reason=reason)]


def fingerprints(declared: Declared, index: str) -> list[str]:
    """What ``encoded`` of a whole document holds."""
    one = declared.spec.indices[index]
    if one.semantic:
        keys = [one.semantic.model]
    else:
        ingest = declared.spec.ingest[one.ingest or ""]
        keys = [key for key in (ingest.sparse, ingest.dense) if key]
    return [declared.bundles[key].manifest.fingerprint for key in keys]
