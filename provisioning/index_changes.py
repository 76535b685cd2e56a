"""What of an index can be changed while it holds documents, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opensearch_splade.provisioning.comparing import NOTHING, Difference
from opensearch_splade.provisioning.stored import ask
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_DYNAMIC = {
    "index.number_of_replicas",
    "index.auto_expand_replicas",
    "index.default_pipeline",
    "index.search.default_pipeline",
    "index.neural_search.semantic_ingest_batch_size",
}
_MODELS = {"model_id", "search_model_id"}
"""Of a semantic field; the server lets them be changed to a model of the same kind."""
_VECTORS = ("mappings", "_meta", "opensearch_splade")


def is_changeable(difference: Difference) -> bool:
    """Whether the server changes it in place, and documents stay right."""
    parts = difference.parts
    if parts[0] == "settings":
        return parts[1] in _DYNAMIC
    if parts[:3] == _VECTORS:
        return False
    if parts[1] in {"_meta", "dynamic"}:
        return True
    is_new_field = difference.found is NOTHING and parts[-2] in {"properties", "fields"}
    return is_new_field or parts[-1] in _MODELS


def remedy(index: str, fixed: Sequence[Difference]) -> str:
    """What to do about what cannot be changed in place."""
    places = "; ".join(map(str, fixed))
    if any(one.parts[:3] == _VECTORS for one in fixed):
        why = "its documents hold the vectors of what it was made with"
    else:
        why = "a mapping or setting of an index is fixed when it is made"
    return (
        f"index {index!r} cannot be changed in place ({places}): {why}. Declare an index of another name and fill it "
        f"with `osplade migrate --source {index} --target …` or POST _reindex; if it holds nothing worth keeping, "
        f"DELETE /{index} and apply again"
    )


def change(client: OpenSearch, index: str, wanted: Json, found: Sequence[Difference]) -> None:
    """Changes what is otherwise, all of it changeable.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    settings = {one.parts[1]: one.wanted for one in found if one.parts[0] == "settings"}
    if settings:
        ask(client, "PUT", f"/{index}/_settings", settings)
    mapping = _mapping(wanted["mappings"], found)
    if mapping:
        ask(client, "PUT", f"/{index}/_mapping", mapping)


def undo(client: OpenSearch, index: str, before: Json, found: Sequence[Difference]) -> None:
    """Puts back what ``change`` changed; fields that were added stay, since no server takes one away.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    settings = {
        one.parts[1]: None if one.found is NOTHING else one.found for one in found if one.parts[0] == "settings"
    }
    if settings:
        ask(client, "PUT", f"/{index}/_settings", settings)
    there = [one for one in found if one.found is not NOTHING]
    mapping = _mapping(before["mappings"], there)
    if mapping:
        ask(client, "PUT", f"/{index}/_mapping", mapping)


def _mapping(mappings: Json, found: Sequence[Difference]) -> Json:
    """The parts of a mapping in which something differs, whole fields."""
    changed = [one.parts[1:] for one in found if one.parts[0] == "mappings"]
    body = {name: mappings[name] for name in ("_meta", "dynamic") if any(parts[0] == name for parts in changed)}
    fields = {parts[1] for parts in changed if parts[0] == "properties"}
    properties = {name: mappings["properties"][name] for name in sorted(fields) if name in mappings["properties"]}
    return {**body, "properties": properties} if properties else body
