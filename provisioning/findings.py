"""Findings: what the cluster has of what is declared, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from opensearch_splade.provisioning.comparing import Difference
from opensearch_splade.types import Json

State = Literal[
    "as declared", "missing", "changed", "fixed", "foreign", "not deployed", "left over", "failing", "incomplete"
]
"""``fixed``: it differs where it cannot be changed in place. ``left over``: ours, and not declared any more.
``failing``: it is there and does not give what the bundle gives. ``incomplete``: documents without vectors."""

DOES: Mapping[State, str] = {
    "as declared": "keep",
    "missing": "make",
    "changed": "change",
    "fixed": "refuse",
    "foreign": "refuse",
    "not deployed": "deploy",
    "left over": "delete",
    "failing": "refuse",
    "incomplete": "keep",
}
"""What ``apply`` does about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One object of the cluster.

    Attributes:
        kind: Such as ``ingest pipeline``.
        name: On the cluster.
        state: See ``State``.
        differences: Where it is otherwise.
        reason: Why, in words, where places do not say it.
    """

    kind: str
    name: str
    state: State = "as declared"
    differences: Sequence[Difference] = ()
    reason: str = ""

    @property
    def does(self) -> str:
        """What ``apply`` does about it; it deletes no index."""
        return "keep" if self.kind == "index" and self.state == "left over" else DOES[self.state]

    def to_json(self) -> Json:
        """For machines."""
        found: Json = {"kind": self.kind, "name": self.name, "state": self.state, "does": self.does}
        if self.differences:
            found["differences"] = [one.to_json() for one in self.differences]
        if self.reason:
            found["reason"] = self.reason
        return found


def are_as_declared(findings: Sequence[Finding]) -> bool:
    """Whether nothing differs."""
    return all(one.state == "as declared" for one in findings)
