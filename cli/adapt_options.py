"""Options of ``osplade adapt`` that say what is learned from besides the documents, and the cluster they lie on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from opensearch_splade.cli import options
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.plugin.client import connect
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.training.cluster_negatives import ClusterIndex
    from opensearch_splade.training.pseudo_queries import Pair

_Decorated = Callable[..., Any]


@dataclass(frozen=True)
class Data:
    """What is learned from.

    Attributes:
        queries: Files of what users asked.
        generator: ``module:function`` that asks questions of documents.
        mine_from: Index whose rankings give hard negatives.
        language: Of BM25's words; ``None`` takes them as they are.
        url: The cluster of indices.
        insecure: Whether its certificate is not verified.
    """

    queries: tuple[Path, ...]
    generator: str | None
    mine_from: str | None
    language: Literal["english"] | None
    url: str | None
    insecure: bool

    @cached_property
    def _client(self) -> OpenSearch:
        return connect(self.url, insecure=self.insecure)

    def client(self, *sources: str) -> OpenSearch | None:
        """Of ``index:NAME``; files need no cluster, and an index with a URL of its own is asked there."""
        named = any(source.startswith("index:") and (self.url or "://" not in source) for source in sources)
        return self._client if named else None

    def pairs(self, documents: Sequence[Document], seed: int, folder: Path | None) -> list[Pair]:
        """Questions of users and of the generator, kept in the folder if there is one."""
        from opensearch_splade.training.generator import generated_pairs
        from opensearch_splade.training.query_logs import log_pairs

        asked = log_pairs(self.queries, documents, seed=seed, language=self.language) if self.queries else []
        return asked + (generated_pairs(self.generator, documents, folder) if self.generator else [])

    def mined(self, fields: FieldMap, bundles: Iterable[str]) -> ClusterIndex | None:
        """The index to mine from, which one of the bundles may have encoded."""
        from opensearch_splade.training.cluster_negatives import ClusterIndex

        if self.mine_from is None:
            return None
        known = [name for name in bundles if name != "bm25" and not name.startswith("cross-encoder:")]
        return ClusterIndex(self._client, self.mine_from, [*filter(None, (fields.title, *fields.texts))], known)


def data(function: _Decorated) -> _Decorated:
    """``--queries``, ``--generator``, ``--mine-from``, ``--language`` and the cluster's, as one ``data``."""

    @wraps(function)
    def with_data(
        *arguments: Any,
        queries: tuple[Path, ...],
        generator: str | None,
        mine_from: str | None,
        language: str,
        url: str | None,
        insecure: bool,
        **more: Any,
    ) -> Any:
        words: Literal["english"] | None = "english" if language == "english" else None
        return function(*arguments, data=Data(queries, generator, mine_from, words, url, insecure), **more)

    made: _Decorated = with_data
    for option in (options.cluster, _LANGUAGE, _MINE_FROM, _GENERATOR, _QUERIES):
        made = option(made)
    return made


def _index_name(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    name = text.removeprefix("index:")
    if name == text or not name or "/" in name:
        raise click.BadParameter(f"{text!r}: write index:NAME, and name its cluster with --url.")
    return name


_QUERIES = click.option(
    "--queries",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What users asked: questions, a slow log, search bodies or a click log; repeatable.",
)
_GENERATOR = click.option(
    "--generator", metavar="MODULE:FUNCTION", help="A function of yours: documents to a list of questions for each."
)
_MINE_FROM = click.option(
    "--mine-from",
    metavar="index:NAME",
    callback=_index_name,
    help="An index of these documents, whose rankings (BM25, its vectors) give hard negatives too.",
)
_LANGUAGE = click.option(
    "--language",
    type=click.Choice(["english", "none"]),
    default="english",
    show_default=True,
    help="Of BM25 as a teacher: english takes stems without stop words, none takes words as they are.",
)
