"""Switch: the one call that leads readers and writers from the old index to the new one, and the one that leads back.

The cluster carries out all actions of an ``_aliases`` call in one change of its state: whoever asks meanwhile gets the
old index or the new one, and never an error, both, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_PATIENCE = 120
"""Seconds for the answer: longer than the cluster takes for it or gives up."""
_BARRIER = {"wait_for_events": "languid", "request_timeout": 60}


@dataclass(frozen=True, slots=True)
class Switch:
    """What changes, as it is noted before it does.

    Attributes:
        old: The old index.
        new: The new index.
        aliases: What the old index is asked by: filter, routings, whether it is written by, whether it is hidden.
        clone: What holds the old documents afterwards, where the old index' own name becomes an alias.
        elsewhere: Whether the old index is on another cluster, so that aliases are made and not moved.
    """

    old: str
    new: str
    aliases: Mapping[str, Json] = field(default_factory=dict)
    clone: str = ""
    elsewhere: bool = False

    @property
    def kept(self) -> str:
        """The index that has the old documents afterwards: the way back."""
        return self.clone or self.old

    @property
    def served(self) -> dict[str, Json]:
        """All names that lead to the new index afterwards."""
        return {**self.aliases, self.old: {}} if self.clone else dict(self.aliases)

    @property
    def forth(self) -> list[Json]:
        """Actions of ``_aliases`` that lead to the new index."""
        if self.clone:  # with an index go its aliases
            return [{"remove_index": {"index": self.old}}, *self._added(self.new)]
        return [*self._removed(self.old), *self._added(self.new)] if not self.elsewhere else self._added(self.new)

    @property
    def back(self) -> list[Json]:
        """Actions of ``_aliases`` that lead back."""
        removed = self._removed(self.new)
        return removed if self.elsewhere else [*removed, *self._added(self.kept)]

    def _added(self, index: str) -> list[Json]:
        return [{"add": {"index": index, "alias": alias, **about}} for alias, about in self.served.items()]

    def _removed(self, index: str) -> list[Json]:
        return [{"remove": {"index": index, "alias": alias, "must_exist": False}} for alias in self.served]

    def is_done(self, client: OpenSearch) -> bool:
        """Whether all names lead to the new index."""
        return set(self.served) <= set(aliases_of(client, self.new))

    def is_undone(self, client: OpenSearch) -> bool:
        """Whether none does."""
        return not set(self.served) & set(aliases_of(client, self.new))

    def to_json(self) -> Json:
        """For the state."""
        return asdict(self)


def take(client: OpenSearch, actions: list[Json], index: str) -> None:
    """Carries actions out, all in one.

    Raises:
        MigrationError: The cluster did not confirm that each node knows.
        ClusterError: It refuses.
    """
    with asking(index):
        answer = client.indices.update_aliases(body={"actions": actions}, params={"request_timeout": _PATIENCE})
    if not answer.get("acknowledged"):
        raise MigrationError("the cluster does not confirm that all nodes know the new aliases: take the step again.")


def settle(client: OpenSearch, index: str) -> None:
    """Waits until what was sent before is done or dropped, where an answer was lost."""
    with asking(index):
        client.cluster.health(params=_BARRIER)


def aliases_of(client: OpenSearch, index: str) -> dict[str, Json]:
    """Aliases of an index, as ``add`` takes them; none where there is no such index."""
    with asking(index):
        found = client.indices.get_alias(index=index, params={"ignore_unavailable": "true"})
    return dict(found.get(index, {}).get("aliases", {}))


def exists(client: OpenSearch, index: str) -> bool:
    """Whether there is an index or an alias of this name."""
    with asking(index):
        return bool(client.indices.exists(index=index))


def uuid_of(client: OpenSearch, index: str) -> str:
    """The own id of an index; empty where there is none of this name."""
    with asking(index):
        found = client.indices.get_settings(index=index, params={"ignore_unavailable": "true"})
    return str(found[index]["settings"]["index"]["uuid"]) if index in found else ""
