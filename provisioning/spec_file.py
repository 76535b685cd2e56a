"""The file of a spec: YAML, TOML or JSON, and the JSON schema that editors check it by."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from opensearch_splade.errors import MissingExtraError, SpecError
from opensearch_splade.provisioning.spec import ClusterSpec
from opensearch_splade.types import Json

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def read_spec(path: Path) -> ClusterSpec:
    """Reads and checks a file by its ending: ``.yaml``, ``.yml``, ``.toml`` or ``.json``.

    Raises:
        SpecError: It cannot be read, or is not as the schema says; names each place and what is wrong there.
        MissingExtraError: YAML is not installed.
    """
    try:
        return ClusterSpec.model_validate(_parsed(path))
    except ValidationError as error:
        told = "\n".join(f"  {_told(one)}" for one in error.errors())
        raise SpecError(
            f"{path} does not say what should be there:\n{told}\n`osplade cluster schema` says how."
        ) from error


def json_schema() -> Json:
    """The schema of the file, for editors and other programs."""
    return {"$schema": SCHEMA_ID, **ClusterSpec.model_json_schema()}


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    if path.suffix in {".toml", ".json"}:
        try:
            return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except ValueError as error:
            raise SpecError(f"{path} is not {path.suffix[1:].upper()}: {error}") from error
    if path.suffix not in SUFFIXES:
        raise SpecError(f"{path} is of no known kind: {', '.join(SUFFIXES)}")
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("yaml", "cluster") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _told(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "[key]") or "the file"
    kinds = {"missing": "is not said", "extra_forbidden": "there is no such value"}
    return f"{place}: {kinds.get(error['type'], error['msg'].removeprefix('Value error, '))}"
