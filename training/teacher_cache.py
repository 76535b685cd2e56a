"""Teacher cache: a teacher's vectors on disk, so that training reads instead of encoding.

Plain numpy files, named by the hash of the teacher and of all texts: another text or model is another file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import QUERY_WEIGHTS
from opensearch_splade.training.lexical import Lexical
from opensearch_splade.training.teachers import DenseTeacher, Scores, SparseTeacher, Teacher
from opensearch_splade.types import SparseVectors

BM25 = "bm25"
_LEXICAL = 1  # counts up when its vectors change


def load_teacher(
    name: str, weight: float, queries: Sequence[str], documents: Sequence[str], cache: Path, device: Device
) -> Teacher:
    """``bm25``, or a dense or sparse bundle; its vectors from ``cache`` where they are.

    Raises:
        BundleError: There is no such bundle.
    """
    if name == BM25:
        key, make = _key(f"{BM25} {_LEXICAL}", queries, documents), lambda: _lexical(queries, documents)
        return SparseTeacher(weight, *_cached_sparse(cache / key, make))
    bundle = Bundle.open(name)
    table = bundle.manifest.files.get(QUERY_WEIGHTS, "")  # not in the fingerprint, which is of documents
    key = _key(f"{bundle.manifest.fingerprint} {table}", queries, documents)
    if bundle.manifest.kind == "dense":
        dense = DenseEncoder(bundle, device)
        vectors = [
            _cached(cache / f"{key}-{side}.npy", lambda texts=texts: dense.encode(texts))  # type: ignore[misc]
            for side, texts in (("queries", queries), ("documents", documents))
        ]
        return DenseTeacher(weight, *vectors)
    sparse = SparseEncoder(bundle, device)
    both = _cached_sparse(cache / key, lambda: (sparse.encode_queries(queries), sparse.encode_documents(documents)))
    return SparseTeacher(weight, *both)


def _lexical(queries: Sequence[str], documents: Sequence[str]) -> tuple[SparseVectors, SparseVectors]:
    lexical = Lexical(documents)
    return lexical.queries(queries), lexical.documents


def _cached_sparse(
    path: Path, make: Callable[[], tuple[SparseVectors, SparseVectors]]
) -> tuple[SparseVectors, SparseVectors]:
    names = [f"{side}-{part}" for side in ("queries", "documents") for part in ("indptr", "token_ids", "weights")]
    files = [path.with_name(f"{path.name}-{name}.npy") for name in names]
    if not all(file.exists() for file in files):
        made = [array for one in make() for array in (one.indptr, one.token_ids, one.weights)]
        for file, array in zip(files, made, strict=True):
            _write(file, np.asarray(array))
    arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    return SparseVectors(*arrays[:3]), SparseVectors(*arrays[3:])


def _cached(path: Path, make: Callable[[], Scores]) -> Scores:
    if not path.exists():
        _write(path, make())
    found: Scores = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _write(path: Path, array: npt.NDArray[np.generic]) -> None:
    """All or nothing: a run that is killed here leaves no half file behind that looks whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    draft.replace(path)


def _key(name: str, queries: Sequence[str], documents: Sequence[str]) -> str:
    digest = hashlib.sha256(name.encode())
    for texts in (queries, documents):
        digest.update(f"\0{len(texts)}\0".encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    return digest.hexdigest()[:24]
