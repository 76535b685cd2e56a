"""Options of ``osplade adapt`` that say what is learned from besides the documents, and the cluster they lie on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from opensearch_splade.cli import options
from opensearch_splade.plugin.client import connect
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.training.pseudo_queries import Pair

_Decorated = Callable[..., Any]


@dataclass(frozen=True)
class Data:
    """What is learned from.

    Attributes:
        queries: Files of what users asked.
        generator: ``module:function`` that asks questions of documents.
        language: Of BM25's words; ``None`` takes them as they are.
        url: The cluster of indices.
        insecure: Whether its certificate is not verified.
    """

    queries: tuple[Path, ...]
    generator: str | None
    language: Literal["english"] | None
    url: str | None
    insecure: bool

    @cached_property
    def _client(self) -> OpenSearch:
        return connect(self.url, insecure=self.insecure)

    def client(self, source: str) -> OpenSearch | None:
        """Of ``index:NAME``; files need no cluster, and an index with a URL of its own is asked there."""
        named = source.startswith("index:") and (self.url or "://" not in source)
        return self._client if named else None

    def pairs(self, documents: Sequence[Document], seed: int, folder: Path | None) -> list[Pair]:
        """Questions of users and of the generator, kept in the folder if there is one."""
        from opensearch_splade.training.generator import generated_pairs
        from opensearch_splade.training.query_logs import log_pairs

        asked = log_pairs(self.queries, documents, seed=seed, language=self.language) if self.queries else []
        return asked + (generated_pairs(self.generator, documents, folder) if self.generator else [])


def data(function: _Decorated) -> _Decorated:
    """``--queries``, ``--generator``, ``--language`` and the cluster's, as one ``data``."""

    @wraps(function)
    def with_data(
        *arguments: Any,
        queries: tuple[Path, ...],
        generator: str | None,
        language: str,
        url: str | None,
        insecure: bool,
        **more: Any,
    ) -> Any:
        words: Literal["english"] | None = "english" if language == "english" else None
        return function(*arguments, data=Data(queries, generator, words, url, insecure), **more)

    made: _Decorated = with_data
    for option in (options.cluster, _LANGUAGE, _GENERATOR, _QUERIES):
        made = option(made)
    return made


_QUERIES = click.option(
    "--queries",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What users asked: questions, a slow log, search bodies or a click log; repeatable.",
)
_GENERATOR = click.option(
    "--generator", metavar="MODULE:FUNCTION", help="A function of yours: documents to a list of questions for each."
)
_LANGUAGE = click.option(
    "--language",
    type=click.Choice(["english", "none"]),
    default="english",
    show_default=True,
    help="Of BM25 as a teacher: english takes stems without stop words, none takes words as they are.",
)
