"""``osplade bundle``: what else a bundle is made into."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import click
import orjson

from opensearch_splade.cli import options
from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.analyzer_rules import ANALYZER, RULES_FILE, TOKENIZER, analyzer_rules, is_servers_own
from opensearch_splade.onnx_models.ml_commons_package import What
from opensearch_splade.onnx_models.ml_commons_package import pack as pack_for_ml_commons

Use = Literal["ml-commons", "analyzer"]


@click.group()
def bundle() -> None:
    """What OpenSearch itself can use, made from bundles."""


@bundle.command()
@click.argument("bundle", type=options.BUNDLE)
@click.option(
    "--for",
    "use",
    type=click.Choice(get_args(Use)),
    required=True,
    help="ml-commons: a model package, one zip. analyzer: question weights as index settings, without a model.",
)
@click.option(
    "--what",
    type=click.Choice(get_args(What)),
    help="Of ml-commons: what the model is for. [default: queries if the bundle has a table]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The zip (ml-commons) or the folder (analyzer).",
)
@click.option(
    "--rules-path",
    metavar="PATH",
    default=f"analysis/{RULES_FILE}",
    show_default=True,
    help="Of analyzer: where the rules will lie on every node, in its config folder.",
)
@click.option(
    "--inline",
    is_flag=True,
    help="Of analyzer: rules within the settings, where no file can be placed (1 MB of cluster state for each index).",
)
@click.option("--replace", is_flag=True, help="Replace what is there.")
@options.as_json
def pack(
    bundle: str,
    *,
    use: Use,
    what: What | None,
    out: Path,
    rules_path: str,
    inline: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Pack BUNDLE for use inside OpenSearch; the same bytes for the same bundle.

    Packages with a graph need the extra [export]. docs/ml-commons.md has what each kind can do, and how fast.

    \b
    Example:
      osplade bundle pack splade-tiny-idf --for ml-commons --what queries -o tokenizer.zip
      osplade bundle pack splade-tiny-idf --for analyzer -o my-analyzer
    """
    if what and use == "analyzer":
        raise click.BadParameter(
            "only model packages are for something; an analyzer is for queries", param_hint="--what"
        )
    if out.exists() and not replace:
        raise BundleError(f"{out} exists already: give another name, or --replace")
    opened = Bundle.open(bundle)
    if use == "ml-commons":
        told = _packed(opened, out, what)
        lines = [f"{told['path']}: {told['function']}, {told['bytes']:,} bytes, sha256 {told['sha256']}"]
    else:
        told = _analyzer(opened, out, None if inline else rules_path)
        lines = told["to_do"]
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        click.echo("\n".join(lines))


def _packed(bundle: Bundle, out: Path, what: What | None) -> dict[str, Any]:
    packed = pack_for_ml_commons(bundle, out, what)
    return {
        "path": str(packed.path),
        "function": packed.function,
        "model_config": packed.config,
        "sha256": packed.sha256,
        "bytes": packed.path.stat().st_size,
        "fingerprint": packed.fingerprint,
    }


def _analyzer(bundle: Bundle, out: Path, rules_path: str | None) -> dict[str, Any]:
    if is_servers_own(bundle):
        line = f'this table is OpenSearch\'s own: ask with "analyzer": "{TOKENIZER}", nothing is to be placed or set'
        return {"analyzer": TOKENIZER, "files": [], "fingerprint": bundle.manifest.fingerprint, "to_do": [line]}
    rules = analyzer_rules(bundle)
    files = rules.write(out, rules_path)
    return {
        "analyzer": ANALYZER,
        "files": [str(path) for path in files],
        "rules": len(rules.rules),
        "fingerprint": rules.fingerprint,
        "to_do": [
            *([f"place {files[-1]} as config/{rules_path} on every node"] if rules_path else []),
            f"make the index with the settings of {files[0]}",
            f'ask with "analyzer": "{ANALYZER}" in neural_sparse',
        ],
    }
