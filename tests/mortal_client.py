"""A client whose process dies at a chosen request, before it is sent or before its answer comes."""

from __future__ import annotations

import threading
from typing import Any

from opensearchpy import exceptions

from opensearch_splade.plugin.client import connect


class DiedError(Exception):
    """The process is gone; nothing that it does from now on reaches the cluster."""


class Life:
    """A client and how long it lives.

    Args:
        url: Of the cluster.
        requests: After so many it dies.
        answered: Whether the fatal request still reaches the cluster.
        recovers: Whether it only seems to fail (HTTP 500), and all later ones are well.
    """

    def __init__(self, url: str, requests: int, *, answered: bool, recovers: bool = False) -> None:
        self.client = connect(url)
        self._send = self.client.transport.perform_request
        self._left, self._answered, self._recovers = requests, answered, recovers
        self._lock = threading.Lock()
        self.client.transport.perform_request = self._request

    @property
    def is_over(self) -> bool:
        """Whether the fatal request was made."""
        return self._left < 0

    def _request(self, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            self._left -= 1
            left = self._left
        is_well = left >= 0 or (self._recovers and left < -1)
        answer = self._send(*arguments, **named) if is_well or (left == -1 and self._answered) else None
        if is_well:
            return answer
        raise exceptions.TransportError(500, "failed", {}) if self._recovers else DiedError
