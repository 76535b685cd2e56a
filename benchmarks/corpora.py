"""Texts to time with: SciFact's abstracts, long-tailed Debian package descriptions, else Python's documentation."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import click

from opensearch_splade.ingest.sources import read_source
from opensearch_splade.types import Document

SHARED = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", Path(__file__).parents[2] / "shared"))
LISTS = Path("/var/lib/apt/lists")


def texts_of(corpus: str, count: int) -> list[str]:
    """Every so many-th passage, so that all of the corpus is in it."""
    passages = _debian() if corpus == "debian" else _passages(str(SHARED / "data" / corpus))
    if not passages:
        click.echo(f"{corpus} is not on this machine: Python's documentation instead", err=True)
        passages = _passages("pydoc:")
    return passages[:: max(1, len(passages) // count)][:count]


def _passages(source: str) -> list[str]:
    if source != "pydoc:" and not Path(source).is_dir():
        return []
    return [record.passage for record in read_source(source) if isinstance(record, Document)]


def _debian() -> list[str]:
    """Long descriptions: a prepared file, else the machine's own package lists."""
    path = SHARED / "data" / "debian" / "corpus.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [f"{one.get('title', '')} {one['text']}".strip() for one in map(json.loads, lines)]
    texts: list[str] = []
    for listing in sorted(LISTS.glob("*_i18n_Translation-en")):
        for entry in listing.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            _, _, description = entry.partition("Description-en: ")
            if description:
                texts.append(" ".join(line.strip() for line in description.splitlines() if line.strip() != "."))
    return texts
