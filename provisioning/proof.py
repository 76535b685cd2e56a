"""Proof: real texts through the cluster's models and pipelines, beside the same texts through the bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from opensearch_splade.errors import MlCommonsError, SpecError
from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, SparseEncoder
from opensearch_splade.plugin.ml_predict import Algorithm, predict_dense, predict_sparse
from opensearch_splade.provisioning import cluster_models
from opensearch_splade.provisioning.declared import Declared
from opensearch_splade.provisioning.models import WantedModel
from opensearch_splade.provisioning.spec import Ingest
from opensearch_splade.provisioning.stored import ask
from opensearch_splade.provisioning.vectors import dense_difference, sparse_difference
from opensearch_splade.types import Features, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

TITLE = "Vitamin D and bone density"
TEXTS = (
    "A trial in 1,204 older adults: supplements of vitamin D did not change bone mineral density (p = 0.31).",
    "How do search engines rank documents by learned sparse vectors? They expand terms & weigh them...",
    "Two foxes crossed the river at night. " * 80,  # longer than a model reads: both must cut it alike
)


def model_fault(client: OpenSearch, model: WantedModel, model_id: str) -> str:
    """Why a deployed model is not what it should be; empty if it is.

    Raises:
        ClusterError: The cluster itself does not answer.
    """
    try:
        if model.is_dense:
            vectors = predict_dense(client, model_id, TEXTS)
            faults = map(dense_difference, vectors, _dense(model.bundle).encode(TEXTS).tolist())
        else:
            algorithm: Algorithm = "sparse_tokenize" if model.function == "SPARSE_TOKENIZE" else "sparse_encoding"
            features = predict_sparse(client, model_id, TEXTS, algorithm=algorithm)
            faults = map(sparse_difference, features, _sparse_vectors(model))
    except MlCommonsError as error:
        token = model.declared.token_env
        hint = f"; if its token changed, set {token} and apply with --renew-token" if token else ""
        return f"it does not answer: {error}{hint}"
    found = next((f"{text[:40]!r}: {fault}" for text, fault in zip(TEXTS, faults, strict=True) if fault), "")
    if not found:
        return ""
    served = served_fingerprint(model)
    own = model.bundle.manifest.fingerprint
    if served and served != own:
        return f"{model.url} serves fingerprint {served}, and {own} is declared"
    is_int8 = model.declared.in_cluster == "onnx" and model.bundle.manifest.precision == "int8"
    # ML Commons brings ONNX Runtime 1.16, whose int8 products round otherwise.
    hint = ". Inside the cluster an int8 bundle computes otherwise: export it with --precision fp32" if is_int8 else ""
    return f"it gives other vectors than the bundle {model.bundle.manifest.name}: {found}{hint}"


def pipeline_fault(declared: Declared, name: str, one: Ingest) -> str:
    """Why documents do not come out of an ingest pipeline as the bundles encode them; empty if they do.

    Raises:
        ClusterError: The cluster itself does not answer.
    """
    documents = [_document(one, text) for text in TEXTS]
    docs = [{"_index": "osplade-proof", "_id": str(place), "_source": body} for place, body in enumerate(documents)]
    found = ask(declared.client, "POST", f"/_ingest/pipeline/{name}/_simulate", {"docs": docs}) or {}
    for text, answer in zip(TEXTS, found["docs"], strict=True):
        if "doc" not in answer:
            return f"{text[:40]!r}: {answer.get('error', {}).get('reason', answer)}"
        if fault := _fault(declared, one, text, answer["doc"]["_source"]):
            return f"{text[:40]!r}: {fault}"
    return ""


def served_fingerprint(model: WantedModel) -> str:
    """What the endpoint says it serves, asked from here; empty if it cannot be asked from here."""
    if not model.is_remote:
        return ""
    try:
        token = cluster_models.token(model)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with urlopen(Request(f"{model.declared.endpoint}/models", headers=headers), timeout=5) as answer:  # noqa: S310 - http(s) by the spec
            listed = json.load(answer)
    except (OSError, ValueError, HTTPException, SpecError):
        return ""
    name = model.declared.served_as or model.bundle.manifest.name
    models = listed.get("models", listed) if isinstance(listed, dict) else listed
    found = next((one for one in models if isinstance(one, dict) and one.get("name") == name), {})
    return str(found.get("fingerprint", ""))


def _document(one: Ingest, text: str) -> Json:
    body: Json = {}
    for field, value in ((one.title, TITLE), (one.texts[0], text)):
        if field:
            _put(body, field.split("."), value)
    return body


def _put(body: Json, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        body = body.setdefault(name, {})
    body[path[-1]] = value


def _fault(declared: Declared, one: Ingest, body: str, source: Mapping[str, Any]) -> str:
    bundles = declared.bundles
    title = f"{TITLE} " if one.title else ""
    passage = f"{title}{body}".strip()
    if one.sparse:
        bundle = bundles[one.sparse]
        parts = [(passage, source.get("sparse") or {})]
        if one.chunks:
            parts = [
                ((title if part["start"] == 0 else "") + body[part["start"] : part["end"]], part["sparse"])
                for part in source.get("passages", [])
            ]
        for text, features in parts:
            if fault := sparse_difference(features, _features(bundle, text), one.prune):
                return fault
    if one.dense and (
        fault := dense_difference(source.get("dense", []), _dense(bundles[one.dense]).encode([passage])[0].tolist())
    ):
        return fault
    wanted = [bundles[key].manifest.fingerprint for key in (one.sparse, one.dense) if key]
    return "" if source.get("encoded") == wanted else f"encoded is {source.get('encoded')}, not {wanted}"


def _sparse_vectors(model: WantedModel) -> list[Features]:
    encoder = _sparse(model.bundle)
    if model.side == "queries" or model.function == "SPARSE_TOKENIZE":
        return [encoder.encode_query(text) for text in TEXTS]
    return [_features(model.bundle, text) for text in TEXTS]


def _features(bundle: Bundle, text: str) -> Features:
    encoder = _sparse(bundle)
    [row] = encoder.encode_documents([text])
    return encoder.features(*row)


@cache
def _sparse(bundle: Bundle) -> SparseEncoder:
    return SparseEncoder(bundle, Device())


@cache
def _dense(bundle: Bundle) -> DenseEncoder:
    return DenseEncoder(bundle, Device())
