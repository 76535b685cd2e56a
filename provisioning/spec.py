"""Spec: what should be there on a cluster, as its file says it. Knows neither a cluster nor an encoder."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from opensearch_splade.errors import QueryError
from opensearch_splade.query import Fusion, QueryPruning

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
IndexName = Annotated[str, Field(pattern=r"^[^A-Z\s\\/*?\"<>|,#:+_.-][^A-Z\s\\/*?\"<>|,#:]*$", max_length=255)]
PRUNE_RULE = r"^((max_ratio|alpha_mass|abs_value):(0?\.\d+|0|1(\.0*)?|[1-9]\d*\.?\d*)|top_k:[1-9]\d*)?$"
DEFAULT_TITLE, DEFAULT_TEXTS = "title", ["text"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Model(_Part):
    """A bundle that the cluster can call: behind HTTP (`endpoint`), or inside the cluster (`in_cluster`)."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["endpoint"]}, {"required": ["in_cluster"]}]},
    )

    bundle: Annotated[str, Field(min_length=1)]
    """Folder of the bundle (from this file on) or name of a shipped one: what the model must compute."""
    endpoint: str = ""
    """Where `osplade serve` answers, as the cluster's nodes reach it, e.g. http://encoder:9229."""
    served_as: str = ""
    """What the endpoint calls the bundle, if not by the bundle's own name."""
    token_env: str = ""
    """Environment variable with the endpoint's bearer token, read by `apply`; the connector keeps it encrypted."""
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 100
    """Calls that one node makes to the endpoint at once; a call that finds none free for ten seconds fails."""
    timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds that a node waits for the endpoint's answer."""
    in_cluster: Literal["", "tokenizer", "onnx"] = ""
    """`tokenizer`: inference-free queries (tokenizer and weight table, no model runs). `onnx`: the whole model, one
    document at a time, on nodes that were prepared for it."""

    @field_validator("endpoint")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment)
        if value and (not usable or "@" in parts.netloc):
            raise ValueError("an endpoint is http(s)://host:port without user, password or query; tokens: token_env")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _runs_somewhere(self) -> Self:
        if bool(self.endpoint) == bool(self.in_cluster):
            raise ValueError("a model has an endpoint, or in_cluster says how it runs inside; one of the two")
        if self.in_cluster and (self.token_env or self.served_as):
            raise ValueError("token_env and served_as go with an endpoint")
        return self


class Chunks(_Part):
    """How the cluster cuts a long text: by words, whatever sentences are."""

    words: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Words of a chunk; BERT makes some 1.3 tokens of a word."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of a chunk that the next one repeats."""
    most: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Chunks of a document; the last one holds what is left of the text."""


class Ingest(_Part):
    """An ingest pipeline: what the cluster does with a document that is written by `_bulk`."""

    sparse: Name | None = None
    """Model of the field `sparse`."""
    dense: Name | None = None
    """Model of the field `dense`."""
    title: str = DEFAULT_TITLE
    """Field of the title, encoded before the text; may be missing in documents."""
    texts: Annotated[list[str], Field(min_length=1)] = DEFAULT_TEXTS
    """Fields of text, in their order."""
    prune: Annotated[str, Field(pattern=PRUNE_RULE)] = ""
    """Drop weak features: max_ratio:0.1, abs_value:0.05, top_k:200 or alpha_mass:0.95."""
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 32
    """Texts of one call to the model."""
    chunks: Chunks | None = None
    """Cut the text, and give each chunk a sparse vector of its own."""
    without_text: Literal["refuse", "store"] = "refuse"
    """A document without a word: refuse it, or store it without a vector and without `encoded`."""

    @model_validator(mode="after")
    def _makes_vectors(self) -> Self:
        if not (self.sparse or self.dense):
            raise ValueError("a pipeline makes sparse vectors, dense ones or both: name a model")
        if (self.prune or self.chunks) and not self.sparse:
            raise ValueError("prune and chunks go with sparse")
        return self


class Search(_Part):
    """A search pipeline: which models encode `query_text`, and how several rankings become one."""

    sparse: Name | None = None
    """Model that encodes `query_text` of `neural_sparse`."""
    dense: Name | None = None
    """Model that encodes `query_text` of `neural`."""
    two_phase: str = ""
    """Which features of a query find the candidates that all score, e.g. max_ratio:0.4."""
    fusion: str = ""
    """Of a `hybrid` query: min_max, rrf, l2, z_score, or with a mean such as min_max/geometric."""
    weights: list[Annotated[float, Field(gt=0)]] = []
    """Of the queries of a `hybrid`, in their order."""

    @field_validator("two_phase")
    @classmethod
    def _is_one_rule(cls, value: str) -> str:
        if value:
            try:
                rule = QueryPruning.parse(value)
            except QueryError as error:
                raise ValueError(str(error)) from error
            if (rule.max_ratio is None) == (rule.top_k is None):
                raise ValueError("two phases take one rule, max_ratio or top_k")
        return value

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.sparse or self.dense or self.fusion or self.two_phase):
            raise ValueError("a search pipeline names a model, two_phase or a fusion")
        if self.weights and not self.fusion:
            raise ValueError("weights go with a fusion")
        if self.fusion:
            try:
                Fusion.parse(self.fusion).pipeline(len(self.weights) or 2)
            except QueryError as error:
                raise ValueError(str(error)) from error
        return self


class Semantic(_Part):
    """A `semantic` field `text`: the cluster encodes it by itself and keeps the vector beside it."""

    model: Name
    """Sparse model with an endpoint."""
    search_model: Name | None = None
    """Model for questions; by default the same bundle's side for questions."""
    prune: Annotated[str, Field(pattern=PRUNE_RULE)] = ""
    """As of a pipeline; OpenSearch's own default would be max_ratio:0.1."""
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 32
    """Texts of one call to the model."""


class Index(_Part):
    """An index that is filled and asked through the cluster's own models."""

    ingest: Name | None = None
    """Ingest pipeline; decides the vector fields too."""
    search: Name | None = None
    """Search pipeline of searches that name none."""
    semantic: Semantic | None = None
    """A semantic field instead of an ingest pipeline."""
    properties: dict[str, Any] = {}
    """More fields, as in a mapping."""
    dynamic: Literal["strict", "true", "false"] = "strict"
    """What happens to fields that are not named."""
    analyzer: str = "english"
    """Of title and texts."""
    shards: Annotated[int, Field(ge=1, le=1024)] = 1
    """Primary shards."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Copies of each; by default one wherever the cluster has a second node."""

    @model_validator(mode="after")
    def _is_filled(self) -> Self:
        if (self.ingest is None) == (self.semantic is None):
            raise ValueError("an index has an ingest pipeline or a semantic field; one of the two")
        return self


class Template(Index):
    """An index template: indices whose name fits are made so by whoever writes to them first."""

    patterns: Annotated[list[str], Field(min_length=1)]
    """Names of indices, with `*`."""
    priority: Annotated[int, Field(ge=0)] = 100
    """Where several templates fit, the highest counts."""


class ClusterSpec(_Part):
    """What `osplade cluster apply` puts on a cluster."""

    name: Name
    """Owner of all that is made: pipelines, models, connectors and templates are called NAME-KEY, indices KEY alone."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """Bundles that the cluster can call."""
    ingest: dict[Name, Ingest] = {}
    """Ingest pipelines."""
    search: dict[Name, Search] = {}
    """Search pipelines."""
    indices: dict[IndexName, Index] = {}
    """Indices, by the name that applications use."""
    templates: dict[Name, Template] = {}
    """Index templates."""

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Self:
        places = [
            *((f"ingest.{key}", one.sparse, one.dense) for key, one in self.ingest.items()),
            *((f"search.{key}", one.sparse, one.dense) for key, one in self.search.items()),
            *(
                (f"indices.{key}.semantic", one.semantic.model, one.semantic.search_model)
                for key, one in self.shaped.items()
                if one.semantic
            ),
        ]
        for place, *names in places:
            _require(place, "model", names, self.models)
        for key, one in self.shaped.items():
            _require(f"indices.{key}", "ingest pipeline", [one.ingest], self.ingest)
            _require(f"indices.{key}", "search pipeline", [one.search], self.search)
        return self

    @property
    def shaped(self) -> dict[str, Index]:
        """Indices and templates alike, by their keys."""
        return {**self.indices, **self.templates}

    def called(self, key: str) -> str:
        """The name on the cluster of what is not an index."""
        return f"{self.name}-{key}"


def _require(place: str, what: str, names: list[str | None], known: dict[str, Any]) -> None:
    for name in names:
        if name is not None and name not in known:
            raise ValueError(f"{place}: there is no {what} {name!r}; declared: {', '.join(known) or 'none'}")
