"""Write block: the server refuses writes to an index (HTTP 403), while it is searched as ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_PATIENCE = 60.0
_PAUSE = 0.05


def block(client: OpenSearch, index: str) -> None:
    """Refuses writes from now on; returns when those in flight have ended and all copies have them.

    A block that is there already waits for nothing, so whoever is not sure takes it away before.

    Raises:
        MigrationError: The shards do not confirm it.
        ClusterError: The cluster refuses.
    """
    with asking(index):
        answer = client.indices.add_block(index=index, block="write")
        done = answer.get("acknowledged") and all(one.get("blocked") for one in answer.get("indices", ()))
        if not done:
            raise MigrationError(f"the shards of {index!r} do not confirm that they refuse writes: try again.")
        client.indices.flush(index=index)  # where the log is synced now and then only, this counts its last writes
    deadline = time.monotonic() + _PATIENCE
    while not _is_quiet(client, index):
        if time.monotonic() > deadline:
            raise MigrationError(
                f"writes to {index!r} do not reach all copies of a shard: mend its replicas, try again."
            )
        time.sleep(_PAUSE)


def unblock(client: OpenSearch, index: str) -> None:
    """Takes writes again."""
    with asking(index):
        client.indices.put_settings(index=index, body={"index.blocks.write": None})


def is_blocked(client: OpenSearch, index: str) -> bool:
    """Whether writes are refused."""
    with asking(index):
        found = client.indices.get_settings(index=index, params={"flat_settings": "true"})
    return bool(found[index]["settings"].get("index.blocks.write") == "true")


def _is_quiet(client: OpenSearch, index: str) -> bool:
    """Whether every number that was given is one that all copies have."""
    with asking(index):
        stats = client.indices.stats(index=index, metric="docs", params={"level": "shards"})
    shards = stats["indices"].get(index, {}).get("shards", {}).values()
    primaries = [copy["seq_no"] for copies in shards for copy in copies if copy["routing"]["primary"]]
    return bool(primaries) and all(one["max_seq_no"] == one["global_checkpoint"] for one in primaries)
