"""Clauses that send the question itself, for the server to analyze or to encode. It always stands in a value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import QueryError
from opensearch_splade.query.requirements import NEURAL_SPARSE_ANALYZER, NEURAL_SPARSE_MODEL, SERVER_MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearch_splade.types import Capabilities, Json

MultiMatch = Literal["best_fields", "most_fields", "cross_fields", "phrase"]
_MODEL_ANALYZERS = {"bert-uncased", "mbert-uncased"}


def checked_text(text: object) -> str:
    """The question, if it is a string: an object in its place, say from a decoded request, would be query syntax.

    Raises:
        QueryError: It is not.
    """
    if not isinstance(text, str):
        raise QueryError(f"the question is {type(text).__name__}, not a string: clauses take the user's text as it is")
    return text


def multi_match(text: str, fields: Mapping[str, float], *, how: MultiMatch = "best_fields") -> Json:
    """BM25 over several analyzed fields.

    The server makes a clause of each word in each field: cut the text by ``limits.fit_text`` with the room divided by
    the number of fields.

    Args:
        text: The question.
        fields: Field to boost, e.g. ``{"title": 2, "body": 1}``.
        how: How the scores of the fields are put together.

    Raises:
        QueryError: No field is named, a boost is not positive and finite, or the question is not a string.
    """
    if not fields:
        raise QueryError("multi_match names no field: the server would ask every one of the index")
    for field, boost in fields.items():
        if not (field and "^" not in field and math.isfinite(boost) and boost > 0):
            raise QueryError(f"field {field!r} with boost {boost}: it needs a name without '^' and a boost above 0")
    named = [field if boost == 1 else f"{field}^{float(boost)!r}" for field, boost in fields.items()]
    return {"multi_match": {"query": checked_text(text), "fields": named, "type": how}}


def neural_sparse_by_model(text: str, model_id: str, field: str = "sparse", *, capabilities: Capabilities) -> Json:
    """``neural_sparse`` whose query weights a model of the server makes.

    Raises:
        CapabilityError: The server is older than 2.11 or lacks neural-search or ML Commons.
        QueryError: No model is named, or the question is not a string.
    """
    capabilities.require(NEURAL_SPARSE_MODEL)
    capabilities.require(SERVER_MODELS)
    if not model_id:
        raise QueryError("no model is named: the server would take its analyzer bert-uncased without a word")
    return _by_text(text, field, {"model_id": model_id})


def neural_sparse_by_analyzer(text: str, analyzer: str, field: str = "sparse", *, capabilities: Capabilities) -> Json:
    """``neural_sparse`` whose query weights an analyzer of the server makes: the inference-free way.

    ``bert-uncased`` and ``mbert-uncased`` come with ML Commons and weight by their own table. Any other analyzer of the
    index works as well; each of its tokens weighs 1 (seen on 3.6.0).

    Raises:
        CapabilityError: The server is older than 3.1 or lacks neural-search, or ML Commons for its analyzers.
        QueryError: No analyzer is named, or the question is not a string.
    """
    capabilities.require(NEURAL_SPARSE_ANALYZER)
    if analyzer in _MODEL_ANALYZERS:
        capabilities.require(SERVER_MODELS)
    if not analyzer:
        raise QueryError("no analyzer is named: the server would take bert-uncased, whatever vocabulary the index has")
    return _by_text(text, field, {"analyzer": analyzer})


def _by_text(text: str, field: str, encoder: Json) -> Json:
    if not checked_text(text).strip():
        return {"match_none": {}}  # the server: "query_text field can not be empty"
    return {"neural_sparse": {field: {"query_text": text, **encoder}}}
