"""``osplade search``."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import click
import orjson
from click.core import ParameterSource

from opensearch_splade.cli import options
from opensearch_splade.cli.explaining import as_json as hit_json
from opensearch_splade.cli.explaining import marked
from opensearch_splade.cli.explanation_page import explanation_page
from opensearch_splade.cli.feedback_options import feedback as feedback_option
from opensearch_splade.cli.rendering import hits_table, printer
from opensearch_splade.cli.wiring import QUERY_SIDES, QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import QueryError
from opensearch_splade.ingest.plug_ins import plug_in
from opensearch_splade.query import (
    Feedback,
    LearnedRescorer,
    Options,
    QueryPruning,
    Rocchio,
    SeismicSearch,
    parse_boost,
    search_learned,
    search_with_contexts,
)

_NEXT = (
    "the second one's weights depend on the documents that it finds",
    "the texts are asked in searches of their own",
)
_STAGES = ("two_step", "rescore", "rescore_weights", "window")
_ALONE = (
    "mode",
    "weights",
    "query_side",
    "boosts",
    "feedback",
    "expand",
    "passages",
    "explain",
    "html",
    "timeout",
    "dry_run",
)
_NOT_BESIDE_RESCORER = (*_ALONE, *_STAGES)


@click.command()
@click.argument("question")
@options.index
@click.option(
    "--mode",
    default="hybrid",
    show_default=True,
    help="bm25, weighted-terms, neural-sparse, knn, hybrid, or several as bm25+knn or bm25+neural-sparse:rrf "
    "(also :l2, :z_score, :min_max/geometric, :linear and others).",
)
@click.option(
    "--weights", metavar="NUMBERS", help="Of the rankings that are fused, in their order, such as 0.4,0.2,0.4."
)
@click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True)
@click.option("--size", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Hits to show.")
@click.option(
    "--filter", "filter_", metavar="JSON", help='A query that hits must match, e.g. {"term":{"metadata.kind":"class"}}.'
)
@click.option(
    "--feature",
    "added",
    metavar="FIELD=VALUE[*WEIGHT]",
    multiple=True,
    help="Also ask for a feature that ingest added (--feature-field); repeatable.",
)
@click.option(
    "--boost",
    "boosts",
    metavar="FIELD=VALUE*BOOST",
    multiple=True,
    help="Add a constant to the score where a field has a value, or, as FIELD:FUNCTION[:NUMBER][*BOOST], a number of "
    "the document (saturation, log, sigmoid, linear); repeatable.",
)
@options.two_step
@feedback_option
@click.option(
    "--expand",
    metavar="MODULE:FUNCTION",
    help="Your own function from the question to texts; the question is also asked with each of them, and fused.",
)
@options.rescoring
@click.option(
    "--rescorer",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Rank by what osplade tune-search --save-rescorer learned; the file says which rankings are asked.",
)
@click.option(
    "--passages",
    metavar="SCORE",
    help="How documents are scored by their passages: max, sum, avg, whole, sum@3 or mixed:0.5/whole. [default: max]",
)
@click.option("--explain", is_flag=True, help="Show what each feature gave to the score.")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the explanation as one HTML page; implies --explain.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Take what the server has found by then.")
@click.option("--dry-run", is_flag=True, help="Print the search body and send nothing.")
@options.query_encoders
@options.cluster
@options.as_json
def search(
    question: str,
    *,
    index: str,
    mode: str,
    weights: str | None,
    query_side: str,
    size: int,
    filter_: str | None,
    added: tuple[str, ...],
    boosts: tuple[str, ...],
    two_step: QueryPruning | None,
    feedback: Feedback | Rocchio | None,
    expand: str | None,
    rescore: str | None,
    rescore_weights: tuple[float, float],
    window: int,
    rescorer: Path | None,
    passages: str | None,
    explain: bool,
    html: Path | None,
    timeout: float | None,
    dry_run: bool,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Ask an index QUESTION.

    \b
    Example:
      osplade search "read a csv file into dictionaries" --index osplade-demo --explain
      osplade search "vitamin d and bone density" --index scifact --mode bm25+knn --json
      osplade search "vitamin d and bone density" --index scifact --query-side siamese --query-prune top_k:16
      osplade search "vitamin d and bone density" --index scifact --mode neural-sparse --two-step top_k:8 --window 500
      osplade search "vitamin d and bone density" --index scifact --mode bm25 --rescore neural-sparse
      osplade search "vitamin d and bone density" --index scifact --mode bm25+knn --weights 0.4,0.6
      osplade search "vitamin d and bone density" --index scifact --html why.html --timeout 2
      osplade search "vitamin d and bone density" --index scifact --mode neural-sparse --feedback rm3:3:100:0.7
      osplade search "vitamin d and bone density" --index scifact --relevant 22543403 --irrelevant 7912579
      osplade search "vitamin d and bone density" --index scifact --expand synonyms:of
      osplade search "vitamin d and bone density" --index scifact --rescorer learned.json
      osplade search "discovery of radium" --index papers --feature "who=Marie Curie*2" --explain
      osplade search "read a csv file" --index osplade-demo --boost metadata.kind=class*0.1 --explain
    """
    contexts = plug_in(expand, "--expand") if expand else None
    cluster = open_cluster(url, insecure=insecure)
    searchers = open_searchers(
        cluster, index, QueryBundles(bundle, dense_bundle, query_prune, seismic, added), query_side
    )
    searcher = next(iter(searchers.values()))
    explain = explain or html is not None
    asked: Options = {
        "mode": mode,
        "size": size,
        "filter": options.json_filter(filter_),
        "explain": explain,
        "weights": _weights(weights),
        "two_step": two_step,
        "boosts": [parse_boost(boost) for boost in boosts],
        "rescore": rescore or "",
        "rescore_weights": rescore_weights,
        "window": window,
        "passages": passages,
        "timeout": timeout,
        "feedback": feedback,
    }
    if rescorer:
        _refuse_beside_rescorer()
    if dry_run:
        body = searcher.first_body(question, **asked) if feedback else searcher.body(question, **asked)
        click.echo(orjson.dumps(body, option=0 if as_json else orjson.OPT_INDENT_2))
        if feedback or expand:
            click.echo(f"note: this is the first search only; {_NEXT[feedback is None]}", err=True)
        return
    if rescorer:
        model = LearnedRescorer.read(rescorer)
        result = search_learned(searchers, question, model, size=size, filter=options.json_filter(filter_))
    elif contexts:
        result = search_with_contexts(searcher, question, contexts, **asked)
    else:
        result = searcher.search(question, **asked)
    texts = [marked(hit, searcher) for hit in result.hits] if explain else []
    if html:
        html.write_text(explanation_page(question, mode, result, texts), encoding="utf-8")
    if as_json:
        hits = [hit_json(*each) for each in zip_longest(result.hits, texts)]
        click.echo(orjson.dumps({"took_ms": result.took_ms, "notices": result.notices, "hits": hits}))
        return
    # Ids and texts may look like rich's markup.
    printer().print(hits_table(result, texts), markup=False)
    for notice in result.notices:
        click.echo(f"note: {notice}", err=True)


def _refuse_beside_rescorer() -> None:
    """What a learned rescoring decides itself, or has not."""
    context = click.get_current_context()
    for name in _NOT_BESIDE_RESCORER:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise QueryError(f"--rescorer asks the rankings that it was learned with, as they are: no --{option}")


def _weights(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(one) for one in text.split(",")]
    except ValueError as error:
        raise QueryError(f"--weights {text}: numbers with commas between them, one for each ranking.") from error
