"""Collections: documents, questions and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import MissingExtraError, SourceError
from opensearch_splade.evaluation.clicks import ClickRule, read_clicks
from opensearch_splade.evaluation.collection_qrels import read_qrels
from opensearch_splade.evaluation.collection_queries import read_queries
from opensearch_splade.evaluation.collection_split import normalised, split_of

SHIPPED = {"python-docs": "pydoc:"}
"""Collections that come with the package, and the source of their documents."""
JUDGED_BY = ("people", "clicks", "known items", "pseudo-queries")
"""Where judgements come from; each is worth less than the one before."""
ABOUT = "collection.json"
"""What a folder says about itself: ``judged_by``, ``source`` of its documents, ``clicks`` (a ``ClickRule``)."""
_QUERIES = ("queries", "topics", "questions")
_QRELS = ("qrels", "judgements", "judgments")


@dataclass(frozen=True, slots=True)
class Collection:
    """A test collection.

    Attributes:
        name: For people.
        source: What ``ingest.sources.read_source`` takes.
        queries: Query id to text; the judged ones only.
        qrels: Query id to document id to grade; grades above 0 are relevant.
        judged_by: What the judgements are worth: one of ``JUDGED_BY``.
        split: Which judgements these are, e.g. ``test``.
    """

    name: str
    source: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    judged_by: str = "people"
    split: str = "test"

    def overlap(self, other: Collection) -> frozenset[str]:
        """Ids of the questions here that the other one has too.

        The same are questions of one normalised text (``collection_split.normalised``), and within one collection, of
        one name, those of one id: the numbers of two collections have nothing to do with each other.
        """
        texts = set(map(normalised, other.queries.values()))
        ids = other.queries.keys() if self.name == other.name else frozenset[str]()
        return frozenset(query for query, text in self.queries.items() if query in ids or normalised(text) in texts)


def load_collection(name: str, split: str = "test") -> Collection:
    """A folder, a shipped collection by name, or an ir_datasets id such as ``beir/scifact/test``.

    A folder holds questions (``queries``, ``topics`` or ``questions``) and judgements (``qrels/SPLIT``, or ``qrels``,
    ``judgements`` in one file, which is the split ``test``) in any format that ``read_queries`` and ``read_qrels``
    know, as BEIR's does; or a click log (``clicks.csv``, ``.tsv`` or ``.jsonl``), with the splits ``train``, ``test``
    and ``all``. Each may be packed (``.gz``).

    Args:
        name: What to load.
        split: Which judgements of a folder.

    Raises:
        SourceError: It cannot be found or read; says which file and line.
        MissingExtraError: An ir_datasets id, and ir_datasets is not installed.
    """
    if Path(name).is_dir():
        return _folder(Path(name), Path(name).resolve().name, name, split)
    if name in SHIPPED:
        folder = Path(str(files("opensearch_splade.evaluation"))) / "collections" / name
        return _folder(folder, name, SHIPPED[name], split)
    return _ir_datasets(name)


def load_questions(queries: Path, qrels: Path, name: str = "", split: str = "test") -> Collection:
    """A file of questions and one of judgements, whose documents nobody named (``source`` is empty).

    Args:
        queries: What ``read_queries`` takes.
        qrels: What ``read_qrels`` takes.
        name: For people; by default that of the judgements' file.
        split: What these judgements are for.

    Raises:
        SourceError: One cannot be read (says which file and line), or no question is judged.
    """
    return _judged(name or qrels.name, "", (queries, qrels), "people", split)


def _judged(name: str, source: str, paths: tuple[Path, Path], judged_by: str, split: str) -> Collection:
    queries, qrels = paths
    judgements = read_qrels(qrels)
    asked = {query: text for query, text in read_queries(queries).items() if query in judgements}
    if not asked:
        where = f"qrels/{qrels.name}" if qrels.parent.name == "qrels" else qrels.name
        raise SourceError(
            f"{queries.parent}: no question of {queries.name} is judged in {where}. Are the query ids of both the same?"
        )
    return Collection(name, source, asked, {query: judgements[query] for query in asked}, judged_by, split)


def _folder(folder: Path, name: str, source: str, split: str) -> Collection:
    about = _about(folder / ABOUT)
    judged_by, source = about.get("judged_by", "people"), about.get("source", source)
    if judged_by not in JUDGED_BY:
        raise SourceError(f"{folder / ABOUT}: judged_by is {judged_by!r}; possible: {', '.join(JUDGED_BY)}.")
    if not isinstance(source, str):
        raise SourceError(f"{folder / ABOUT}: source is no text; write what osplade ingest takes.")
    qrels = _one(folder / "qrels", (split,)) or (None if (folder / "qrels").is_dir() else _one(folder, _QRELS))
    if qrels is None and (log := _one(folder, ("clicks",))) is not None:
        return _clicked(log, name, source, split, about.get("clicks", {}))
    if qrels and qrels.parent == folder and split != "test":
        raise SourceError(
            f"{qrels}: judgements in one file are the split 'test'. For {split!r} write qrels/{split}{qrels.suffix} "
            f"and leave its questions out of qrels/test{qrels.suffix}."
        )
    paths = _one(folder, _QUERIES) or folder / "queries.jsonl", qrels or folder / "qrels" / f"{split}.tsv"
    return _judged(name, source, paths, judged_by, split)


def _one(folder: Path, stems: tuple[str, ...]) -> Path | None:
    """The one file of these names; BEIR's first."""
    if not folder.is_dir():
        return None
    found = [path for path in sorted(folder.iterdir()) if path.name.partition(".")[0] in stems and path.is_file()]
    beir = [path for path in found if path.name in {"queries.jsonl", f"{stems[0]}.tsv"} and folder.name == "qrels"]
    beir += [path for path in found if path.name == "queries.jsonl"]
    if len(found) > 1 and not beir:
        names = " and ".join(path.name for path in found)
        raise SourceError(f"{folder}: of {names} nobody knows which is meant; move the others elsewhere.")
    return next(iter(beir or found), None)


def _about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}. It is a JSON object, and may be left out.") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path} is no JSON object. It may be left out.")
    return found


def _clicked(log: Path, name: str, source: str, split: str, rule: object) -> Collection:
    if split not in {"train", "test", "all"}:
        raise SourceError(
            f"{log}: a click log has the splits train, test (by hash of the question) and all, not {split}."
        )
    texts, qrels = read_clicks(log, ClickRule.from_json(rule, str(log.parent / ABOUT)))
    queries = {query: text for query, text in texts.items() if split in {"all", split_of(text)}}
    if not queries:
        raise SourceError(
            f"{log}: no question of the split {split} has a document that was clicked often enough; lower `least` or "
            f'`grades` in {ABOUT}: {{"clicks": {{"least": 3}}}}.'
        )
    return Collection(name, source, queries, {query: qrels[query] for query in queries}, "clicks", split)


def _ir_datasets(name: str) -> Collection:
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtraError("ir_datasets", "eval") from error
    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        raise SourceError(
            f"There is no collection {name}: neither a folder, nor {', '.join(SHIPPED)}, nor an ir_datasets id."
        ) from error
    if not (dataset.has_docs() and dataset.has_queries() and dataset.has_qrels()):
        raise SourceError(f"{name} lacks documents, questions or judgements; choose one with a split, such as …/test.")
    qrels: dict[str, dict[str, int]] = {}
    for judgement in dataset.qrels_iter():
        qrels.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.relevance
    queries = {query.query_id: query.default_text() for query in dataset.queries_iter() if query.query_id in qrels}
    split = next((one for one in ("train", "dev") if one in name.rpartition("/")[2]), "test")
    judged = {query: qrels[query] for query in queries}
    return Collection(name, f"ir_datasets:{name}", queries, judged, split=split)
