"""Dynamic templates of Elasticsearch, in which a condition may be a list of patterns (8.9): OpenSearch knows one only.

It takes a list without complaint and reads it as one pattern, brackets and all, which matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from opensearch_splade.types import Json

_ANY_OF = ("match", "match_mapping_type", "path_match")
_NONE_OF = ("path_unmatch", "unmatch")
_UNKNOWN = ("runtime", "unmatch_mapping_type")


def said_singly(templates: list[Json]) -> tuple[list[Json], list[str]]:
    """A template for each combination of what a condition lists, in the same order, and notes on what is left out."""
    found: list[Json] = []
    notes: list[str] = []
    for name, template in ((name, one) for entry in templates for name, one in entry.items()):
        unknown = [key for key in _UNKNOWN if key in template]
        unknown += [f"list of {key}" for key in _NONE_OF if len(_listed(template.get(key))) > 1]
        if unknown:
            notes.append(f"dynamic template {name}: left out, OpenSearch has no {' and no '.join(unknown)}")
            continue
        found.extend(_singly(name, template))
    return found, notes


def _singly(name: str, template: Json) -> Iterator[Json]:
    template = template | {key: template[key][0] for key in _NONE_OF if _listed(template.get(key))}
    conditions = [key for key in _ANY_OF if _listed(template.get(key))]
    combinations = list(product(*(template[key] for key in conditions)))
    for place, values in enumerate(combinations):
        numbered = f"{name}_{place}" if len(combinations) > 1 else name
        yield {numbered: template | dict(zip(conditions, values, strict=True))}


def _listed(condition: object) -> list[object]:
    return condition if isinstance(condition, list) else []
