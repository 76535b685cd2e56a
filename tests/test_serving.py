"""``osplade serve``: the vectors that come over HTTP are those of the encoder, in order, whatever else is asked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_clients import body, server

from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.serving import Limits
from opensearch_splade.serving.json_rows import FeatureMaps

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "reads",
    "a",
    "csv",
    "file,",
    "waits",
    "for",
    "threads",
    "and",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "in",
    "the",
    "capital",
    "of",
    "France",
]
MAX_TEXTS = 64


def some_texts(count: int, seed: int = 0) -> list[str]:
    """Of very different lengths, up to what is truncated."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [" ".join(chance.choices(WORDS, k=chance.choice([1, 3, 9, 40, 300]))) for _ in range(count)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One server for all tests that do not change it."""
    with server(limits=Limits(max_texts=MAX_TEXTS, max_body=1 << 20)) as running:
        yield running


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as connected:
        yield connected


@pytest.fixture(scope="module")
def siamese() -> SparseEncoder:
    return SparseEncoder.load("splade-tiny")


def expected_rows(encoder: SparseEncoder, texts: list[str]) -> list[dict[str, np.float32]]:
    """Features with their float32 weights."""
    names = encoder.vocabulary.features
    return [
        {names[token]: weight for token, weight in zip(*row, strict=True)} for row in encoder.encode_documents(texts)
    ]


def as_float32(maps: list[dict[str, float]]) -> list[dict[str, np.float32]]:
    """JSON's numbers as what they were."""
    return [{feature: np.float32(weight) for feature, weight in one.items()} for one in maps]


@pytest.mark.parametrize("lane", ["documents", "queries"])
def test_sparse_vectors_are_the_encoders_to_the_last_bit(
    client: httpx.Client, siamese: SparseEncoder, lane: str
) -> None:
    """In order, whatever batches they came in; the fingerprint says which vectors they are."""
    texts = some_texts(MAX_TEXTS)
    answer = client.post(f"/splade-tiny/{lane}", content=body(texts))
    assert answer.status_code == 200
    assert as_float32(answer.json()) == expected_rows(siamese, texts)
    assert answer.headers["x-osplade-fingerprint"] == siamese.fingerprint
    assert answer.headers["content-type"] == "application/json"


def test_inference_free_questions_are_the_tables(client: httpx.Client) -> None:
    """Exactly the numbers of the table, and their documents those of the model."""
    encoder, texts = SparseEncoder.load("splade-tiny-idf"), some_texts(9)
    found = client.post("/splade-tiny-idf/queries", content=body(texts)).json()
    assert found == [encoder.encode_query(text) for text in texts]
    documents = client.post("/splade-tiny-idf/documents", content=body(texts)).json()
    assert as_float32(documents) == expected_rows(encoder, texts)


@pytest.mark.parametrize("lane", ["documents", "queries"])
def test_dense_vectors_are_the_encoders(client: httpx.Client, lane: str) -> None:
    """A bare array of arrays; float32 sums of another batch shape differ in the last bits."""
    texts = some_texts(9)
    found = np.array(client.post(f"/minilm-l6/{lane}", content=body(texts)).json(), np.float32)
    assert np.abs(found - DenseEncoder.load("minilm-l6").encode(texts)).max() < 1e-6


def test_a_text_without_words_is_an_empty_map(client: httpx.Client) -> None:
    """In its place among others, in each lane; no texts at all are an empty array."""
    for path in ("/splade-tiny/documents", "/splade-tiny/queries", "/splade-tiny-idf/queries"):
        first, *empty, last = client.post(path, content=body(["a fox", "", " \n", "\u200b", "a fox"])).json()
        assert first == last, path
        assert first, path
        assert empty == [{}, {}, {}], path
        assert client.post(path, content=body([])).json() == []


def test_no_weight_is_one_that_a_rank_feature_refuses() -> None:
    """ML Commons fails every document of a batch for one weight of 0, and Lucene takes no denormals."""
    weights = np.array([1.5, 0, 1e-44, 3e-5, np.inf, np.nan, 1e-38, 2e-38], np.float32)
    row = FeatureMaps(["a.b", *"bcdefgh"])(np.arange(8, dtype=np.int32), weights)
    assert orjson.loads(row) == {"a.b": 1.5, "d": 3e-5, "h": 2e-38}
    assert FeatureMaps(["a"])(np.zeros(1, np.int32), np.zeros(1, np.float32)) == b"{}"


def test_sixty_four_clients_at_once_get_their_own(url: str, siamese: SparseEncoder) -> None:
    """Bulk requests and single questions of both kinds together: each answer belongs to its request."""
    texts = some_texts(200, seed=1)
    expected = expected_rows(siamese, texts)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        for turn in range(2):
            start = (number * 37 + turn * 11) % 180
            count, lane = (4, "documents") if number % 2 else (1, "queries")
            answer = await client.post(f"/splade-tiny/{lane}", content=body(texts[start : start + count]))
            assert answer.status_code == 200
            assert as_float32(answer.json()) == expected[start : start + count]

    async def everyone() -> None:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as client:
            await asyncio.gather(*(ask(client, number) for number in range(64)))

    asyncio.run(everyone())


def test_thirty_calls_at_once_keep_their_connections(url: str) -> None:
    """What a connector opens at most, twice: none is reset, and the second round meets the first one's connections."""

    async def both() -> set[int]:
        ports = set()

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            content = body(["a fox"])
            writer.write(
                b"POST /splade-tiny/documents HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(content)
            )
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"connection: close" not in head.lower()
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            ports.add(writer.get_extra_info("sockname")[1])

        host, port = url.removeprefix("http://").split(":")
        streams = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(30)))
        for _ in range(2):
            await asyncio.gather(*(ask(*pair) for pair in streams))
        for _, writer in streams:
            writer.close()
        return ports

    assert len(asyncio.run(both())) == 30


def test_models_say_what_they_are(client: httpx.Client) -> None:
    """What a cluster's set-up needs to know, and the limits of a request."""
    models = {one["name"]: one for one in client.get("/models").json()}
    assert list(models) == ["splade-tiny", "splade-tiny-idf", "minilm-l6"]
    assert [one["kind"] for one in models.values()] == ["sparse", "sparse", "dense"]
    assert [one["inference_free"] for one in models.values()] == [False, True, False]
    for name, one in models.items():
        manifest = Bundle.open(name).manifest
        assert (one["dimension"], one["fingerprint"]) == (manifest.dimension, manifest.fingerprint)
        assert (one["bundle"], one["max_length"]) == (manifest.name, manifest.max_length)
        assert one["limits"]["max_texts"] == MAX_TEXTS


def test_the_pages_need_nothing_from_elsewhere(client: httpx.Client) -> None:
    """Every path is described, and the page to read fetches neither script nor style."""
    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.")
    assert {"/models", "/health", "/ready", "/metrics", "/minilm-l6/documents", "/splade-tiny/queries"} <= set(
        found["paths"]
    )
    page = client.get("/docs").text
    assert "/splade-tiny-idf/queries" in page
    assert not [word for word in ("http:", "https:", "src=", "<link", "<script") if word in page]


def test_metrics_count_what_was_done(client: httpx.Client) -> None:
    """Requests by answer, texts, batches and memory, as Prometheus reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    def scraped() -> dict[str, float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {f"{one.name}{sorted(one.labels.items())}": one.value for family in families for one in family.samples}

    def grew(name: str, **labels: str) -> float:
        key = f"{name}{sorted(labels.items())}"
        return after.get(key, 0.0) - before.get(key, 0.0)

    before = scraped()
    client.post("/splade-tiny/documents", content=body(some_texts(7)))
    client.post("/splade-tiny/documents", content=b"{")
    client.post("/nowhere/documents", content=b"{}")
    after = scraped()
    where: dict[str, Any] = {"model": "splade-tiny", "lane": "documents"}
    assert grew("osplade_serve_texts_total", **where) == 7
    assert grew("osplade_serve_tokens_total", **where) > 7
    assert grew("osplade_serve_requests_total", **where, status="200") == 1
    assert grew("osplade_serve_requests_total", **where, status="400") == 1
    assert grew("osplade_serve_requests_total", model="", lane="", status="404") == 1
    assert grew("osplade_serve_request_seconds_count", **where) == 1
    assert grew("osplade_serve_batch_seconds_count", **where) >= 1
    assert after["osplade_serve_ready[]"] == 1
    assert after["process_resident_memory_bytes[]"] > 0


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"input": "a text"}', 400, "malformed"),
        (b'{"input": ["a", null]}', 400, "malformed"),
        (b'{"input": ["a"], "more": NaN}', 400, "malformed"),
        (b'{"\\u0069": ' + b"[" * 100_000, 400, "malformed"),
        (b'{"input": ["\xff"]}', 400, "malformed"),
        (body(["a"] * (MAX_TEXTS + 1)), 413, "too_large"),
        (body(["a" * (1 << 20)]), 413, "too_large"),
    ],
)
def test_what_is_no_request_gets_a_reason(client: httpx.Client, content: bytes, status: int, kind: str) -> None:
    """JSON of one form with what is wrong; the connection goes on."""
    answer = client.post("/splade-tiny/documents", content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.json()["error"]["reason"]
    assert client.post("/splade-tiny/documents", content=body(["a"])).status_code == 200


def test_a_body_without_a_length_is_measured_as_it_comes(client: httpx.Client) -> None:
    """A limit holds for chunked bodies too, and a body within it is read whole."""
    chunks = [b'{"input": ["', *[b"a " * 1000] * 10, b'"]}']
    assert client.post("/splade-tiny/documents", content=iter(chunks)).status_code == 200
    assert client.post("/splade-tiny/documents", content=iter([b"a" * 65_536] * 17)).status_code == 413


def test_an_unknown_model_names_the_known_ones(client: httpx.Client) -> None:
    """And unknown paths and methods are answered in the same form."""
    answer = client.post("/splade/documents", content=body(["a"]))
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "unknown_model")
    assert "splade-tiny, splade-tiny-idf, minilm-l6" in answer.json()["error"]["reason"]
    assert client.post("/splade-tiny/passages", content=body(["a"])).json()["error"]["type"] == "unknown_path"
    assert client.get("/what").json()["error"]["type"] == "unknown_path"
    assert client.get("/splade-tiny/documents").status_code == 405


def test_a_lone_surrogate_spoils_no_batch(client: httpx.Client, siamese: SparseEncoder) -> None:
    """Java escapes half a character as readily as a whole one; it counts as U+FFFD, as in the encoder."""
    answer = client.post("/splade-tiny/documents", content=b'{"input": ["a fox \\ud83e", "a dog"]}')
    assert as_float32(answer.json()) == expected_rows(siamese, ["a fox \ud83e", "a dog"])


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        json_values.map(lambda value: orjson.dumps(str(value))),
        st.builds(
            lambda value: b'{"input": %b}' % orjson.dumps(value),
            st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
        ),
        st.builds(lambda text: ascii_json({"input": text}), json_values | st.lists(json_values, max_size=5)),
    ),
    st.sampled_from(
        ["/splade-tiny/documents", "/splade-tiny/queries", "/splade-tiny-idf/queries", "/minilm-l6/queries"]
    ),
    st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""]),
)
def test_no_body_is_a_servers_error(client: httpx.Client, content: bytes, path: str, media_type: str) -> None:
    """Whatever is sent: vectors of each text, or a reason."""
    answer = client.post(path, content=content, headers={"content-type": media_type})
    assert answer.status_code in {200, 400}, content
    if answer.status_code == 200:
        assert len(answer.json()) == len(orjson.loads(content)["input"])
    else:
        assert answer.json()["error"]["type"] == "malformed"


def ascii_json(value: Any) -> bytes:
    """As Java writes it, infinities as Python does."""
    import json

    return json.dumps(value).encode()
