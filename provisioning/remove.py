"""Remove: take from a cluster what is an owner's, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from opensearch_splade.errors import SpecError
from opensearch_splade.index_meta import CLUSTER
from opensearch_splade.plugin.ml_connectors import delete_connector
from opensearch_splade.provisioning import cluster_models, settings
from opensearch_splade.provisioning.apply import documents
from opensearch_splade.provisioning.cluster_models import Owned
from opensearch_splade.provisioning.stored import INDICES, INGEST, SEARCH, TEMPLATES, Kind, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from opensearchpy import OpenSearch


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be taken.

    Attributes:
        kept: Indices that stay because they hold documents, and how many.
        deleted: Indices that go.
        stored: Pipelines and templates.
        owned: Models and connectors.
        has_settings: Whether cluster settings are given back.
        with_documents: Whether indices go although they hold documents.
    """

    kept: dict[str, int]
    deleted: list[str]
    stored: list[tuple[Kind, str]]
    owned: Owned
    has_settings: bool
    with_documents: bool

    @property
    def lines(self) -> list[str]:
        """For people."""
        return [
            *(
                f"index {name} stays, with {count:,} documents and without its pipelines"
                for name, count in self.kept.items()
            ),
            *(f"index {name} is deleted" for name in self.deleted),
            *(f"{kind.word} {name} is deleted" for kind, name in self.stored),
            *(f"model {name} is deleted" for name in self.owned.models),
            *(f"connector {name} is deleted" for name in self.owned.connectors.values()),
            *(["cluster settings are given back"] if self.has_settings else []),
        ]


def removal(client: OpenSearch, owner: str, *, delete_indices: bool) -> Removal:
    """Looks at what is an owner's. Changes nothing.

    Raises:
        SpecError: An index that holds documents could not be written without its model.
        ClusterError: The cluster does not answer or refuses.
    """
    ours = {name: body for name, body in INDICES.all(client).items() if INDICES.owner(body) == owner}
    counts = {name: documents(client, name) for name in ours}
    kept = {name: count for name, count in counts.items() if count and not delete_indices}
    for name, count in kept.items():
        if ours[name]["mappings"]["_meta"][CLUSTER].get("encoded_by") == "semantic":
            raise SpecError(
                f"index {name!r} has a semantic field and {count:,} documents: without its model it could be "
                "neither written nor asked. --delete-indices deletes it too"
            )
    stored: list[tuple[Kind, str]] = [
        (kind, name)
        for kind in (TEMPLATES, SEARCH, INGEST)
        for name, body in kind.all(client).items()
        if kind.owner(body) == owner
    ]
    deleted = [name for name in counts if name not in kept]
    owned = cluster_models.owned(client, owner)
    return Removal(kept, deleted, stored, owned, settings.has_record(client, owner), delete_indices)


def remove(client: OpenSearch, found: Removal, tell: Callable[[str], None]) -> list[str]:
    """Takes it; what points to something goes before it. Killed half-way and run again it completes.

    Returns:
        What was done.

    Raises:
        SpecError: Documents were written meanwhile.
        ClusterError: The cluster does not answer or refuses.
    """
    done: list[str] = []

    def note(what: str) -> None:
        done.append(what)
        tell(what)

    for name in found.kept:
        pipelines = {"index.default_pipeline": None, "index.search.default_pipeline": None}
        ask(client, "PUT", f"/{name}/_settings", pipelines)
        note(f"index {name} kept, without its pipelines")
    for name in found.deleted:
        if not found.with_documents and documents(client, name):
            raise SpecError(f"somebody wrote documents to index {name!r} meanwhile: look at it, and run this again")
        INDICES.delete(client, name)
        note(f"index {name} deleted")
    for kind, name in found.stored:
        kind.delete(client, name)
        note(f"{kind.word} {name} deleted")
    models = [(name, one) for name, each in found.owned.models.items() for one in each]
    with ThreadPoolExecutor() as pool:
        for name, _ in zip(
            [name for name, _ in models],
            pool.map(partial(cluster_models.unmake, client), [one for _, one in models]),
            strict=True,
        ):
            note(f"model {name} deleted")
    for connector, name in found.owned.connectors.items():
        delete_connector(client, connector)
        note(f"connector {name} deleted")
    for line in settings.give_back(client):
        note(f"cluster setting {line}")
    return done
