"""Bulk answers that are not what a client hopes for: no document is taken for another, or blamed for its index."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fault_proxy import FaultProxy
from opensearchpy import OpenSearch

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.ingest.bulk import Action, BulkWriter, GaveUpError, RetryPolicy
from opensearch_splade.ingest.bulk_answer import outcomes
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server

QUICK = RetryPolicy(patience=30, first_wait=0.001, longest_wait=0.01)
HASTY = RetryPolicy(patience=0.2, first_wait=0.001, longest_wait=0.01)
ACTIONS = [Action(f"d{number}", b'{"text":"fox %d"}' % number) for number in range(20)]
REFUSED = Action("refused", b'{"text":{"an":"object"}}')
"""By its mapping, as an item of its own."""
UNREADABLE = [Action("x" * 513, b'{"text":"fox"}'), Action("broken", b'{"text":\n"fox"}')]
"""The server refuses a whole request because of one of these: an id too long, a line end within."""


@pytest.fixture
def index(client: OpenSearch, index_name: str) -> str:
    """With a mapping of text alone."""
    body = {"mappings": {"dynamic": "strict", "properties": {"text": {"type": "text"}}}}
    client.indices.create(index=index_name, body=body)
    return index_name


def written(client: OpenSearch, index: str) -> dict[str, str]:
    """Id to text."""
    client.indices.refresh(index=index)
    hits = client.search(index=index, body={"size": 100})["hits"]["hits"]
    return {hit["_id"]: hit["_source"]["text"] for hit in hits}


EXPECTED = {action.id: json.loads(action.source)["text"] for action in ACTIONS}


@pytest.mark.parametrize("fault", ["shuffled answer", "short answer", "answer to others"])
def test_no_outcome_is_taken_for_that_of_another(fault: str, node: RunningNode, client: OpenSearch, index: str) -> None:
    """The refused document is the one that is told, whatever the order; an answer that does not fit is asked again."""
    with FaultProxy(node.url, [fault]) as proxy, connect(proxy.url) as other:
        writer = BulkWriter(other, index, QUICK)
        (failure,) = writer.write([REFUSED, *ACTIONS])
        assert proxy.met[fault] == 1
        assert writer.retries == (0 if fault == "shuffled answer" else 21)
    assert failure.id == "refused"
    assert failure.reason.startswith("400 mapper_parsing_exception")
    assert written(client, index) == EXPECTED


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "text",
        {},
        {"items": None},
        {"items": {"index": {}}},
        {"items": [None, None]},
        {"items": [{"index": {"_id": "a", "status": 201}}]},
        {"items": [{"index": {"_id": "a", "status": 201}}, {"update": {"_id": "b", "status": 201}}]},
        {"items": [{"index": {"_id": "a", "status": 201}}, {"index": {"_id": "b"}}]},
        {"items": [{"index": {"_id": "a", "status": 201}}, {"index": {"_id": "b", "status": "201"}}]},
        {"items": [{"index": {"_id": "a", "status": 201}}, {"index": {"status": 201}}]},
        {"items": [{"index": {"_id": "a", "status": 201}}] * 2},
    ],
    ids=str,
)
def test_what_is_no_answer(answer: Any) -> None:
    """Each is told from an answer, and none breaks the client."""
    assert outcomes(answer, ["a", "b"]) is None


@pytest.mark.parametrize("bad", UNREADABLE, ids=["long", "line end"])
def test_one_document_does_not_fail_its_whole_request(bad: Action, client: OpenSearch, index: str) -> None:
    """It is found by halving, told with the server's reason, and all others are written."""
    (failure,) = BulkWriter(client, index, QUICK).write([*ACTIONS[:7], bad, *ACTIONS[7:]])
    assert failure.id == bad.id
    assert failure.reason.startswith("The cluster refuses every request with this document: HTTP 400 ")
    assert written(client, index) == EXPECTED


def test_bad_neighbours(client: OpenSearch, index: str) -> None:
    """Several in one half are found too, also beside one that is refused as an item."""
    failures = BulkWriter(client, index, QUICK).write([*UNREADABLE, REFUSED, *ACTIONS])
    assert {failure.id for failure in failures} == {REFUSED.id, *(one.id for one in UNREADABLE)}
    assert written(client, index) == EXPECTED


def test_whoever_refuses_every_request_does_not_blame_the_documents(
    node: RunningNode, client: OpenSearch, index: str
) -> None:
    """A gateway that answers 400 to all ends the run; nothing is given up."""
    refused = pytest.raises(GaveUpError, match=r"refused a bulk request.*HTTP 400")
    with FaultProxy(node.url, ["400"] * 1000) as proxy, connect(proxy.url) as other, refused as caught:
        BulkWriter(other, index, QUICK).write(ACTIONS)
    assert (caught.value.refused, caught.value.pending) == ([], [one.id for one in ACTIONS])
    assert written(client, index) == {}


Change = Callable[[OpenSearch, str], None]


def closed(client: OpenSearch, index: str) -> None:
    client.indices.close(index=index)


def opened(client: OpenSearch, index: str) -> None:
    client.indices.open(index=index)


def block(kind: str, value: bool | None) -> Change:
    """Sets or, with ``None``, takes away a block."""

    def change(client: OpenSearch, index: str) -> None:
        client.indices.put_settings(index=index, body={f"index.blocks.{kind}": value})

    return change


@pytest.mark.parametrize(
    ("trouble", "remedy", "said"),
    [
        (closed, opened, r"is closed: open it .*_open.*run the same command again"),
        (block("write", True), block("write", None), r"takes no documents: 403 cluster_block_exc.*_settings.*again"),
        (block("read_only", True), block("read_only", None), r"takes no documents: 403 cluster_block_exception"),
        (
            block("read_only_allow_delete", True),
            block("read_only_allow_delete", None),
            r"429 cluster_block_exception: .*flood-stage.*Make room on the disks",
        ),
    ],
    ids=["closed", "write", "read only", "disk full"],
)
def test_an_index_that_takes_nothing(
    trouble: Change, remedy: Change, said: str, client: OpenSearch, index: str
) -> None:
    """It ends the run with the remedy; no document is given up for it, and all come when it is well."""
    writer = BulkWriter(client, index, HASTY)
    trouble(client, index)
    try:
        with pytest.raises((TargetError, ClusterError), match=said) as caught:
            writer.write(ACTIONS)
    finally:
        remedy(client, index)
    assert not getattr(caught.value, "refused", [])
    assert writer.write(ACTIONS) == []
    assert written(client, index) == EXPECTED


def test_documents_are_given_up_only_when_their_index_is_confirmed(client: OpenSearch, index: str) -> None:
    """What is refused may be the fault of an index that someone replaced."""

    def confirm() -> None:
        raise TargetError("another index")

    writer = BulkWriter(client, index, QUICK, confirm=confirm)
    assert writer.write(ACTIONS) == []
    with pytest.raises(TargetError, match="another index"):
        writer.write([*ACTIONS, REFUSED])
