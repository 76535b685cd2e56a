"""Dense vectors: what fewer dimensions cost, and how that grows with the index.

The fewer dimensions, the more documents lie by chance nearer to a question than the right one, and the more so the
larger the index (Reimers and Gurevych, 2021): a dimension that is enough for a small one may not be for a large one.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection import Asked, Cell, Figure, Section, Table
from opensearch_splade.evaluation.inspection_ranking import Quality, best, dense_scores, quality
from opensearch_splade.evaluation.inspection_vectors import StoredVectors

Vectors = npt.NDArray[np.float32]
DIMENSIONS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
SIZES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the index; the judged documents are in each."""
TOLERANCE = 0.005
"""Of nDCG@10 that a recommended dimension may lose."""
_FITTED = 20_000  # vectors that axes are taken of


def principal_axes(vectors: Vectors) -> npt.NDArray[np.float64]:
    """Shape ``(dimension, dimension)``, the strongest axis first; not centred, since inner products are to be kept."""
    some = vectors[:: max(1, len(vectors) // _FITTED)].astype(np.float64)
    _, axes = np.linalg.eigh(some.T @ some)
    return np.asarray(axes[:, ::-1])


def truncated(vectors: Vectors, dimension: int) -> Vectors:
    """The first dimensions, at length 1 again; what is zero stays so."""
    part = vectors[:, :dimension]
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    return np.asarray(part / np.where(lengths > 0, lengths, 1), np.float32)


def inspect_dimensions(stored: StoredVectors, asked: Asked | None, seed: int) -> Section:
    """nDCG@10 and false positives by dimension and by size of the index."""
    if stored.dense is None:
        return Section("dimensions", missing=("the index holds no dense vectors",))
    whole = stored.dense.shape[1]
    axes = principal_axes(stored.dense)
    energy = np.cumsum(((stored.dense[: 2 * _FITTED] @ axes) ** 2).mean(axis=0))
    wanted = [one for one in DIMENSIONS if one < whole] + [whole]
    need = int(np.searchsorted(energy / max(float(energy[-1]), 1e-30), 0.95)) + 1
    figures = [
        Figure("dimensions", whole, ",d", f"{whole * 4:,} bytes a vector, all read at each step of HNSW"),
        Figure("axes for .95", need, ",d", "of the squared length; far fewer than all: a projection loses little"),
    ]
    if asked is None or asked.dense is None:
        return Section("dimensions", figures, missing=("what fewer dimensions cost: give --collection",))
    rotated, questions = (np.asarray(one @ axes, np.float32) for one in (stored.dense, asked.dense))
    everything = np.ones(len(stored.dense), np.bool_)
    rows: list[list[Cell]] = []
    enough = whole
    reference = _quality(stored, asked, stored.dense, asked.dense, everything)
    for one in reversed(wanted):
        cut = _quality(stored, asked, truncated(stored.dense, one), truncated(asked.dense, one), everything)
        projected = _quality(stored, asked, rotated[:, :one], questions[:, :one], everything)
        enough = one if projected.ndcg >= reference.ndcg - TOLERANCE else enough
        rows.append([one, one * 4, cut.ndcg, cut.false_positives, projected.ndcg, projected.false_positives])
    figures.append(
        Figure(
            "dimensions that do",
            enough,
            ",d",
            f"the fewest axes within {TOLERANCE:g} nDCG@10 of all, at this size",
        )
    )
    columns = {"dimensions": "d", "bytes": ",d"}
    columns |= {
        "nDCG@10 cut": ".4f",
        "false pos. cut": ".2f",
        "nDCG@10 projected": ".4f",
        "false pos. projected": ".2f",
    }
    meaning = (
        "cut: the first ones; projected: on principal axes; false positives: of ten, before the first relevant one"
    )
    sizes = _by_size(stored, asked, rotated, questions, [one for one in (32, 64, 128) if one < whole] + [whole], seed)
    return Section("dimensions", figures, (), (Table("by dimension", columns, rows, meaning), sizes))


def _by_size(
    stored: StoredVectors, asked: Asked, vectors: Vectors, questions: Vectors, dimensions: list[int], seed: int
) -> Table:
    key = seed.to_bytes(8, "little", signed=True)
    hashes = [
        int.from_bytes(blake2b(f"{id_} in part".encode("utf-8", "surrogatepass"), digest_size=7, key=key).digest())
        for id_ in stored.ids
    ]
    relevant = {id_ for grades in asked.qrels.values() for id_, grade in grades.items() if grade > 0}
    order = np.array([-1 if id_ in relevant else place for id_, place in zip(stored.ids, hashes, strict=True)])
    rows: list[list[Cell]] = []
    for size in SIZES:
        is_in = np.argsort(np.argsort(order, kind="stable")) < max(round(size * len(order)), int((order < 0).sum()))
        row: list[Cell] = [int(is_in.sum())]
        for one in dimensions:
            found = _quality(stored, asked, vectors[:, :one], questions[:, :one], is_in[stored.dense_documents])
            row += [found.ndcg, found.false_positives]
        rows.append(row)
    columns = {"documents": ",d"}
    for one in dimensions:
        columns |= {f"nDCG@10 {one}": ".4f", f"false pos. {one}": ".2f"}
    meaning = "projected; where the gap between few and all dimensions widens with the index, keep more than now do"
    return Table("by size of the index", columns, rows, meaning)


def _quality(
    stored: StoredVectors, asked: Asked, vectors: Vectors, questions: Vectors, is_in: npt.NDArray[np.bool_]
) -> Quality:
    run = best(dense_scores(vectors[is_in], questions), stored.dense_documents[is_in], stored.ids, floor=-np.inf)
    return quality(run, asked.queries, asked.qrels)
