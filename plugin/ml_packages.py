"""Model packages (zips) into the cluster: announced, sent in chunks, checked there by their hash."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.ml_commons import call
from opensearch_splade.plugin.ml_models import delete_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

CHUNK = 10_000_000
"""Bytes of a chunk, as ML Commons cuts files itself."""

LocalFunction = Literal["SPARSE_TOKENIZE", "SPARSE_ENCODING", "TEXT_EMBEDDING"]


def register_local(
    client: OpenSearch,
    package: Path,
    *,
    name: str,
    function: LocalFunction,
    config: Json | None = None,
    description: str = "",
    version: str = "1.0.0",
    progress: Callable[[int, int], object] = lambda _sent, _all: None,
) -> str:
    """Uploads a package and gives the id of its model, which is not deployed yet. What fails half-way is deleted.

    No file and no server has to be within the nodes' reach, as registering by URL needs.

    Args:
        client: Connected to the cluster.
        package: The zip, e.g. of ``onnx_models.ml_commons_package``.
        name: What it is found by; not unique, so look with ``find_models`` first.
        function: What the package is for.
        config: ``model_config``, of ``TEXT_EMBEDDING``.
        description: For people; ML Commons 3.6 does not keep it.
        version: For people.
        progress: Called with chunks sent and chunks in all, after each.

    Raises:
        MlCommonsError: It is refused (settings: ``ml_settings.settings_for_local_models``).
        ClusterError: The cluster does not answer, or the file cannot be read.
    """
    try:
        with package.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = package.stat().st_size
    except OSError as error:
        raise ClusterError(f"{package} cannot be read: {error.strerror}") from error
    chunks = -(-size // CHUNK)
    body: Json = {
        "name": name,
        "version": version,
        "description": description or name,
        "function_name": function,
        # The only two formats there are; a tokenizer has none of them, and the field is required.
        "model_format": "TORCH_SCRIPT" if function == "SPARSE_TOKENIZE" else "ONNX",
        "model_content_size_in_bytes": size,
        "model_content_hash_value": digest,
        "total_chunks": chunks,
        **({"model_config": config} if config else {}),
    }
    answer = call(client, "POST", "/models/_register_meta", body, what=f"register the model {name!r}")
    model_id = str(answer["model_id"])
    try:
        with package.open("rb") as stream:
            for number in range(chunks):
                upload_chunk(client, model_id, number, stream.read(CHUNK))
                progress(number + 1, chunks)
    except BaseException:
        with suppress(ClusterError):  # the error that brought us here says more
            delete_model(client, model_id)
        raise
    return model_id


def upload_chunk(client: OpenSearch, model_id: str, number: int, content: bytes) -> None:
    """Sends one chunk; chunks are numbered from 0.

    Raises:
        MlCommonsError: It is refused.
        ClusterError: The cluster does not answer.
    """
    what = f"take chunk {number} of the model {model_id}"
    call(client, "POST", f"/models/{model_id}/upload_chunk/{number}", content, timeout=120, what=what)
