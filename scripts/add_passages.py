"""Gives sparse bundles made by an older version the graph's input for passages of long texts, without their checkpoint.

    python scripts/add_passages.py BUNDLE...  # folders, or names of shipped bundles; needs the [export] extra

Vectors and fingerprint stay what they were, so what was indexed stays valid.
"""

from __future__ import annotations

import sys

from opensearch_splade.errors import OspladeError
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.saving import add_passages_to


def main(names: list[str]) -> None:
    """One line for each bundle."""
    for name in names:
        try:
            added = add_passages_to(Bundle.open(name))
        except OspladeError as error:
            sys.exit(str(error))
        print(f"{name}: {'added' if added else 'had it'}, fingerprint {Bundle.open(name).manifest.fingerprint}")


if __name__ == "__main__":
    main(sys.argv[1:])
