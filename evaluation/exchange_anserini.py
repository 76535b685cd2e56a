"""Anserini: ``JsonVectorCollection``, lines of JSON with whole weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from opensearch_splade.evaluation.exchange import SCALE, Vector, counts, new_file, without_space


def write_anserini(vectors: Iterable[Vector], path: Path, scale: float = SCALE) -> int:
    """Writes vector by vector and says how many there were.

    Anserini indexes the folder with ``-collection JsonVectorCollection -impact -pretokenized``.

    Raises:
        SourceError: The file exists or cannot be written, or an id holds white space.
    """
    count = 0
    with new_file(path) as file:
        for id_, features in vectors:
            line = {"id": without_space(id_), "contents": "", "vector": counts(features, scale)}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count
