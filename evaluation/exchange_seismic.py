"""Seismic: lines of JSON with the weights as they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from opensearch_splade.evaluation.exchange import Vector, new_file


def write_seismic(vectors: Iterable[Vector], path: Path) -> int:
    """Writes documents or questions vector by vector and says how many there were.

    Raises:
        SourceError: The file exists or cannot be written.
    """
    count = 0
    with new_file(path) as file:
        for id_, features in vectors:
            line = {"id": id_, "content": "", "vector": features}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count
