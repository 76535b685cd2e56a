"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
import orjson

from opensearch_splade.errors import QueryError
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.onnx_models import Device, shipped
from opensearch_splade.query import QueryPruning, SeismicSearch
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.rescoring import RESCORERS, SECOND_ALONE
from opensearch_splade.query.seismic_search import TOP_N

_Decorated = Callable[..., Any]


class _BundleType(click.ParamType[str]):
    """A bundle folder, or a shipped one by name (completed by tab)."""

    name = "bundle"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG002
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]
        # The folder entry first: click's bash script empties its list when it comes
        return [CompletionItem(incomplete, type="dir"), *names]


BUNDLE = _BundleType()

url = click.option(
    "--url",
    metavar="URL",
    help="The cluster: a URL (of several hosts: https://a:9200,b:9200) or a name of the connection file. [default: "
    "$OPENSEARCH_URL, else the file's default, else the running local node] Credentials: $OPENSEARCH_USER and "
    "$OPENSEARCH_PASSWORD, or another way of docs/security.md.",
)
insecure = click.option("--insecure", is_flag=True, help="Do not verify the server's TLS certificate.")
index = click.option("--index", required=True, metavar="NAME", help="The index (or, for searching, an alias).")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def address(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Callback of an option ``[HOST:]PORT``."""
    if text is None:
        return None
    host, _colon, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter(f"{text!r} is no PORT and no HOST:PORT; 9464 is an example.")
    return host.strip("[]") or "127.0.0.1", int(port)


def json_filter(text: str | None) -> dict[str, Any] | None:
    """The value of ``--filter``.

    Raises:
        QueryError: It is no query object.
    """
    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise QueryError(f"--filter is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise QueryError('--filter takes one query object, for example {"term": {"metadata.kind": "class"}}.')
    return found


def cluster(function: _Decorated) -> _Decorated:
    """``--url`` and ``--insecure``."""
    return url(insecure(function))


def device(function: _Decorated) -> _Decorated:
    """``--device``, parsed."""

    def parse(_: click.Context, __: click.Parameter, text: str) -> Device:
        return Device.parse(text)

    help_text = "cpu, cpu:THREADS, cuda, cuda:INDEX or tensorrt; several, such as cuda:0,cuda:1, share the documents."
    return click.option("--device", default="cpu", show_default=True, callback=parse, help=help_text)(function)


def _parse_pruning(_: click.Context, __: click.Parameter, text: str | None) -> QueryPruning | None:
    return QueryPruning.parse(text) if text is not None else None


def two_step(function: _Decorated) -> _Decorated:
    """``--two-step``, parsed."""
    help_text = (
        "Of one sparse ranking: the strongest features find candidates, all score them: top_k:8 or max_ratio:0.4."
    )
    return click.option("--two-step", metavar="KIND:VALUE", callback=_parse_pruning, help=help_text)(function)


def rescoring(function: _Decorated) -> _Decorated:
    """``--rescore``, ``--rescore-weights`` and ``--window``, the latter of ``--two-step`` too."""
    given = (
        click.option(
            "--rescore",
            type=click.Choice(RESCORERS),
            help="Of one ranking: the one that scores its best hits again.",
        ),
        click.option(
            "--rescore-weights",
            metavar="FIRST,SECOND",
            callback=_parse_pair,
            help="The hit's score is the sum of both by these. [default: 0,1]",
        ),
        click.option(
            "--window",
            type=click.IntRange(1, MAX_RESULT_WINDOW),
            default=CANDIDATES,
            show_default=True,
            help="How many hits of a shard --two-step or --rescore score again.",
        ),
    )
    for option in reversed(given):
        function = option(function)
    return function


def _parse_pair(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, float]:
    if text is None:
        return SECOND_ALONE
    try:
        first, second = map(float, text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: two numbers with a comma between them, such as 1,0.3.") from error
    return first, second


def query_encoders(function: _Decorated) -> _Decorated:
    """``--bundle``, ``--dense-bundle``, ``--query-prune`` and ``--seismic`` of commands that ask."""

    def parse_search(_: click.Context, __: click.Parameter, text: str | None) -> SeismicSearch | None:
        return SeismicSearch.parse(text) if text is not None else None

    options = (
        click.option(
            "--bundle", type=BUNDLE, help="Sparse bundle for questions. [default: the shipped one that made the index]"
        ),
        click.option(
            "--dense-bundle", type=BUNDLE, help="Dense bundle for questions. [default: the shipped one that made it]"
        ),
        click.option(
            "--query-prune",
            metavar="KIND:VALUE",
            callback=_parse_pruning,
            help="Ask with the strongest features only: max_ratio:0.1, top_k:16, or max_ratio:0.1,top_k:16.",
        ),
        click.option(
            "--seismic",
            metavar="KIND:VALUE",
            callback=parse_search,
            help="How thoroughly a sparse_vector field is searched: top_n:40 (features whose postings are looked "
            f"through, by default {TOP_N}), heap_factor:2 (more is slower and more exact), or both with a comma.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def text_fields(function: _Decorated) -> _Decorated:
    """``--title-field`` and ``--text-field`` of commands that read the passages of a source, as one ``fields``."""
    return _mapped(function, _TITLE_FIELD, _TEXT_FIELD)


def fields(function: _Decorated) -> _Decorated:
    """The whole field map of commands that read the documents of a source, as one ``fields``."""
    return _mapped(function, _ID_FIELD, _TITLE_FIELD, _TEXT_FIELD, _KEEP)


_ID_FIELD = click.option("--id-field", metavar="FIELD", help="The document's id. [default: _id, else id, else a hash]")
_TITLE_FIELD = click.option(
    "--title-field", metavar="FIELD", default="title", show_default=True, help="Indexed with the text where present."
)
_TEXT_FIELD = click.option(
    "--text-field",
    "text_fields",
    metavar="FIELD",
    multiple=True,
    default=("text",),
    help="The document's text; may be given several times: they are joined by a blank line. [default: text]",
)
_KEEP = click.option(
    "--keep",
    metavar="FIELD",
    multiple=True,
    help="Only this field passes through as metadata; may be given several times. [default: all others]",
)


def _mapped(function: _Decorated, *given: Callable[[_Decorated], _Decorated]) -> _Decorated:
    @wraps(function)
    def with_fields(
        *arguments: Any,
        title_field: str,
        text_fields: tuple[str, ...],
        id_field: str | None = None,
        keep: tuple[str, ...] = (),
        **more: Any,
    ) -> Any:
        return function(*arguments, fields=FieldMap(id_field, title_field, text_fields, keep or None), **more)

    made: _Decorated = with_fields
    for option in reversed(given):
        made = option(made)
    return made
