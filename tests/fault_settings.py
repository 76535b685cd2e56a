"""How many faults, by which seed, and small requests that retry soon, so that a small corpus meets many of them.

All that the fault tests know of the inside of the ingest stands in ``small_and_quick``. As a program this is
``osplade`` with that done to it.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from opensearch_splade.ingest import bulk, documents, sender

KILLS = int(os.environ.get("OSPLADE_KILLS", "12"))
"""Of the ingester."""
FAULT_COUNT = int(os.environ.get("OSPLADE_FAULTS", "195"))
"""Of bulk requests."""
NODE_KILLS = int(os.environ.get("OSPLADE_NODE_KILLS", "2"))
BULK = 20
"""Documents in a request."""
IN_DOUBT = sender.WRITERS * BULK
"""Documents in flight: as many may be acknowledged and not noted when a run is killed."""
PATIENCE = "OSPLADE_TEST_PATIENCE"


def small_and_quick(patience: float = 240.0) -> None:
    """For this process."""
    sender.BULK_DOCUMENTS = BULK
    # Its first table is larger than the disks of `test_full_disks`.
    documents.SeenIds = partial(documents.SeenIds, bits=4)  # type: ignore[assignment,misc,attr-defined]
    bulk.RetryPolicy = partial(  # type: ignore[assignment,misc]
        bulk.RetryPolicy, patience=patience, first_wait=0.05, longest_wait=0.5
    )


def command(*arguments: str) -> list[str]:
    """``osplade`` in a process of its own, with small requests."""
    return [sys.executable, str(Path(__file__).resolve()), *arguments]


if __name__ == "__main__":
    from opensearch_splade.cli.main import main

    small_and_quick(float(os.environ.get(PATIENCE, "240")))
    main()
