"""Request compression: where it pays, and that the cluster understands it."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from fault_proxy import FaultProxy
from opensearchpy import OpenSearch

from opensearch_splade.ingest.bulk import Action, BulkWriter
from opensearch_splade.ingest.request_compression import RequestCompression
from opensearch_splade.plugin.client import connect, is_loopback
from opensearch_splade.plugin.launcher import RunningNode

SHRINKS = 2.7
"""How many times smaller gzip makes a bulk request."""
PACKS = 135e6
"""Bytes a second that gzip takes in."""


def send(compression: RequestCompression, link: float, requests: int) -> list[bool]:
    """Requests of a megabyte over a link of so many bytes a second to a cluster that takes 10 MB/s."""
    size, ways = 1_000_000, []
    for number in range(requests):
        compressed = compression.wanted()
        ways.append(compressed)
        wire = size / SHRINKS if compressed else size
        packing = size / PACKS if compressed else 0
        noise = 1 + 0.1 * (number * 7 % 11) / 11
        compression.took(size, packing + (wire / link + size / 10e6) * noise, compressed=compressed)
    return ways


@pytest.mark.parametrize(("link", "pays"), [(1e6, True), (10e6, True), (125e6, False), (1e9, False)])
def test_it_is_tried_and_kept_where_it_pays(link: float, pays: bool) -> None:
    """Over a slow link it does, over one that is faster than gzip it does not."""
    ways = send(RequestCompression("auto"), link, 100)
    assert set(ways[:10]) == {True, False}
    assert set(ways[20:]) == {pays}


def test_it_is_tried_again() -> None:
    """A link may become slow during a run of hours."""
    compression = RequestCompression("auto")
    assert not any(send(compression, 1e9, 100)[20:])
    assert all(send(compression, 1e6, 500)[-50:])


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (lambda: RequestCompression("always", loopback=True), True),
        (lambda: RequestCompression("never"), False),
        (lambda: RequestCompression("auto", loopback=True), False),
        (RequestCompression, False),
    ],
)
def test_what_is_said_holds(make: Callable[[], RequestCompression], way: bool) -> None:
    """And to this machine nothing is compressed unless it is said."""
    assert set(send(make(), 1e6, 50)) == {way}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:9200", True),
        ("https://127.8.8.8:9200", True),
        ("http://localhost:9200", True),
        ("http://[::1]:9200", True),
        ("http://10.0.0.1:9200", False),
        ("http://search.example:9200", False),
    ],
)
def test_this_machine_is_known_by_its_address(url: str, here: bool) -> None:
    """Names are not looked up."""
    with connect(url) as client:
        assert is_loopback(client) is here


class Recording(FaultProxy):
    """Keeps head and body of each bulk request."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.requests: list[tuple[bytes, bytes]] = []

    def _answer(self, head: bytes, body: bytes) -> bytes | None:
        if b"/_bulk" in head:
            self.requests.append((head.lower(), body))
        return super()._answer(head, body)


@pytest.mark.server
def test_the_cluster_understands_it(node: RunningNode, client: OpenSearch, index_name: str) -> None:
    """Both ways bring the same documents, and a compressed body is gzip to its last byte."""
    actions = [Action(f"d{number}", b'{"text":"fox %d"}' % number) for number in range(200)]
    with Recording(node.url) as proxy, connect(proxy.url) as through:
        for mode in ("always", "never"):
            writer = BulkWriter(through, f"{index_name}-{mode}", compression=RequestCompression(mode))  # type: ignore[arg-type]
            assert writer.write(actions) == []
            assert writer.gate.compressed == (mode == "always")
    (packed_head, packed), (plain_head, plain) = proxy.requests
    assert b"content-encoding: gzip" in packed_head
    assert b"content-encoding" not in plain_head
    assert b"application/x-ndjson" in plain_head
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2
    client.indices.refresh(index=f"{index_name}-*")
    assert [client.count(index=f"{index_name}-{mode}")["count"] for mode in ("always", "never")] == [200, 200]
