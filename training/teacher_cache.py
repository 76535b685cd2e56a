"""Teacher cache: a teacher's vectors on disk, so that training reads instead of encoding.

Plain numpy files, named by the hash of the teacher and of all texts: another text or model is another file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import QUERY_WEIGHTS
from opensearch_splade.training.cross_encoder import CROSS_ENCODER, CrossEncoderTeacher
from opensearch_splade.training.lexical import Language, Lexical
from opensearch_splade.training.teachers import DenseTeacher, SparseTeacher, Teacher
from opensearch_splade.types import SparseVectors

BM25 = "bm25"
T = TypeVar("T", bound=np.generic)


def load_teacher(
    name: str,
    weight: float,
    queries: Sequence[str],
    documents: Sequence[str],
    cache: Path,
    device: Device,
    language: Language | None = None,
) -> Teacher:
    """``bm25`` (of a language), a dense or sparse bundle, or ``cross-encoder:NAME``; what it gave once is in ``cache``.

    Raises:
        BundleError: There is no such bundle.
        CheckpointError: There is no such cross-encoder.
    """
    if name == BM25:
        lexical = Lexical(documents, language)  # cheaper than to read what it gives
        return SparseTeacher(weight, lexical.queries(queries), lexical.documents)
    if name.startswith(CROSS_ENCODER):
        return CrossEncoderTeacher(name, weight, queries, documents, cache, device)
    bundle = Bundle.open(name)
    fingerprint = bundle.manifest.fingerprint
    # Query weights are not in the fingerprint, which is of documents.
    asked = cache / texts_key(f"{fingerprint} {bundle.manifest.files.get(QUERY_WEIGHTS, '')} queries", queries)
    answers = cache / texts_key(f"{fingerprint} documents", documents)
    if bundle.manifest.kind == "dense":
        dense = DenseEncoder(bundle, device)
        return DenseTeacher(
            weight,
            cached_array(asked, partial(dense.encode, queries)),
            cached_array(answers, partial(dense.encode, documents)),
        )
    sparse = SparseEncoder(bundle, device)
    return SparseTeacher(
        weight,
        cached_sparse(asked, partial(sparse.encode_queries, queries)),
        cached_sparse(answers, partial(sparse.encode_documents, documents)),
    )


def cached_sparse(path: Path, make: Callable[[], SparseVectors]) -> SparseVectors:
    """Sparse vectors from the files ``path-….npy``; made and written where there are none."""
    files = [path.with_name(f"{path.name}-{part}.npy") for part in ("indptr", "token_ids", "weights")]
    if not all(file.exists() for file in files):
        made = make()
        for file, array in zip(files, (made.indptr, made.token_ids, made.weights), strict=True):
            _write(file, np.asarray(array))
    return SparseVectors(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))


def cached_array(path: Path, make: Callable[[], npt.NDArray[T]]) -> npt.NDArray[T]:
    """An array from the file ``path.npy``; made and written where there is none."""
    file = path.with_name(f"{path.name}.npy")
    if not file.exists():
        _write(file, make())
    found: npt.NDArray[T] = np.load(file, mmap_mode="r", allow_pickle=False)
    return found


def _write(path: Path, array: npt.NDArray[np.generic]) -> None:
    """All or nothing: a run that is killed here leaves no half file behind that looks whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    draft.replace(path)


def texts_key(name: str, texts: Sequence[str]) -> str:
    """A file's name by what made it: the hash of a name and of all texts, in their order."""
    digest = hashlib.sha256(name.encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    return digest.hexdigest()[:24]
