"""Tasks of ML Commons: waited for with patience, and what the nodes said where one fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.client import address
from opensearch_splade.plugin.ml_commons import call, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

PATIENCE = 120.0
"""Seconds to wait for a deployment; a remote model takes one, a tokenizer half of one, an ONNX model about ten."""
PAUSE = 0.2


def wait_for_task(
    client: OpenSearch,
    task_id: str,
    what: str,
    *,
    patience: float = PATIENCE,
    or_else: Callable[[], bool] = lambda: False,
) -> Json:
    """Waits until a task of ML Commons is done and gives it.

    Args:
        client: Connected to the cluster.
        task_id: As ``_register`` and ``_deploy`` give it.
        what: What the task does, for messages.
        patience: Seconds.
        or_else: Asked while the task runs: whether what it was for is there, whatever it says itself.

    Raises:
        MlCommonsError: It failed, on one node at least; says what each said.
        ClusterError: The cluster does not answer, or time is up.
    """
    deadline = time.monotonic() + patience
    while True:
        task = call(client, "GET", f"/tasks/{task_id}", what=f"tell how the task {task_id} goes")
        if task["state"] == "COMPLETED":
            return task
        if task["state"] in {"FAILED", "COMPLETED_WITH_ERROR", "CANCELLED", "EXPIRED"}:
            raise refused(client, what, _said(task.get("error", task["state"])))
        if or_else():
            return task
        require_time(client, deadline, what, f"the task {task_id} is {task['state']}", patience)


def require_time(client: OpenSearch, deadline: float, what: str, now: str, patience: float) -> None:
    """Sleeps a moment between two questions.

    Args:
        client: Connected to the cluster.
        deadline: By ``time.monotonic``.
        what: What is waited for.
        now: How it stands.
        patience: Seconds that were given.

    Raises:
        ClusterError: Time is up.
    """
    if time.monotonic() > deadline:
        raise ClusterError(
            f"{address(client)} did not {what} within {patience:g} s: {now}. It may still; wait longer, or look at "
            "GET _plugins/_ml/profile and the nodes' logs"
        )
    time.sleep(PAUSE)


def _said(error: Any) -> str:
    """What nodes said, once each: a task's error is JSON of node id to text."""
    import orjson

    try:
        by_node = orjson.loads(error)
    except (ValueError, TypeError):
        return str(error)
    return "; ".join(dict.fromkeys(map(str, by_node.values()))) if isinstance(by_node, dict) else str(error)
