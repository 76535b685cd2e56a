"""Saving: a graph as a bundle's files, the input ``passages`` added where the head can take it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.bundle import MANIFEST, MODEL, WEIGHTS, Bundle, sha256
from opensearch_splade.onnx_models.passage_graph import add_passages

if TYPE_CHECKING:
    import onnx

LARGEST_GRAPH = 1_900_000_000
"""Bytes of weights that stay inside ``model.onnx``; protobuf ends at 2 GiB."""


def save_graph(graph: onnx.ModelProto, folder: Path) -> None:
    """Writes ``model.onnx``, and ``model.onnx.data`` where one file does not hold the weights."""
    import onnx

    (folder / WEIGHTS).unlink(missing_ok=True)  # of a graph saved before, to which onnx would append
    size = sum(len(initializer.raw_data) for initializer in graph.graph.initializer)
    # Only matrices: ONNX Runtime cannot look up the sizes of a Split elsewhere.
    outside = {"save_as_external_data": True, "location": WEIGHTS, "size_threshold": 1 << 16}
    apart = outside if size > LARGEST_GRAPH else {}
    onnx.save(graph, folder / MODEL, **apart)


def save_sparse_graph(graph: onnx.ModelProto, folder: Path) -> str | None:
    """The same with the input ``passages``.

    Returns:
        The sha256 that ``model.onnx`` has without it, which stands for the vectors; ``None`` where the head cannot take
        it, and so nothing was added.
    """
    save_graph(graph, folder)
    plain = sha256(folder / MODEL)
    if not add_passages(graph):
        return None
    (folder / MODEL).write_bytes(graph.SerializeToString())  # the weights apart stay as they are
    return plain


def add_passages_to(bundle: Bundle) -> bool:
    """Gives a sparse bundle that was made without it the input ``passages``; its fingerprint stays.

    Returns:
        Whether anything was to do.

    Raises:
        BundleError: The head cannot take it.
    """
    import onnx

    manifest = bundle.manifest
    if manifest.plain is not None:
        return False
    graph = onnx.load(bundle.model, load_external_data=False)
    if manifest.kind == "dense" or not add_passages(graph):
        raise BundleError(f"{bundle.folder}: only heads that take a maximum, and have no gate, can pool passages.")
    draft = bundle.model.with_suffix(".draft")
    draft.write_bytes(graph.SerializeToString())
    files = {**manifest.files, MODEL: sha256(draft)}
    described = manifest.model_copy(update={"files": files, "plain": manifest.files[MODEL]})
    draft.replace(bundle.model)
    (bundle.folder / MANIFEST).write_text(described.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return True
