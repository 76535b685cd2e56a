"""Cluster negatives: rankings of an index on a cluster, by BM25, by the bundle that encoded it and by kNN.

Its analyzer, its vectors and all that users will meet there decide what looks like an answer; documents are known by
their ids. What came is kept beside the run: an index changes, and a run that goes on must mine the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import OspladeError, SourceError, TargetError, TrainingError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder, shipped_with
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import Searcher, match, multi_match
from opensearch_splade.query.batches import together
from opensearch_splade.query.conversation import held
from opensearch_splade.query.limits import fit_text
from opensearch_splade.training.teacher_cache import cached_array, texts_key
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities, Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

DEPTH = 100
"""Hits of a question and ranking: of an index that is larger than what was read, most are unknown here."""
_TOGETHER = 256  # questions whose hits are held at once


@dataclass(frozen=True, slots=True)
class ClusterRanking:
    """One ranking, as ``nearest.Ranker``.

    Attributes:
        places: Of each question the best documents; ``-1`` where there are fewer. Shape ``(questions, DEPTH)``.
    """

    places: npt.NDArray[np.int32]

    def best(self, depth: int) -> Iterator[list[int]]:
        """See ``nearest.Ranker``."""
        return (row[row >= 0][:depth].tolist() for row in self.places)


class ClusterIndex:
    """An index to mine from.

    Args:
        client: Connected to its cluster.
        index: An index or alias; one that others made is asked by BM25 only.
        fields: Fields of text in an index of others.
        bundles: Which may have encoded it, besides the shipped ones: names or folders.

    Attributes:
        index: Its name.
        legs: The rankings that can be asked for, as ``query.Leg`` names them.

    Raises:
        SourceError: There is no such index.
        ClusterError: The cluster does not answer.
    """

    def __init__(self, client: OpenSearch, index: str, fields: Sequence[str], bundles: Sequence[str] = ()) -> None:
        self.index, self._client, self._fields = index, client, tuple(fields)
        self._capabilities: Capabilities = probe(client)
        self._searcher = self._ours(bundles)
        self.legs: tuple[str, ...] = self._searcher.target.legs if self._searcher else ("bm25",)

    def rankings(self, questions: Sequence[str], documents: Sequence[Document], cache: Path) -> list[ClusterRanking]:
        """Each ranking of all questions.

        Args:
            questions: The questions.
            documents: Those whose places are given; hits that are none of them are left out.
            cache: Folder of what was asked before.

        Raises:
            OspladeError: The cluster does not answer, or refuses every question.
            TrainingError: No hit is among the documents.
        """
        places = {document.id: place for place, document in enumerate(documents)}
        meta = self._searcher.target.meta.to_json() if self._searcher else self._fields
        found: list[ClusterRanking] = []
        for leg in self.legs:
            key = texts_key(f"{self.index} {leg} {meta}", [*questions, *places])
            found.append(ClusterRanking(cached_array(cache / key, partial(self._rows, leg, questions, places))))
        return found

    def _rows(self, leg: str, questions: Sequence[str], places: Mapping[str, int]) -> npt.NDArray[np.int32]:
        rows = np.full((len(questions), DEPTH), -1, np.int32)
        refused: OspladeError | None = None
        for start in range(0, len(questions), _TOGETHER):
            answers = self._asked(leg, questions[start : start + _TOGETHER])
            for row, ids in zip(rows[start:], answers, strict=False):
                if isinstance(ids, OspladeError):
                    refused = refused or ids
                    continue
                known = [places[one] for one in ids if one in places]
                row[: len(known)] = known
        if not (rows >= 0).any():
            raise refused or TrainingError(
                f"No {leg} hit of index {self.index!r} is among the {len(places):,} documents that were read, so "
                "nothing can be mined: their ids differ. Give the index that holds these documents under the same ids "
                "(--mine-from), or read it (osplade adapt index:NAME)."
            )
        return rows

    def _asked(self, leg: str, questions: Sequence[str]) -> Iterator[list[str] | OspladeError]:
        """Ids of the hits of each question, the best first, or why this question alone could not be asked."""
        if self._searcher is None:
            for answer in held(self._client, together(self.index, [self._body(one) for one in questions])):
                yield answer if isinstance(answer, OspladeError) else [hit["_id"] for hit in answer["hits"]["hits"]]
            return
        for result in self._searcher.search_many(questions, mode=leg, size=DEPTH, ids_only=True):
            yield result if isinstance(result, OspladeError) else [hit.id for hit in result.hits]

    def _body(self, question: str) -> dict[str, object]:
        room = max(1, self._capabilities.max_clause_count // len(self._fields))
        text, _ = fit_text(question, max_clauses=room)
        fields = dict.fromkeys(self._fields, 1.0)
        clause = match(text, self._fields[0]) if len(fields) == 1 else multi_match(text, fields, how="most_fields")
        return {"query": clause, "size": DEPTH, "_source": False}

    def _ours(self, bundles: Sequence[str]) -> Searcher | None:
        """What asks an index of this package, with the encoders that fit it; ``None`` for one of others."""
        try:
            with asking(self.index):
                mappings = self._client.indices.get_mapping(index=self.index)
        except TargetError as error:
            raise SourceError(f"--mine-from index:{self.index}: {error}") from error
        try:
            meta = IndexMeta.from_mappings(self.index, mappings)
        except TargetError:
            return None
        sparse = _fitting(meta.sparse.fingerprint, bundles) if meta.sparse else None
        dense = _fitting(meta.dense.fingerprint, bundles) if meta.dense else None
        return Searcher(
            self._client,
            self.index,
            capabilities=self._capabilities,
            sparse=SparseEncoder.load(sparse) if sparse else None,
            dense=DenseEncoder.load(dense) if dense else None,
        )


def _fitting(fingerprint: str, bundles: Sequence[str]) -> str | Path | None:
    """The bundle of this fingerprint, one of ours first."""
    given = (name for name in bundles if Bundle.open(name).manifest.fingerprint == fingerprint)
    return next(given, None) or next(iter(shipped_with(fingerprint)), None)
