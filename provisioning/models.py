"""Declared models: which models of the cluster a spec needs, and what each of them must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opensearch_splade.onnx_models import Bundle
from opensearch_splade.plugin.ml_connectors import connector_body
from opensearch_splade.plugin.ml_models import RemoteKind
from opensearch_splade.plugin.ml_packages import LocalFunction
from opensearch_splade.provisioning.bundles import Bundles
from opensearch_splade.provisioning.spec import ClusterSpec
from opensearch_splade.provisioning.spec import Model as Declared
from opensearch_splade.types import Json

Side = Literal["documents", "queries", "both"]
"""A model behind HTTP has a path for each, so that a bulk load never delays a search; inside the cluster it has not."""


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model that the cluster should have.

    Attributes:
        name: Says by itself whose it is: ids alone are used, and ML Commons keeps no other mark of uploaded models.
        key: Of the spec's model.
        side: What it encodes.
        declared: As the file says it.
        bundle: What it must compute.
    """

    name: str
    key: str
    side: Side
    declared: Declared
    bundle: Bundle = field(repr=False)

    @property
    def is_dense(self) -> bool:
        """Whether it gives dense vectors."""
        return self.bundle.manifest.kind == "dense"

    @property
    def is_remote(self) -> bool:
        """Whether it calls an endpoint."""
        return bool(self.declared.endpoint)

    @property
    def url(self) -> str:
        """Where texts are posted to; empty inside the cluster."""
        if not self.is_remote:
            return ""
        return f"{self.declared.endpoint}/{self.declared.served_as or self.bundle.manifest.name}/{self.side}"

    @property
    def description(self) -> str:
        """What people read, and what tells vectors of another bundle apart."""
        return f"bundle {self.bundle.manifest.name}, fingerprint {self.bundle.manifest.fingerprint}"

    @property
    def kind(self) -> RemoteKind:
        """What a remote model gives."""
        return "text_embedding" if self.is_dense else "sparse_encoding"

    @property
    def function(self) -> LocalFunction:
        """What a local model does."""
        if self.declared.in_cluster == "tokenizer":
            return "SPARSE_TOKENIZE"
        return "TEXT_EMBEDDING" if self.is_dense else "SPARSE_ENCODING"

    @property
    def config(self) -> Json:
        """More of ``model_config``."""
        if not self.is_dense:
            return {}
        return {
            "embedding_dimension": self.bundle.manifest.dimension,
            "framework_type": "sentence_transformers",
            "additional_config": {"space_type": "innerproduct"},
        }

    def connector(self, token: str | None = None) -> Json:
        """The body of its connector."""
        body = connector_body(
            self.name,
            self.url,
            token=token,
            description=self.description,
            connections=self.declared.max_connections,
            timeout=self.declared.timeout,
        )
        if self.is_dense:  # an array of arrays stays what it is without this, and no processor takes it so
            body["actions"][0]["post_process_function"] = "connector.post_process.default.embedding"
        return body


def prefix(owner: str) -> str:
    """What names of an owner's models and connectors begin with."""
    return f"osplade/{owner}/"


def wanted_models(spec: ClusterSpec, bundles: Bundles) -> dict[str, WantedModel]:
    """The models that pipelines and indices use, by name."""
    found = (
        _wanted(spec, bundles, key, side)
        for key, side in [
            *((model, "documents") for one in spec.ingest.values() for model in (one.dense, one.sparse)),
            *((model, "queries") for one in spec.search.values() for model in (one.dense, one.sparse)),
            *((one.semantic.model, "documents") for one in spec.shaped.values() if one.semantic),
            *(
                (one.semantic.search_model or one.semantic.model, "queries")
                for one in spec.shaped.values()
                if one.semantic
            ),
        ]
        if key
    )
    return {one.name: one for one in found}


def model_name(spec: ClusterSpec, key: str, side: Side) -> str:
    """What a model is called on the cluster."""
    used: Side = side if spec.models[key].endpoint else "both"
    return f"{prefix(spec.name)}{key}" + ("" if used == "both" else f"/{used}")


def _wanted(spec: ClusterSpec, bundles: Bundles, key: str, side: str) -> WantedModel:
    declared = spec.models[key]
    used: Side = "both" if declared.in_cluster else "documents" if side == "documents" else "queries"
    return WantedModel(model_name(spec, key, used), key, used, declared, bundles[key])


Ids = Mapping[str, str]
"""Id of each model on the cluster, by name."""
