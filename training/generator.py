"""Generator: a user's own function that asks questions of documents, such as a language model (doc2query).

After Nogueira et al., arXiv 1904.08375, whose questions expand documents; here they teach.

What it said is kept in a file of JSON lines beside the run: a run that goes on must learn from the same questions, and
asking a language model again costs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import orjson

from opensearch_splade.errors import TrainingError
from opensearch_splade.ingest.plug_ins import plug_in
from opensearch_splade.training.pseudo_queries import Pair, asked_once
from opensearch_splade.types import Document

Generate = Callable[[Sequence[Document]], Iterable[Sequence[str]]]
"""Documents to the questions of each, in their order."""
OPTION = "--generator"
TOGETHER = 32
"""Documents that the function is given at once."""
TRIED = 8
"""Documents of a dry run."""


def generated_pairs(name: str, documents: Sequence[Document], folder: Path | None) -> list[Pair]:
    """Pairs of the kind ``generated``, without questions that two documents have.

    Args:
        name: ``package.module:function``.
        documents: What will be searched.
        folder: Where questions are kept, and found; ``None`` keeps none and asks ``TRIED`` documents only, as a trial.

    Raises:
        OspladeError: There is no such function.
        TrainingError: It fails, or what it gives is not a list of questions for each document.
    """
    generate = plug_in(name, OPTION)
    if not documents:
        return []
    if folder is None:
        asked = list(_asked(name, generate, documents[:TRIED]))
    else:
        asked = _kept(name, generate, documents, folder)
    pairs = [
        Pair(" ".join(question.split()), place, "generated")
        for place, questions in enumerate(asked)
        for question in questions
        if question.strip()
    ]
    return asked_once(pairs)


def _kept(name: str, generate: Generate, documents: Sequence[Document], folder: Path) -> list[list[str]]:
    """Questions of all documents; those that are not in the file are asked for and written there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"generated-{blake2b(name.encode(), digest_size=6).hexdigest()}.jsonl"
    known = _read(path)
    keys = [_key(document) for document in documents]
    missing = list({key: one for key, one in zip(keys, documents, strict=True) if key not in known}.values())
    with path.open("ab") as stream:
        for some in (missing[start : start + TOGETHER] for start in range(0, len(missing), TOGETHER)):
            for document, questions in zip(some, _asked(name, generate, some), strict=True):
                known[_key(document)] = questions
                stream.write(orjson.dumps({"document": _key(document), "questions": questions}) + b"\n")
            stream.flush()
    return [known[key] for key in keys]


def _read(path: Path) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    if not path.exists():
        return known
    whole, _, cut = path.read_bytes().rpartition(b"\n")
    if cut:  # the end of a run that was killed: what is written next must begin a line
        os.truncate(path, len(whole) + 1 if whole else 0)
    try:
        for record in map(orjson.loads, whole.splitlines()):
            known[record["document"]] = [str(one) for one in record["questions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged ({error}); remove it: {OPTION} is then asked again.") from error
    return known


def _asked(name: str, generate: Generate, documents: Sequence[Document]) -> Iterator[list[str]]:
    """What the function gives for some documents, checked."""
    try:
        found = [list(questions) if not isinstance(questions, str) else None for questions in generate(documents)]
    except Exception as error:
        raise TrainingError(
            f"{OPTION} {name} failed on {len(documents)} documents from {documents[0].id!r} on "
            f"({type(error).__name__}: {error}). What it gave before is kept: run again when it works."
        ) from error
    fits = len(found) == len(documents) and all(
        questions is not None and all(isinstance(one, str) for one in questions) for questions in found
    )
    if not fits:
        raise TrainingError(
            f"{OPTION} {name} must give one list of questions for each document, in their order: it gave {len(found)} "
            f"items for {len(documents)} documents, or something else than lists of texts. "
            "An empty list is for documents without a question."
        )
    yield from (questions for questions in found if questions is not None)


def _key(document: Document) -> str:
    return blake2b(f"{document.title}\0{document.text}".encode("utf-8", "replace"), digest_size=12).hexdigest()
