"""What the client raises, as errors that say what to do next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def asking(index: str) -> Iterator[None]:
    """Translate the errors of ``opensearch-py`` while an index is asked.

    Args:
        index: Named in the errors.

    Raises:
        TargetError: The index does not exist.
        ClusterError: The cluster cannot be reached, or refuses the request.
    """
    # Late, so that `query` can be imported without the client; whoever has a client has it loaded already.
    from opensearchpy import exceptions

    try:
        yield
    except exceptions.NotFoundError as error:
        raise TargetError(
            f"there is no index or alias {index!r} on this cluster; GET _cat/indices lists what there is, "
            "and the first ingest makes a new one"
        ) from error
    except exceptions.ConnectionError as error:  # SSL errors and time-outs are kinds of it
        raise ClusterError(
            f"OpenSearch did not answer while index {index!r} was asked ({type(error).__name__}: {error.error}); "
            "check the address and that the node runs"
        ) from error
    except exceptions.AuthenticationException as error:
        raise ClusterError(
            "OpenSearch refused the credentials (HTTP 401); check user and password, or whether the token has expired"
        ) from error
    except exceptions.AuthorizationException as error:
        raise ClusterError(
            f"OpenSearch forbids this on index {index!r} (HTTP 403): {_reason(error.info)}; "
            "the user's role needs the permission (docs/security.md has a role for each command)"
        ) from error
    except exceptions.TransportError as error:
        raise ClusterError(
            f"OpenSearch refused the request on index {index!r} (HTTP {error.status_code}): {_reason(error.info)}"
        ) from error


def _reason(info: object) -> str:
    """The innermost reason of an error body: the outer ones say only that a phase failed."""
    error = info.get("error", info) if isinstance(info, dict) else info
    if error is None:
        return "the answer names no reason, since it was only asked whether the index is there (indices:admin/get)"
    if not isinstance(error, dict):
        return str(error)
    causes = error.get("root_cause") or [error]
    return "; ".join(dict.fromkeys(str(cause.get("reason", cause)) for cause in causes))
