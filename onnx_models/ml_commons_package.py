"""Model packages for ML Commons: zips that OpenSearch itself can run a bundle from.

Three kinds, by what a model in the cluster is for:

::

    documents   SPARSE_ENCODING   <name>.onnx, tokenizer.json    text -> token weights, by the graph
    queries     SPARSE_TOKENIZE   idf.json, tokenizer.json       text -> token weights, by the bundle's table
    dense       TEXT_EMBEDDING    <name>.onnx, tokenizer.json    text -> one vector

ML Commons names a feature by decoding its token id with the package's tokenizer. So the tokenizer is given a decoder
that makes of a token its feature (``<dot>`` of ``.``), and nothing where it has none: what decodes to nothing is left
out. A pipeline in the cluster then stores, and a query asks, the very features that this package does.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.bundle import WEIGHTS, Bundle
from opensearch_splade.onnx_models.ml_commons_graph import dense_package_graph, sparse_package_graph
from opensearch_splade.onnx_models.ml_commons_tokenizer import package_tokenizer
from opensearch_splade.onnx_models.prompt import NO_PROMPT
from opensearch_splade.onnx_models.query_weights import read_table
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary

What = Literal["documents", "queries", "dense"]
Function = Literal["SPARSE_ENCODING", "SPARSE_TOKENIZE", "TEXT_EMBEDDING"]

LARGEST_WEIGHT = 64.0
"""Of a ``neural_sparse`` query; the server refuses the whole query for one token above it."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Package:
    """A zip and what it is to be registered as.

    Attributes:
        path: The zip.
        function: ML Commons' name of what it does.
        config: ``model_config``, dense only.
        sha256: Of the zip: ``model_content_hash_value``. The same bundle gives the same, on any machine.
        fingerprint: Of the document vectors that it makes, or that its queries may be matched with.
    """

    path: Path
    function: Function
    config: dict[str, Any]
    sha256: str
    fingerprint: str


def default_what(bundle: Bundle) -> What:
    """What a bundle is most likely packed for: queries where it has a table, since no model runs for them."""
    if bundle.manifest.kind == "dense":
        return "dense"
    return "queries" if bundle.query_weights else "documents"


def pack(bundle: Bundle, out: Path, what: What | None = None) -> Package:
    """Writes a bundle's package; the same bytes for the same bundle.

    Args:
        bundle: A bundle.
        out: The zip; written over if it is there.
        what: What the package is for; by default see ``default_what``.

    Raises:
        BundleError: The bundle cannot do that inside ML Commons; says what to do.
        MissingExtraError: A graph is to be packed and ``onnx`` is not installed.
    """
    what = what or default_what(bundle)
    files, function, config = _PACKERS[what](bundle)
    _write_zip(out, files)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    return Package(out, function, config, digest, bundle.manifest.fingerprint)


_Packed = tuple[dict[str, bytes], Function, dict[str, Any]]


def _documents(bundle: Bundle) -> _Packed:
    _require(bundle, "sparse")
    vocabulary = _vocabulary(bundle)
    names = dict(enumerate(vocabulary.features))
    files = {"model.onnx": sparse_package_graph(bundle), "tokenizer.json": package_tokenizer(bundle, names)}
    return files, "SPARSE_ENCODING", {}


def _queries(bundle: Bundle) -> _Packed:
    path = bundle.query_weights
    if path is None:
        raise BundleError(
            f"{bundle.manifest.name} has no query weights ({bundle.manifest.kind}): its questions need its model. Pack "
            "the documents' side (--what documents) and ask by that, or export the checkpoint with --query-weights"
        )
    if bundle.manifest.query_weights == "bm25":
        raise BundleError(
            f"{bundle.manifest.name}'s table counts repeated tokens (bm25), which ML Commons cannot: it takes each "
            "once. Export the checkpoint with --query-weights idf:COLLECTION"
        )
    table = read_table(path)
    if heavy := [feature for feature, weight in table.items() if weight > LARGEST_WEIGHT]:
        raise BundleError(
            f"{bundle.manifest.name} weighs {heavy[0]!r} {table[heavy[0]]:g}; a neural_sparse query takes "
            f"{LARGEST_WEIGHT:g} at most. Divide the whole table by one number: the ranking stays the same"
        )
    features = _vocabulary(bundle).features
    # A token that the table lacks would weigh 1, and one that weighs 0 would make the server refuse the query. So every
    # feature that is left is written, and what weighs nothing decodes to nothing.
    weights = {feature: table[feature] for feature in features if table.get(feature, 0.0) > 0}
    names = {token: feature if feature in weights else "" for token, feature in enumerate(features)}
    # Questions are tokenised without [CLS] and [SEP], so that both cut a long one at the same token.
    tokenizer = package_tokenizer(bundle, names, special_tokens=False)
    return {"idf.json": orjson.dumps(weights), "tokenizer.json": tokenizer}, "SPARSE_TOKENIZE", {}


def _dense(bundle: Bundle) -> _Packed:
    _require(bundle, "dense")
    files = {"model.onnx": dense_package_graph(bundle), "tokenizer.json": package_tokenizer(bundle)}
    config = {
        # Neither bert nor albert: these are sent token_type_ids, which our graphs make themselves.
        "model_type": "distilbert",
        "embedding_dimension": bundle.manifest.dimension,
        "framework_type": "sentence_transformers",
        # The graph pools and normalises.
        "pooling_mode": "NONE",
        "normalize_result": "false",
        "all_config": "{}",
        # What a semantic field makes its knn_vector of.
        "additional_config": {"space_type": "cosinesimil" if bundle.manifest.normalize else "innerproduct"},
    }
    return files, "TEXT_EMBEDDING", config


_PACKERS = {"documents": _documents, "queries": _queries, "dense": _dense}


def _require(bundle: Bundle, wanted: Literal["sparse", "dense"]) -> None:
    manifest = bundle.manifest
    if (manifest.kind == "dense") != (wanted == "dense"):
        raise BundleError(f"{manifest.name} is a {manifest.kind} bundle; a {wanted} one is needed for this package")
    if WEIGHTS in manifest.files:
        raise BundleError(
            f"{manifest.name} is larger than one ONNX file can be, which is all that ML Commons takes: run it outside, "
            "by `osplade serve` and a connector"
        )
    if (manifest.prompt or NO_PROMPT) != NO_PROMPT:
        raise BundleError(
            f"{manifest.name} reads texts with something around them (its prompt), which ML Commons cannot add: run it "
            "outside, by `osplade serve` and a connector"
        )


def _vocabulary(bundle: Bundle) -> Vocabulary:
    manifest = bundle.manifest
    tokens = Tokenizer(bundle.tokenizer, manifest.max_length).vocabulary
    return Vocabulary(tokens, manifest.dimension, frozenset(manifest.special_tokens))


def _write_zip(out: Path, files: Mapping[str, bytes]) -> None:
    """Stored, not compressed: what zlib makes differs between its versions, and weights hardly compress."""
    draft = out.with_name(f".{out.name}.draft")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(files.items()):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                archive.writestr(entry, content)
        draft.replace(out)
    except OSError as error:
        raise BundleError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
