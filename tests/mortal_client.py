"""A client whose process dies at a chosen request, before it is sent or before its answer comes."""

from __future__ import annotations

import threading
from typing import Any

from opensearch_splade.plugin.client import connect


class DiedError(Exception):
    """The process is gone; nothing that it does from now on reaches the cluster."""


class Life:
    """A client and how long it lives.

    Args:
        url: Of the cluster.
        requests: After so many it dies.
        answered: Whether the fatal request still reaches the cluster.
    """

    def __init__(self, url: str, requests: int, *, answered: bool) -> None:
        self.client = connect(url)
        self._send = self.client.transport.perform_request
        self._left, self._answered = requests, answered
        self._lock = threading.Lock()
        self.client.transport.perform_request = self._request

    def _request(self, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            self._left -= 1
            left = self._left
        if left < 0 and not (left == -1 and self._answered):
            raise DiedError
        answer = self._send(*arguments, **named)
        if left < 0:
            raise DiedError
        return answer
