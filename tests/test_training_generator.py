"""Questions that a user's own function asks of documents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import asking
import pytest

from opensearch_splade.errors import OspladeError, TrainingError
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.training.generator import TOGETHER, TRIED, generated_pairs
from opensearch_splade.training.lessons import gather
from opensearch_splade.types import Document

NAME = "asking:ask"


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A part of Python's documentation."""
    return [one for one in islice(read_source("pydoc:"), 100) if isinstance(one, Document)]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No calls yet, and none that fails."""
    asking.CALLS.clear()
    yield
    asking.FAILS_AFTER.clear()


def test_questions_are_learned_from(documents: list[Document], tmp_path: Path) -> None:
    """Each with its document; what is asked of two has no answer; they are trained on and watched like others."""
    pairs = generated_pairs(NAME, documents, tmp_path)
    assert asking.CALLS == [TOGETHER, TOGETHER, TOGETHER, 100 - 3 * TOGETHER]
    assert len(pairs) > 70
    for pair in pairs:
        assert pair.query == f"what does {documents[pair.document].title} do"
    material = gather(documents, None, None, 0, pairs)
    assert {"generated"} <= {pair.kind for pair in material.trained}
    assert {"generated"} <= {pair.kind for pair in material.held_back}


def test_nothing_is_asked_twice(documents: list[Document], tmp_path: Path) -> None:
    """Neither by another run, nor after a failure or a kill in the middle of a line; a changed document is."""
    asking.FAILS_AFTER.append(2)
    with pytest.raises(TrainingError, match=r"the model is away.*run again"):
        generated_pairs(NAME, documents, tmp_path)
    asking.FAILS_AFTER.clear()
    pairs = generated_pairs(NAME, documents, tmp_path)
    assert sum(asking.CALLS) == len(documents)
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert generated_pairs(NAME, documents, tmp_path) == pairs
    assert path.read_bytes() == whole
    assert asking.CALLS[-1] == 1
    changed = [Document("new", "another text", "a new title"), *documents[1:]]
    generated_pairs(NAME, changed, tmp_path)
    assert asking.CALLS[-1] == 1
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(TrainingError, match="remove it"):
        generated_pairs(NAME, documents, tmp_path)


def test_a_trial_keeps_nothing(documents: list[Document]) -> None:
    """A dry run asks a few documents."""
    assert 0 < len(generated_pairs(NAME, documents, None)) <= TRIED
    assert asking.CALLS == [TRIED]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("asking:too_few", "one list of questions for each document"),
        ("asking:flat", "one list of questions for each document"),
        ("asking:nothing", "write package.module:function"),
        ("no_such_module:ask", "write package.module:function"),
        ("asking", "write package.module:function"),
    ],
)
def test_a_wrong_function_is_told_what_to_give(documents: list[Document], tmp_path: Path, name: str, why: str) -> None:
    """And nothing is kept of it."""
    with pytest.raises(OspladeError, match=rf"--generator {name}.*{why}"):
        generated_pairs(name, documents, tmp_path)
    assert not any(path.read_bytes() for path in tmp_path.iterdir())
