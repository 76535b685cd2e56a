"""What the parts of ``osplade adapt`` are worth: the default recipe against ones that lack a part, on a collection.

    python benchmarks/ablation.py ../shared/data/cacm --checkpoint ../shared/models/splade-tiny --steps 600 --terms 100
    python benchmarks/ablation.py ../shared/data/cacm --checkpoint ../shared/models/splade-tiny --only "plain FLOPS"

Every variant is trained by the command itself, label-free, on the collection's documents, for as many steps, from the
same seed, and held to the same number of terms: while training on average, and then each document by its strongest.
Printed is nDCG@10 by exact scores with the collection's idf, and the difference from the default recipe with its 95 %
interval and p (paired randomisation). A run that was interrupted goes on; ``--work`` keeps everything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.comparison import Comparison, sides_on_collection
from opensearch_splade.training.recipe import Recipe

BUNDLE, DEFAULT = "splade-tiny-idf", "default"
TEACHERS = ("bm25", "minilm-l6")
VARIANTS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    DEFAULT: ({}, TEACHERS),
    "plain FLOPS": ({"balance": 0.0}, TEACHERS),
    "FLOPS by the whole idf": ({"balance": 1.0}, TEACHERS),
    "BM25 alone": ({}, ("bm25",)),
    "MiniLM alone": ({}, ("minilm-l6",)),
    "no anchors": ({"anchor": 0.0}, TEACHERS),
    "anchors without counts": ({"frequency": 0.0}, TEACHERS),
    "anchors alone": ({"kl": 0.0, "info_nce": 0.0}, TEACHERS),
    "no contrast": ({"info_nce": 0.0}, TEACHERS),
}


@click.command()
@click.argument("collection", metavar="FOLDER")
@click.option("--checkpoint", required=True, help="Folder of splade-tiny's weights.")
@click.option("--steps", default=600, show_default=True)
@click.option("--terms", default=100, show_default=True, help="Of a document.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Besides the default; repeatable.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("ablation"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    collection: str,
    checkpoint: str,
    steps: int,
    terms: int,
    seed: int,
    only: tuple[str, ...],
    work: Path,
    *,
    as_json: bool,
) -> None:
    """Differences from the default recipe."""
    judged = load_collection(collection)
    names = [DEFAULT, *(only or [name for name in VARIANTS if name != DEFAULT])]
    made = {name: str(trained(name, judged, checkpoint, steps, terms, seed, work)) for name in names}
    made["untrained"] = BUNDLE
    default, *others = sides_on_collection(list(made.values()), judged, Device(), float(terms))
    found = {name: Comparison.of(judged.name, (default, side)) for name, side in zip([*made][1:], others, strict=True)}
    if as_json:
        print(json.dumps({name: told(one) for name, one in found.items()}))
        return
    Console().print(table(found, f"{judged.name}: {steps} steps, {terms} terms, seed {seed}"))


def trained(name: str, collection: Collection, checkpoint: str, steps: int, terms: int, seed: int, work: Path) -> Path:
    """The bundle of a variant; teachers' vectors are shared by all."""
    changed, teachers = VARIANTS[name]
    out = work / collection.name / f"{name.replace(' ', '-')}-{steps}-{terms}-{seed}"
    if (out / "bundle.json").exists():
        return out
    state = out.with_name(f"{out.name}.training")
    state.mkdir(parents=True, exist_ok=True)
    for kept in ("teachers", "anchors"):
        shared = work.resolve() / collection.name / kept
        shared.mkdir(exist_ok=True)
        if not (state / kept).exists():
            (state / kept).symlink_to(shared)
    recipe = state / "asked.json"
    values = {"steps": steps, "terms": terms, "seed": seed, "watch_every": steps, **changed}
    recipe.write_text(Recipe(**values).model_dump_json(), encoding="utf-8")
    chosen = [part for one in teachers for part in ("--teacher", one)]
    command = "from opensearch_splade.cli.main import main; main()"
    asked = ["adapt", collection.source, "--bundle", BUNDLE, "--checkpoint", checkpoint, "--out", str(out)]
    subprocess.run([sys.executable, "-c", command, *asked, "--recipe", str(recipe), *chosen], check=True)
    return out


def told(one: Comparison) -> dict[str, Any]:
    """A variant's figures."""
    low, high = one.interval
    difference = one.new.ndcg - one.old.ndcg
    return {
        "ndcg": one.new.ndcg,
        "terms": one.new.terms,
        "difference": difference,
        "interval": [low, high],
        "p": one.p_value,
    }


def table(found: Mapping[str, Comparison], title: str) -> Table:
    """For people."""
    shown = Table("", "nDCG@10", "terms", "against the default", "95 %", "p", title=title)
    default = next(iter(found.values())).old
    shown.add_row(DEFAULT, f"{default.ndcg:.4f}", f"{default.terms:.0f}", "", "", "")
    for name, values in ((name, told(one)) for name, one in found.items()):
        low, high = values["interval"]
        figures = (f"{values['ndcg']:.4f}", f"{values['terms']:.0f}", f"{values['difference']:+.4f}")
        shown.add_row(name, *figures, f"{low:+.4f} to {high:+.4f}", f"{values['p']:.3f}")
    return shown


if __name__ == "__main__":
    main()
