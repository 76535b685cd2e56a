"""A training step: ours against sentence-transformers' own trainer, on the same batch, in one run.

    pip install --no-deps datasets==4.4.1 multiprocess dill xxhash pandas    # what their trainer reads
    python benchmarks/training.py
    python benchmarks/training.py --pairs 8 --length 256 --rounds 3 --json

Same weights (splade-tiny), same texts, same losses (contrastive over all documents of the batch, and FLOPS), AdamW,
questions looked up in a table, float32. A batch is so many questions, each with its document and another one. Every
system runs in a process of its own; they take turns within each round, and a ratio is taken within its round. Printed
are seconds of a step (median, without the first two) and the peak of the process' memory, with what it had before the
first step beside it. ``ours bf16`` and ``ours, all columns`` are the same trainer with another ``precision``, and
without drawing columns of the vocabulary. Texts and weights: ../shared beside the checkout, or
OPENSEARCH_SPLADE_SHARED.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from corpora import SHARED, texts_of
from rich.console import Console
from rich.table import Table

from opensearch_splade.onnx_models.plan import processor, usable_cores
from opensearch_splade.types import Document

CHECKPOINT = SHARED / "models" / "splade-tiny"
PEER = "sentence-transformers"
_WARM = 2
"""First steps that are not counted."""


@click.command()
@click.option("--pairs", default=18, show_default=True, help="Questions of a batch; twice as many documents.")
@click.option("--length", default=192, show_default=True, help="Tokens of a text.")
@click.option("--steps", default=8, show_default=True, help="Of each run.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(pairs: int, length: int, steps: int, rounds: int, *, as_json: bool) -> None:
    """What a step costs."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for _ in range(rounds):
        for name in SYSTEMS:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
                found[name].append(own.submit(measured, name, pairs, length, steps).result())
    if as_json:
        print(json.dumps({"processor": processor(), "cores": usable_cores(), "systems": found}))
        return
    table = Table("system", "s a step", "times as fast", "over the rounds", "peak MiB", "before", "share of the peer's")
    for name, runs in found.items():
        ratios = [peer["seconds"] / run["seconds"] for run, peer in zip(runs, found[PEER], strict=True)]
        peaks = [run["peak"] / peer["peak"] for run, peer in zip(runs, found[PEER], strict=True)]
        table.add_row(
            name,
            f"{statistics.median(run['seconds'] for run in runs):.2f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{statistics.median(run['peak'] for run in runs):,.0f}",
            f"{statistics.median(run['before'] for run in runs):,.0f}",
            f"{statistics.median(peaks):.2f}",
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", PEER))
    Console(width=120).print(f"{processor()}, {usable_cores()} cores; {versions}", table)


def measured(name: str, pairs: int, length: int, steps: int) -> dict[str, float]:
    """Seconds of a step, and MiB of the process at its peak and before its first step."""
    warnings.simplefilter("ignore")
    texts = texts_of("scifact", 2 * pairs * steps)
    with tempfile.TemporaryDirectory() as folder:
        run = SYSTEMS[name](texts, pairs, length, steps, Path(folder))
        before = _peak()
        ends = [time.monotonic()]
        run(lambda: ends.append(time.monotonic()))
    return {"seconds": statistics.median(np.diff(ends)[_WARM:].tolist()), "peak": _peak(), "before": before}


def question(text: str) -> str:
    """The first dozen words of an abstract: as long as a claim."""
    return " ".join(text.split()[:12])


Run = Callable[[Callable[[], Any]], None]


def ours(texts: Sequence[str], pairs: int, length: int, steps: int, folder: Path, *, changed: Mapping[str, Any]) -> Run:
    """A run of ours: each question's document and one near it, which here is the next one."""
    from opensearch_splade.onnx_models.query_tables import count_idf
    from opensearch_splade.training.held_back import HeldBack
    from opensearch_splade.training.lessons import Lessons
    from opensearch_splade.training.pseudo_queries import Pair
    from opensearch_splade.training.recipe import Recipe
    from opensearch_splade.training.trainable import TrainableEncoder
    from opensearch_splade.training.trainer import Trainer

    said = {"precision": "fp32", **changed}
    recipe = Recipe(
        steps=steps,
        batch=pairs,
        neighbours=1,
        questions=pairs,
        max_length=length,
        kl=0,
        anchor=0,
        info_nce=1,
        hidden=0,
        watch_every=10_000,
        **said,
    )
    encoder = TrainableEncoder(str(CHECKPOINT), length, precision=said["precision"])
    documents = [Document(str(place), text) for place, text in enumerate(texts)]
    asked = [Pair(question(text), place, "judged") for place, text in enumerate(texts)]
    groups = np.arange(len(texts))
    near = ((groups[:, None] + 1) % len(texts)).astype(np.int32)
    idf = count_idf(texts, encoder.tokenizer, encoder.vocabulary)
    held = HeldBack(asked[:1], texts[:2], groups[:2])
    lessons = Lessons(asked, documents, groups, list(range(len(texts))), near, [], idf, held)
    trainer = Trainer(encoder, [lessons], idf, recipe, folder)
    return lambda tell: trainer.run(lambda _: tell())


def peer(texts: Sequence[str], pairs: int, length: int, steps: int, folder: Path) -> Run:
    """Sentence-transformers' trainer, an inference-free model as its documentation makes one."""
    from datasets import Dataset
    from sentence_transformers import SparseEncoder, SparseEncoderTrainer, SparseEncoderTrainingArguments
    from sentence_transformers.models import Router
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SparseStaticEmbedding, SpladePooling
    from transformers import TrainerCallback

    documents = MLMTransformer(str(CHECKPOINT), max_seq_length=length)
    router = Router.for_query_document(
        query_modules=[SparseStaticEmbedding(tokenizer=documents.tokenizer, frozen=True)],
        document_modules=[documents, SpladePooling("max")],
    )
    model = SparseEncoder(modules=[router], similarity_fn_name="dot", device="cpu")
    loss = SpladeLoss(model, SparseMultipleNegativesRankingLoss(model), document_regularizer_weight=2e-3)
    rows = Dataset.from_dict(
        {
            "anchor": [question(text) for text in texts[::2]],
            "positive": list(texts[::2]),
            "negative": list(texts[1::2]),
        }
    )
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=pairs,
        learning_rate=5e-4,
        use_cpu=True,
        router_mapping={"anchor": "query", "positive": "document", "negative": "document"},
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )

    def run(tell: Callable[[], Any]) -> None:
        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                tell()

        SparseEncoderTrainer(model=model, args=arguments, train_dataset=rows, loss=loss, callbacks=[Clock()]).train()

    return run


def _ours(**changed: Any) -> Callable[..., Run]:
    def made(*given: Any) -> Run:
        return ours(*given, changed=changed)

    return made


SYSTEMS: Mapping[str, Callable[..., Run]] = {
    PEER: peer,
    "ours": _ours(),
    "ours bf16": _ours(precision="bf16"),
    "ours, all columns": _ours(columns=None),
}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
