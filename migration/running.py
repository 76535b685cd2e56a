"""Running: round after round until little is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from opensearch_splade.migration.copying import Copied, Copier
from opensearch_splade.migration.query_weights import count_query_weights

LITTLE = 100
"""Writes that the last round may be left with: they take a moment."""
MOST_ROUNDS = 20
"""After which the old index is written to faster than it is read; the last round will take longer then."""
_PAUSE = 2.0


def catch_up(copier: Copier, *, follow: bool = False, sleep: Callable[[float], None] = time.sleep) -> Copied:
    """Rounds until at most ``LITTLE`` writes are left, or rounds bring no more.

    Args:
        copier: Opened.
        follow: Go on for ever.
        sleep: Between two rounds that brought nothing.

    Raises:
        OspladeError: As ``Copier.round``.
    """
    rounds = 0
    while True:
        gap, rounds = copier.round(), rounds + 1
        if not follow and (gap <= LITTLE or rounds >= MOST_ROUNDS):
            break
        if gap == 0:
            sleep(_PAUSE)
    if copier.has_all:
        if copier.copied.indexed:
            count_query_weights(copier.job)
        copier.job.state.note("caught-up", gap=gap, dead=copier.copied.dead)
    return copier.copied
