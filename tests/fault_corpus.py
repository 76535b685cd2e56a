"""A corpus that changes from run to run, and the index that must follow it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fault_table import Row
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.types import Document


class Corpus:
    """Documents that get another text or their old one back, come, go, and come again.

    Args:
        folder: Of the source, the dead letters and the ledger.
        count: How many there are at first.
        luck: What decides.
        row: Of the table of faults.
    """

    def __init__(self, folder: Path, count: int, luck: random.Random, row: Row) -> None:
        self.folder, self.luck, self.row = folder, luck, row
        self.path = folder / "corpus.jsonl"
        self.texts = {number: f"The first fox runs over hill {number}." for number in range(count)}
        self.gone: dict[int, str] = {}
        """What was taken out of the source and stays in the index."""
        self.write()

    def change(self, count: int, *, come: int = 0, go: int = 0) -> None:
        """Another version of the source."""
        for number in self.luck.sample(sorted(self.texts), go):
            self.gone[number] = self.texts.pop(number)
        for number in self.luck.sample(sorted(self.gone), min(len(self.gone), go // 2)):
            self.texts[number] = self.gone.pop(number)
        for number in self.luck.sample(sorted(self.texts), count):
            colour = self.luck.choice(["red", "grey", "white"])
            self.texts[number] = f"The {colour} fox runs over hill {number}."
        first = max([*self.texts, *self.gone]) + 1
        self.texts |= {number: f"The new fox runs over hill {number}." for number in range(first, first + come)}
        self.write()

    def write(self) -> None:
        """As the source of the next run."""
        lines = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in self.texts.items()]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def dead_letters(self) -> Path:
        """Stays empty: all that is wrong here is the cluster."""
        return self.folder / "dead.jsonl"

    def arguments(self, index: str, url: str) -> list[str]:
        """The command that brings them into the index."""
        where = ["--index", index, "--url", url, "--dead-letters", str(self.dead_letters)]
        return ["ingest", str(self.path), "--bundle", "splade-tiny", *where, "--json"]

    def ingest(self, index: str, url: str) -> dict[str, Any]:
        """The report of a run in this process, which brings every document."""
        report = run_here(*self.arguments(index, url))
        self.row.runs += 1
        assert (report["read"], report["dead"]) == (len(self.texts), 0)
        assert report["indexed"] + report["unchanged"] == len(self.texts)
        return report

    def ledger(self, index: str) -> Path:
        """The ledger that is taken by default."""
        return self.folder / f"osplade-ledger-{index}.sqlite"

    def entries(self) -> dict[str, str]:
        """Id to content hash."""
        found = [one for one in read_source(str(self.path)) if isinstance(one, Document)]
        return {one.id: content_hash(one) for one in found}

    def audit(self, index: str, url: str) -> None:
        """Nothing lost, doubled or stale, and only what left the source is extra."""
        options = ["--index", index, "--url", url, "--bundle", "splade-tiny", "--json"]
        found = run_here("audit", str(self.path), *options, code=3 if self.gone else 0)
        self.row.count(found["counts"], found["source"])
        assert found["counts"] == {
            "lost": 0,
            "extra": len(self.gone),
            "duplicate": 0,
            "stale_hash": 0,
            "stale_marker": 0,
            "incomplete": 0,
        }, found
        assert (found["source"], found["stored"]) == (len(self.texts), len(self.texts) + len(self.gone))

    def check_vectors(self, client: OpenSearch, index: str) -> None:
        """Some documents hold the very features of their text."""
        encoder = SparseEncoder.load("splade-tiny")
        numbers = self.luck.sample(sorted(self.texts), 20)
        found = client.mget(index=index, body={"ids": [f"d{number}" for number in numbers]})["docs"]
        vectors = encoder.encode_documents([self.texts[number] for number in numbers])
        for one, row in zip(found, vectors, strict=True):
            features = encoder.features(*row)
            assert one["_source"]["sparse"].keys() == features.keys()
            assert list(one["_source"]["sparse"].values()) == pytest.approx(list(features.values()), rel=2**-9)


def run_here(*arguments: str, code: int = 0) -> dict[str, Any]:
    """A command in this process, with JSON."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found
