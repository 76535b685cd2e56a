"""Calls to ML Commons, and its refusals in our words. What is called stands in ``ml_connectors``, ``ml_models``, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import ClusterError, MlCommonsError
from opensearch_splade.plugin.client import address
from opensearch_splade.plugin.ml_refusals import remedy_for

if TYPE_CHECKING:
    from opensearchpy import OpenSearch
    from opensearchpy.exceptions import TransportError

    from opensearch_splade.types import Json

ROOT = "/_plugins/_ml"
_REPEATED = (502, 503, 504)
"""What the client would send again by itself. A connector made twice, or an encoder asked four times while it says that
it is busy, is worse than an error."""


def call(
    client: OpenSearch, method: str, path: str, body: Any = None, *, timeout: float | None = None, what: str = ""
) -> Json:
    """One request to ML Commons.

    Args:
        client: Connected to the cluster.
        method: Of HTTP.
        path: Below ``/_plugins/_ml``.
        body: JSON, or bytes of a file's chunk, which are sent as they are.
        timeout: Seconds; the client's own by default.
        what: What is done, for messages, e.g. ``create connector x``.

    Raises:
        MlCommonsError: It is refused; says why and, where it is known, what to do.
        ClusterError: The cluster does not answer, or does not let us in, or has no ML Commons.
    """
    from opensearchpy import exceptions

    what = what or f"{method} {path}"
    # Bytes too: any other content type is refused (406), even that of bytes.
    headers = {"content-type": "application/json"} if body is not None else {}
    try:
        answer = client.transport.perform_request(
            method, f"{ROOT}{path}", body=body, headers=headers, timeout=timeout, ignore=_REPEATED
        )
    except exceptions.ConnectionError as error:
        raise ClusterError(
            f"{address(client)} did not answer to: {what} ({type(error).__name__}: {error.error}); look whether it was "
            "done before it is done again"
        ) from error
    except exceptions.TransportError as error:
        raise _forbidden(client, what, error) or refused(
            client, what, reason_of(error.info), error.status_code
        ) from error
    if isinstance(answer, dict) and answer.get("status") in _REPEATED:
        raise refused(client, what, reason_of(answer), int(answer["status"]))
    return answer if isinstance(answer, dict) else {"text": answer}


def _forbidden(client: OpenSearch, what: str, error: TransportError) -> ClusterError | None:
    """What the cluster does not let this user do. An encoder's own 401 and 403 come through with their status."""
    reason = reason_of(error.info)
    if "remote service" in reason:
        return None
    if error.status_code == 401:
        return ClusterError(
            f"{address(client)} refuses the user or password (401): set OPENSEARCH_USER and OPENSEARCH_PASSWORD"
        )
    if error.status_code == 403:
        return ClusterError(
            f"{address(client)}: this user may not {what} (403): {reason}; docs/security.md has a role for each "
            "command, and the role ml_full_access has all permissions of ML Commons"
        )
    return None


def refused(client: OpenSearch, what: str, reason: str, status: int | str | None = None) -> MlCommonsError:
    """The error of something refused: what, why, and the remedy where one is known."""
    if "no handler found" in reason:
        remedy: str | None = "this cluster has no ML Commons: install the plugin opensearch-ml on its nodes"
    else:
        remedy = remedy_for(reason)
    said = f" ({status})" if status else ""
    return MlCommonsError(
        f"{address(client)} does not {what}{said}: {reason.rstrip('.')}" + (f". To do: {remedy}" if remedy else ""),
        reason,
    )


def reason_of(info: object) -> str:
    """The innermost reasons of an error's body; the outer ones say only that something failed."""
    error = info.get("error", info) if isinstance(info, dict) else info
    if not isinstance(error, dict):
        return str(error)
    if failures := error.get("_shards", {}).get("failures"):  # what was asked of shards, such as a refresh
        return "; ".join(dict.fromkeys(str(one["reason"].get("reason", one["reason"])) for one in failures))
    reasons = [str(cause.get("reason", cause)) for cause in error.get("root_cause") or [error]]
    if reason := error.get("reason"):
        reasons.append(str(reason))
    return "; ".join(dict.fromkeys(reasons))


def is_missing(error: MlCommonsError) -> bool:
    """Whether a refusal says that what was named is not there: also an ML Commons that has stored nothing yet."""
    words = ("Fail to find model", "Failed to find", "no such index", "Can't find")
    return any(word in error.reason for word in words)
