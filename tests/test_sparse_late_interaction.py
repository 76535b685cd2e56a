"""Sparse late interaction: the score by its definition, the bounds that SLIM rests on, and vectors of a real model."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.query import by_sparse_late_interaction, search_body, sparse_late_interaction, upper_bound_query
from opensearch_splade.query.clauses import match
from opensearch_splade.types import Features

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Tokens = list[Features]
TEXTS = ["Vitamin D and the density of bones.", "", "Foxes run; dogs do not.", "paris " * 300]

INT8 = 0.06
"""What a weight of the shipped bundle may be off by."""
TOKENS = st.lists(st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 9), max_size=4), max_size=5)


def dot(one: Features, other: Features) -> float:
    """Of two sparse vectors."""
    return math.fsum(weight * other.get(feature, 0.0) for feature, weight in one.items())


def pooled(tokens: Tokens) -> Features:
    """The largest weight of each feature: what a document's vector is."""
    return {name: max(token.get(name, 0.0) for token in tokens) for token in tokens for name in token}


@given(TOKENS, TOKENS)
def test_the_score_is_a_sum_of_maxima(question: Tokens, document: Tokens) -> None:
    """By the definition, written down without an index of features."""
    expected = math.fsum(max((dot(one, other) for other in document), default=0.0) for one in question)
    assert sparse_late_interaction(question, document) == pytest.approx(expected)


@given(TOKENS, TOKENS)
def test_the_first_stage_is_an_upper_bound(question: Tokens, document: Tokens) -> None:
    """SLIM's relation: the sum of maxima of sums is at most the sum of sums of maxima, the pooled vectors' product."""
    bound = dot(upper_bound_query(question), pooled(document))
    assert sparse_late_interaction(question, document) <= bound * (1 + 1e-12)


@given(TOKENS, TOKENS)
def test_one_token_of_the_document_is_a_lower_bound(question: Tokens, document: Tokens) -> None:
    """The largest of sums is at most the sum of the largest: all of the question against the best single token."""
    added = upper_bound_query(question)
    bound = max((dot(added, token) for token in document), default=0.0)
    assert sparse_late_interaction(question, document) >= bound * (1 - 1e-12)


@given(TOKENS, TOKENS)
def test_the_bounds_meet_where_every_token_has_one_feature(question: Tokens, document: Tokens) -> None:
    """Then no feature of a token can be paired with another one's: bag of words and late interaction are the same."""
    single = [dict(islice(token.items(), 1)) for token in question]
    bound = dot(upper_bound_query(single), pooled(document))
    assert sparse_late_interaction(single, document) == pytest.approx(bound)


@given(TOKENS.filter(any), st.dictionaries(st.text(max_size=2), TOKENS, max_size=5))
def test_documents_come_best_first(question: Tokens, documents: dict[str, Tokens]) -> None:
    """Each once; of equal ones the first ranking's order holds."""
    found = by_sparse_late_interaction(question, documents)
    expected = {key: sparse_late_interaction(question, tokens) for key, tokens in documents.items()}
    assert list(found.items()) == sorted(expected.items(), key=lambda each: -each[1])


def test_a_question_of_nothing_is_refused() -> None:
    """Its scores would be all 0, which ranks nothing."""
    with pytest.raises(QueryError, match="no token vectors to compare"):
        by_sparse_late_interaction([{}], {"a": [{"fox": 1.0}]})


@pytest.fixture(scope="module")
def encoder() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny")


def test_tokens_pooled_are_the_document(encoder: SparseEncoder) -> None:
    """The maximum of all tokens' vectors is the indexed vector; in int8 each token has an activation scale of its own.

    A text is cut where documents are.
    """
    found = list(encoder.stream_token_vectors(TEXTS, strongest=512))
    for tokens, (token_ids, weights) in zip(found, encoder.stream(TEXTS), strict=True):
        assert all(tokens)
        one, other = pooled(tokens), encoder.features(token_ids, weights)
        for name in one.keys() | other.keys():
            assert one.get(name, 0.0) == pytest.approx(other.get(name, 0.0), abs=INT8)
    assert len(found[0]) > 3


def test_a_token_keeps_its_strongest_features(encoder: SparseEncoder) -> None:
    """Those of the whole vector, strongest first; a question's tokens likewise."""
    whole = list(encoder.stream_token_vectors(TEXTS, strongest=512))
    cut = list(encoder.stream_token_vectors(TEXTS, strongest=2))
    assert cut == [[dict(islice(token.items(), 2)) for token in tokens] for tokens in whole]
    assert all(list(token.values()) == sorted(token.values(), reverse=True) for tokens in whole for token in tokens)
    assert max(len(token) for token in whole[0]) > 2
    assert list(encoder.stream_token_vectors(TEXTS[:1], strongest=2, query=True)) == cut[:1]
    with pytest.raises(OspladeError, match="at least 1"):
        next(encoder.stream_token_vectors(TEXTS, strongest=0))


def test_the_model_s_first_stage_bounds_its_second(encoder: SparseEncoder) -> None:
    """On stored vectors as a rank_features field has them: what the server gives is at least the late interaction."""
    [question] = encoder.stream_token_vectors(["bone density of foxes in paris"], query=True)
    for tokens, row in zip(encoder.stream_token_vectors(TEXTS), encoder.stream(TEXTS), strict=True):
        bound = dot(upper_bound_query(question), encoder.features(*row))
        assert sparse_late_interaction(question, tokens) <= bound * (1 + INT8)


@pytest.mark.server
def test_stored_tokens_score_hits_again(encoder: SparseEncoder, client: OpenSearch, index_name: str) -> None:
    """A field that is stored and not indexed gives back what was put there, names with dots and all."""
    texts = {"a": "Foxes run at night.", "b": "A fox... and a dog.", "c": "The run on the banks: night of the fox."}
    tokens = dict(zip(texts, encoder.stream_token_vectors(texts.values()), strict=True))
    assert any("<dot>" in name for token in tokens["b"] for name in token)
    mappings = {"properties": {"text": {"type": "text"}, "tokens": {"type": "object", "enabled": False}}}
    client.indices.create(index=index_name, body={"mappings": {"dynamic": "strict", **mappings}})
    sources = [({"index": {"_id": key}}, {"text": texts[key], "tokens": tokens[key]}) for key in texts]
    lines = [part for source in sources for part in source]
    assert not client.bulk(index=index_name, body=lines, params={"refresh": "true"})["errors"]
    body = search_body(match("fox run night")) | {"_source": ["tokens"]}
    hits = client.search(index=index_name, body=body)["hits"]["hits"]
    [question] = encoder.stream_token_vectors(["a fox at night"], query=True)
    found = by_sparse_late_interaction(question, {hit["_id"]: hit["_source"]["tokens"] for hit in hits})
    assert found == by_sparse_late_interaction(question, {hit["_id"]: tokens[hit["_id"]] for hit in hits})
    assert len(found) > 1
