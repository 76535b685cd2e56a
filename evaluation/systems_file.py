"""Systems file: named systems in YAML.

::

    systems:
      bm25: bm25                          # a line, as --system takes it
      fused:                              # or its parts
        mode: bm25+neural-sparse+knn
        weights: [1, 2, 1]
      mine:
        template: my_query.json           # beside this file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from opensearch_splade.errors import MissingExtraError, QueryError, SourceError
from opensearch_splade.evaluation.system_spec import SystemSpec


def read_systems(path: Path) -> dict[str, SystemSpec]:
    """Name to spec, in the file's order. Templates are found beside the file.

    Raises:
        SourceError: The file cannot be read or is no list of systems.
        QueryError: A spec is none; says which.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("yaml", "eval") from error
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_twice(yaml.compose(text, Loader=yaml.SafeLoader), path)
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(f"{path}: {' '.join(str(error).split())}") from error
    systems = found.get("systems") if isinstance(found, dict) else None
    if not isinstance(systems, dict) or not systems or len(found) > 1:
        raise SourceError(f"{path}: write systems: and under it NAME: MODE, or NAME: and under that mode: and more")
    return {str(name): _spec(str(name), said, path) for name, said in systems.items()}


def _spec(name: str, said: object, path: Path) -> SystemSpec:
    where = f"{path}: {name}"
    if isinstance(said, str):
        try:
            spec = SystemSpec.parse(said)
        except QueryError as error:
            raise QueryError(f"{where}: {error}") from error
    elif isinstance(said, Mapping):
        spec = SystemSpec.read({str(key): value for key, value in said.items()}, where)
    else:
        raise QueryError(f"{where}: {said!r} is neither a line nor keys and values")
    return replace(spec, template=str(path.parent / spec.template)) if spec.template else spec


def _refuse_twice(node: Any, path: Path) -> None:
    """YAML readers let the last of two equal keys win, which would drop a system."""
    if not hasattr(node, "value") or not isinstance(node.value, list):
        return
    seen: set[str] = set()
    for pair in node.value:
        if not isinstance(pair, tuple):
            continue
        key, value = pair
        if str(key.value) in seen:
            raise SourceError(f"{path}:{key.start_mark.line + 1}: {key.value!r} stands there twice")
        seen.add(str(key.value))
        _refuse_twice(value, path)
