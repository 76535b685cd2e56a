"""Predictions of the cluster's models: what an ingest pipeline or a query gets from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from opensearch_splade.plugin.ml_commons import call, refused
from opensearch_splade.types import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

_Vector = TypeVar("_Vector")

Algorithm = Literal["sparse_encoding", "sparse_tokenize", "text_embedding"]


def predict_sparse(
    client: OpenSearch, model_id: str, texts: Sequence[str], *, algorithm: Algorithm = "sparse_encoding"
) -> list[Features]:
    """Token to weight for each text, in order.

    Args:
        client: Connected to the cluster.
        model_id: A deployed model, remote or local.
        texts: Sent in one request.
        algorithm: ``sparse_encoding`` for documents and remote models, ``sparse_tokenize`` for local tokenizers.

    Raises:
        MlCommonsError: It is refused or the encoder fails; or it did not give one map for each text.
        ClusterError: The cluster does not answer.
    """
    found: list[Features] = []
    for output in _outputs(client, model_id, texts, algorithm):
        response = output.get("dataAsMap", {}).get("response")
        if not isinstance(response, list) or not all(isinstance(one, dict) for one in response):
            raise refused(client, f"get token weights from the model {model_id}", _gave(output))
        found += response
    return _one_each(client, model_id, texts, found)


def predict_dense(client: OpenSearch, model_id: str, texts: Sequence[str]) -> list[list[float]]:
    """One vector for each text, in order.

    Raises:
        MlCommonsError: It is refused or the encoder fails; or it did not give one vector for each text.
        ClusterError: The cluster does not answer.
    """
    found: list[list[float]] = []
    for output in _outputs(client, model_id, texts, "text_embedding"):
        if not isinstance(output.get("data"), list):
            raise refused(client, f"get vectors from the model {model_id}", _gave(output))
        found.append(output["data"])
    return _one_each(client, model_id, texts, found)


def _outputs(client: OpenSearch, model_id: str, texts: Sequence[str], algorithm: Algorithm) -> list[Json]:
    """By the algorithm's name: ``/models/<id>/_predict`` refuses texts for a remote model."""
    body: Json = {"text_docs": list(texts)}
    if algorithm == "text_embedding":
        body |= {"return_number": True, "target_response": ["sentence_embedding"]}
    answer = call(client, "POST", f"/_predict/{algorithm}/{model_id}", body, what=f"predict by the model {model_id}")
    return [output for result in answer["inference_results"] for output in result["output"]]


def _one_each(client: OpenSearch, model_id: str, texts: Sequence[str], found: list[_Vector]) -> list[_Vector]:
    if len(found) != len(texts):
        what = f"get one vector for each text from the model {model_id}"
        raise refused(client, what, f"the encoder gave {len(found)} for {len(texts)} texts")
    return found


def _gave(output: Json) -> str:
    return f"the encoder must answer with an array of maps of token to weight, and gave {str(output)[:200]}"
