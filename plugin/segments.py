"""Segments: what an index is made of, and the merge of them all that finishes a bulk load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import ClusterError, OspladeError, TargetError
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PATIENCE = 600.0
"""Seconds without any answer after which waiting ends."""
PAUSE = 1.0
"""Seconds between two questions."""

LOADING = "29s"
"""How often an index is refreshed while it is filled for the first time; odd, so that it is known again as ours."""

_BUSY = {429, 502, 503, 504}


def segment_sizes(client: OpenSearch, index: str) -> list[int]:
    """Documents of each segment of the primary shards, deleted ones that still lie there included.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(index):
        rows = client.cat.segments(index=index, params={"format": "json", "h": "prirep,docs.count,docs.deleted"})
    return [int(row["docs.count"]) + int(row["docs.deleted"]) for row in rows if row["prirep"] == "p"]


@contextmanager
def seldom_refreshed(client: OpenSearch, index: str, *, made: bool) -> Iterator[None]:
    """While an index is filled for the first time: fewer, larger segments, which cost the cluster a quarter less.

    What a run that was killed left behind is put right by the next one; until then documents are seen half a minute
    late. An index that was there before, or has a setting of the user's own, stays as it is.

    Args:
        client: Connected to the cluster.
        index: What is written in the context.
        made: Whether it is new.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(index):
        settings = client.indices.get_settings(index=index)
    found = {one["settings"]["index"].get("refresh_interval") for one in settings.values()}
    if found != {LOADING} and not (made and found == {None}):
        yield
        return
    _refresh_every(client, index, LOADING)
    try:
        yield
    except BaseException:
        with suppress(OspladeError):  # what went wrong first says more
            _refresh_every(client, index, None)
        raise
    _refresh_every(client, index, None)


def _refresh_every(client: OpenSearch, index: str, interval: str | None) -> None:
    with asking(index):
        client.indices.put_settings(index=index, body={"index": {"refresh_interval": interval}})


def refresh(client: OpenSearch, index: str, *, patience: float = PATIENCE) -> None:
    """Makes what was written visible.

    Where SEISMIC is used a refresh may have to make the clusters of a large segment first, some milliseconds for each
    document, and so outlast a client's time-out. It goes on in the cluster, and is asked for again.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster refuses, or there was no answer for too long.
    """
    from opensearchpy.exceptions import ConnectionTimeout

    begin = time.monotonic()
    while True:
        with asking(index):
            try:
                client.indices.refresh(index=index)
            except ConnectionTimeout:
                if time.monotonic() - begin > patience:
                    raise
            else:
                return


def force_merge(
    client: OpenSearch,
    index: str,
    segments: int = 1,
    on_wait: Callable[[float], None] = lambda _: None,
    *,
    patience: float = PATIENCE,
    pause: float = PAUSE,
) -> None:
    """Merges each shard to so many segments and returns when it is done, which may take hours.

    The merge is a task of the cluster's, and it is asked for again and again: no time-out of a client or of a proxy can
    end it, nor an answer that is lost.

    Args:
        client: Connected to the cluster.
        index: What to merge; nobody should be writing to it.
        segments: The most segments of a shard.
        on_wait: Told the seconds since the start, before each question.
        patience: Seconds without any answer after which waiting ends; the merge does not.
        pause: Seconds between two questions.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster refuses, the merge failed, or there was no answer for too long.
    """
    options = {"max_num_segments": segments, "wait_for_completion": "false"}
    with asking(index):
        task = client.indices.forcemerge(index=index, params=options)["task"]
    begin = heard = time.monotonic()
    while True:
        try:
            found = client.tasks.get(task_id=task)
        except Exception as error:
            if not _passes(error):
                with asking(index):
                    raise
            if time.monotonic() - heard > patience:
                raise ClusterError(
                    f"no answer for {patience:.0f} s about the merge of index {index!r}, which goes on: "
                    f"GET _tasks/{task} tells when it is done"
                ) from error
        else:
            heard = time.monotonic()
            if found["completed"]:
                _check(index, found)
                break
        on_wait(time.monotonic() - begin)
        time.sleep(pause)
    refresh(client, index)  # from now on the merged segments are searched


def _passes(error: Exception) -> bool:
    """Whether it is worth asking again: no answer, or one that says later."""
    from opensearchpy import exceptions

    if isinstance(error, exceptions.ConnectionError):
        return True
    return isinstance(error, exceptions.TransportError) and error.status_code in _BUSY


def _check(index: str, task: dict[str, Any]) -> None:
    if error := task.get("error"):
        if error.get("type") == "index_not_found_exception":
            raise TargetError(f"there is no index {index!r} to merge; GET _cat/indices lists what there is")
        raise ClusterError(
            f"index {index!r} was not merged: {error.get('reason', error)}. Its documents are all there. Where a block "
            "is named, lift it (index.blocks.*; a full disk sets read-only-allow-delete) and merge again with "
            f"POST {index}/_forcemerge?max_num_segments=1"
        )
    shards = task["response"]["_shards"]
    if shards["failed"]:
        reasons = "; ".join(str(one.get("reason", one)) for one in shards.get("failures", []))
        raise ClusterError(
            f"{shards['failed']} of {shards['total']} shards of index {index!r} were not merged: {reasons}. Its "
            "documents are all there; most often the disk lacks room for a second copy of a shard: make some and merge "
            "again"
        )
