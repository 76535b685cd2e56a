"""Hits as the server gives them: named in one way, wherever their id comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.types import passage_id

if TYPE_CHECKING:
    from opensearch_splade.types import Json


def flat(hit: Json) -> Json:
    """A hit with its id and fingerprints in the same places, whether they come from doc values or from the source."""
    fields = hit.get("fields", {})
    identity, number = (next(iter(fields.get(name, [])), None) for name in ("id", "number"))
    stored_as = identity if identity is None or number is None else passage_id(identity, number)
    return {"_source": {"encoded": fields.get("encoded", []), "id": identity}, "_id": stored_as, **hit}


def once_each(found: list[Json]) -> list[Json]:
    """Of hits with one id, as passages of a document have, the best."""
    seen: dict[object, Json] = {}
    for place, hit in enumerate(found):
        seen.setdefault(place if hit["_id"] is None else (hit["_index"], hit["_source"]["id"]), hit)
    return list(seen.values())


def with_ids(found: list[Json], notices: list[str]) -> list[Json]:
    """Hits that carry their id as a field, as all do that this package wrote."""
    known = [hit for hit in found if hit["_id"] is not None]
    if len(known) < len(found):
        notices.append(f"{len(found) - len(known)} hits are left out: others wrote them, without the field 'id'")
    return known


def document_key(hit: Json) -> str:
    """Behind an alias an id may stand twice."""
    return f"{hit['_index']}/{hit['_id']}"
