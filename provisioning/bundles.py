"""The bundles that a spec names, opened, and whether what it makes of them goes together."""

from __future__ import annotations

from pathlib import Path

from opensearch_splade.errors import SpecError
from opensearch_splade.onnx_models import Bundle, shipped
from opensearch_splade.provisioning.spec import ClusterSpec

Bundles = dict[str, Bundle]
"""By the key of the model."""


def open_bundles(spec: ClusterSpec, folder: Path) -> Bundles:
    """Opens and checks them.

    Args:
        spec: What is declared.
        folder: Where its file lies, which folders of bundles are named from.

    Raises:
        BundleError: One is missing or damaged.
        SpecError: One is of the wrong kind for its use, or documents and questions of an index do not fit.
    """
    bundles = {key: Bundle.open(_place(model.bundle, folder)) for key, model in spec.models.items()}
    for place, key, dense in _uses(spec):
        if (bundles[key].manifest.kind == "dense") != dense:
            wanted = "dense" if dense else "sparse"
            raise SpecError(f"{place}: {key!r} is {bundles[key].manifest.kind}, and a {wanted} bundle is needed there")
    for key, model in spec.models.items():
        if model.in_cluster == "tokenizer" and bundles[key].query_weights is None:
            raise SpecError(
                f"models.{key}: {bundles[key].manifest.name} has no table of query weights, so no tokenizer can weigh "
                "its questions: export it with --query-weights, or give it an endpoint"
            )
    _check_documents(spec)
    _check_questions(spec, bundles)
    return bundles


def _place(bundle: str, folder: Path) -> str | Path:
    beside = folder / bundle
    return beside if beside.is_dir() or bundle not in shipped() else bundle


def _uses(spec: ClusterSpec) -> list[tuple[str, str, bool]]:
    """Place, model and whether it is to be dense, of every use."""
    found = []
    for part, section in (("ingest", spec.ingest), ("search", spec.search)):
        for key, one in section.items():
            found += [(f"{part}.{key}.sparse", one.sparse, False), (f"{part}.{key}.dense", one.dense, True)]
    for key, index in spec.shaped.items():
        if index.semantic:
            place = f"indices.{key}.semantic"
            found += [(f"{place}.model", index.semantic.model, False)]
            found += [(f"{place}.search_model", index.semantic.search_model, False)]
    return [(place, model, dense) for place, model, dense in found if model is not None]


def _check_documents(spec: ClusterSpec) -> None:
    writers = [(f"ingest.{key}", model) for key, one in spec.ingest.items() for model in (one.sparse, one.dense)]
    writers += [(f"indices.{key}.semantic", one.semantic.model) for key, one in spec.shaped.items() if one.semantic]
    for place, model in writers:
        if model and spec.models[model].in_cluster == "tokenizer":
            raise SpecError(f"{place}: {model!r} is a tokenizer, which encodes questions only")
    for key, one in spec.shaped.items():
        if one.semantic and not spec.models[one.semantic.model].endpoint:
            raise SpecError(f"indices.{key}.semantic: {one.semantic.model!r} needs an endpoint")


def _check_questions(spec: ClusterSpec, bundles: Bundles) -> None:
    """Vectors of two models rank plausibly against each other, so nobody would notice."""
    for key, index in spec.shaped.items():
        pairs: list[tuple[str, str | None, str | None]] = []
        if index.semantic:
            pairs.append(("sparse", index.semantic.model, index.semantic.search_model))
        elif index.ingest and index.search:
            ingest, search = spec.ingest[index.ingest], spec.search[index.search]
            pairs += [("sparse", ingest.sparse, search.sparse), ("dense", ingest.dense, search.dense)]
        for kind, documents, questions in pairs:
            if not questions:
                continue
            if not documents:
                raise SpecError(f"indices.{key}: its search asks {kind} vectors, and its ingest makes none")
            first, second = (bundles[one].manifest.fingerprint for one in (documents, questions))
            if first != second:
                raise SpecError(
                    f"indices.{key}: documents are encoded by {documents!r} (fingerprint {first}) and questions by "
                    f"{questions!r} ({second}): these {kind} vectors must not be compared"
                )
