"""The pipeline when something breaks off: nothing that is known about a document is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opensearch_splade.errors import ClusterError
from opensearch_splade.ingest import pipeline
from opensearch_splade.ingest.bulk import Action, Failure, GaveUpError
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.types import Document


class Plain:
    """Stands for an encoder: actions without vectors."""

    def actions(self, documents: list[Document], _report: Any) -> list[Action]:
        """One per document."""
        return [Action(document.id, b"{}") for document in documents]


class Leaving:
    """Stands for a cluster that goes away: the first window is given up half-way, the second refused in part."""

    retries = 0

    def write(self, actions: list[Action]) -> list[Failure]:
        """By the window's first document."""
        if actions[0].id == "0":
            raise GaveUpError("The cluster did not take 1 documents", [Failure("1", "400 bad")], pending=1)
        return [Failure(actions[-1].id, "400 worse")]


def test_refusals_are_kept_when_the_cluster_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window on its way is settled before the error is raised: refused documents are in the dead letters."""
    monkeypatch.setattr(pipeline, "WINDOW", 4)
    seen: list[tuple[int, int]] = []
    documents = [Document(str(number), "text") for number in range(8)]
    with DeadLetterFile(tmp_path / "dead.jsonl") as dead, pytest.raises(ClusterError, match="did not take 1"):
        pipeline.run(
            documents,
            Plain(),
            Leaving(),
            dead,
            lambda report: seen.append((report.indexed, report.dead)),  # type: ignore[arg-type]
        )
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    kept = {letter["id"]: letter["reason"] for letter in letters}
    assert kept["1"] == "400 bad"
    # The second window is only there if it was read before the first one failed.
    assert kept.get("7", "400 worse") == "400 worse"
    indexed, refused = seen[-1]
    assert (indexed, refused) == ((2, 1) if len(kept) == 1 else (5, 2))
