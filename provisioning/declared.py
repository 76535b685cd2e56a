"""Declared: everything of one file, opened and ready to be compared with a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.provisioning import indices, pipelines
from opensearch_splade.provisioning.bundles import Bundles, open_bundles
from opensearch_splade.provisioning.models import Ids, WantedModel, wanted_models
from opensearch_splade.provisioning.spec import ClusterSpec
from opensearch_splade.provisioning.spec_file import read_spec
from opensearch_splade.provisioning.stored import INDICES, INGEST, SEARCH, TEMPLATES, Kind
from opensearch_splade.types import Capabilities, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Object(NamedTuple):
    """What is stored by name.

    Attributes:
        kind: Where.
        name: By which name.
        body: As it should be.
    """

    kind: Kind
    name: str
    body: Json


@dataclass(frozen=True)
class Declared:
    """One file and the cluster it is for.

    Attributes:
        spec: The file.
        bundles: Those it names.
        client: Connected to the cluster.
        capabilities: What the cluster can do.
    """

    spec: ClusterSpec
    bundles: Bundles
    client: OpenSearch
    capabilities: Capabilities

    @classmethod
    def open(cls, path: Path, client: OpenSearch) -> Declared:
        """Reads a file and asks the cluster what it can do.

        Raises:
            SpecError: The file is wrong.
            BundleError: A bundle is missing or damaged.
            ClusterError: The cluster does not answer.
        """
        spec = read_spec(path)
        return cls(spec, open_bundles(spec, path.parent), client, probe(client))

    @cached_property
    def models(self) -> dict[str, WantedModel]:
        """By name."""
        return wanted_models(self.spec, self.bundles)

    def objects(self, ids: Ids) -> list[Object]:
        """In the order in which they are made: what another one names comes first.

        Args:
            ids: Of all ``models``.

        Raises:
            CapabilityError: The server cannot do something that is declared.
            SpecError: Names clash.
        """
        spec, bundles = self.spec, self.bundles
        found = [
            Object(INGEST, spec.called(key), pipelines.ingest_pipeline(spec, one, bundles, ids))
            for key, one in spec.ingest.items()
        ]
        for key, model in indices.semantic_pipelines(spec).items():
            body = pipelines.semantic_pipeline(spec, bundles[model].manifest.fingerprint)
            found.append(Object(INGEST, spec.called(key), body))
        for key, one in spec.search.items():
            found.append(Object(SEARCH, spec.called(key), pipelines.search_pipeline(spec, one, ids)))
        for key, pattern in spec.templates.items():
            body = indices.template(spec, key, pattern, bundles, ids, self.capabilities)
            found.append(Object(TEMPLATES, spec.called(key), body))
        for key, shape in spec.indices.items():
            body = indices.index(spec, key, shape, bundles, ids, self.capabilities)
            found.append(Object(INDICES, key, body))
        return [
            one._replace(body=orjson.loads(orjson.dumps(one.body))) for one in found
        ]  # as the cluster gives it back
