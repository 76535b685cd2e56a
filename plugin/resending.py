"""Resending: the next host is asked when one went away, where that cannot do a thing twice."""

from __future__ import annotations

import re
from typing import Any

from opensearchpy import Transport
from opensearchpy.exceptions import ConnectionError as NoConnectionError
from opensearchpy.exceptions import ConnectionTimeout, SSLError, TransportError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from opensearch_splade.plugin.login import Login

_AGAIN = 3
"""Times that a request is sent again, at least once to every host."""
_AWAY = {502, 503, 504}
_READS = re.compile(
    r"/_(search|msearch|count|mget|field_caps|explain|termvectors|mtermvectors|analyze|refresh)(/template)?$"
)
"""Ends of paths that may be asked twice, though by POST."""


class ResendingTransport(Transport):
    """opensearch-py's own sends everything again after a lost connection, whatever it was.

    Here a write is sent again only where no host has seen it. After a lost connection or a timeout nobody knows
    whether it was done, so its caller is told, and knows how to look.
    """

    login: Login | None = None
    """Who asks, for messages."""

    def __init__(self, hosts: Any, **options: Any) -> None:
        # Its loop only takes a host that failed out of use; ours decides about another try.
        super().__init__(hosts, max_retries=0, retry_on_timeout=True, retry_on_status=_AWAY, **options)

    def perform_request(
        self, method: str, url: str, params: Any = None, body: Any = None, *more: Any, **options: Any
    ) -> Any:
        """One request and its repetitions; arguments as ``Transport.perform_request`` takes them."""
        left = max(_AGAIN, len(self.hosts) - 1)
        while True:
            try:
                # A copy: options such as `request_timeout` are taken out of it.
                return super().perform_request(method, url, dict(params or {}), body, *more, **options)
            except TransportError as error:
                if not left or not self._may_go_again(method, url, error):
                    raise
                left -= 1

    def _may_go_again(self, method: str, url: str, error: TransportError) -> bool:
        if isinstance(error, SSLError):  # no other host makes up for one that is not trusted
            return False
        reads = method in {"GET", "HEAD"} or (method == "POST" and _READS.search(url) is not None)
        if isinstance(error, ConnectionTimeout):
            return reads and len(self.hosts) > 1  # the same host would only have it twice to do
        if isinstance(error, NoConnectionError):
            return reads or isinstance(error.info, (NewConnectionError, ConnectTimeoutError))
        return reads and error.status_code in _AWAY
