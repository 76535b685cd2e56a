"""Analysis: how text becomes words, by an analyzer of the server's or of the user's own, and what words score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import TargetError
from opensearch_splade.plugin.bm25 import Bm25
from opensearch_splade.types import Json


@dataclass(frozen=True, slots=True)
class Analysis:
    """How title and text are found by their words.

    Attributes:
        analyzer: As the mapping names it.
        settings: The index' ``analysis`` settings that define it; empty for one that the server knows.
        bm25: What a word scores; ``None`` leaves the server's own, k1 1.2 and b 0.75.
    """

    analyzer: str = "english"
    settings: Mapping[str, Any] = field(default_factory=dict)
    bm25: Bm25 | None = None

    @classmethod
    def parse(cls, text: str, bm25: Bm25 | None = None) -> Analysis:
        """Reads the analyzer: a name, or a JSON file of ``analysis`` settings that define a single one.

        Raises:
            TargetError: The file cannot be read or defines no analyzer, or several.
        """
        if not text.endswith(".json"):
            return cls(text, bm25=bm25)
        try:
            settings = orjson.loads(Path(text).read_bytes())
        except OSError as error:
            raise TargetError(f"--analyzer {text} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise TargetError(f"--analyzer {text} is no JSON: {error}.") from error
        names = list(settings.get("analyzer") or ()) if isinstance(settings, dict) else []
        if len(names) != 1:
            raise TargetError(
                f"--analyzer {text} defines {len(names)} analyzers; title and text have one. The file holds an index' "
                'analysis settings, such as {"analyzer": {"mine": {"tokenizer": "standard", "filter": ["lowercase"]}}}.'
            )
        return cls(names[0], settings, bm25)

    @property
    def index_settings(self) -> Json:
        """What an index' settings say of it."""
        similarity: Json = {"similarity": self.bm25.similarity} if self.bm25 else {}
        return similarity | ({"analysis": dict(self.settings)} if self.settings else {})
