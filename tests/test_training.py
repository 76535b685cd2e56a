"""Training for real on Python's documentation: it gets better, and a kill changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from opensearch_splade.errors import TrainingError
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Device
from opensearch_splade.onnx_models.query_tables import count_idf
from opensearch_splade.training.held_back import HeldBack
from opensearch_splade.training.lessons import Lessons, Material, lessons
from opensearch_splade.training.nearest import nearest
from opensearch_splade.training.pseudo_queries import Pair, make_pairs
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teachers import DenseTeacher
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import BEST, STATE, StepReport, Trainer
from opensearch_splade.training.training_state import load_state
from opensearch_splade.types import Document

pytestmark = pytest.mark.export

RECIPE = Recipe(
    steps=50,
    batch=3,
    neighbours=3,
    questions=60,
    columns=400,
    max_length=24,
    learning_rate=3e-3,
    watch_every=10,
    anchor=0.05,  # a student of random weights has little to be held to
    expansion=0.0,
    terms=300,
    patience=99,
    precision="fp32",
)


def trainer(checkpoint: Path, folder: Path, recipe: Recipe = RECIPE) -> Trainer:
    """A run on a few hundred entries of Python's documentation, taught by BM25."""
    documents = [one for one in islice(read_source("pydoc:"), 150) if isinstance(one, Document)]
    material = Material.split(documents, make_pairs(documents))
    encoder = TrainableEncoder(str(checkpoint), recipe.max_length or 24, lora=recipe.lora, seed=recipe.seed)
    idf = count_idf(material.texts, encoder.tokenizer, encoder.vocabulary)
    lesson = lessons(material, {"bm25": 1.0}, "bm25", idf, folder / "teachers", Device(), recipe)
    folder.mkdir(exist_ok=True)
    return Trainer(encoder, [lesson], idf, recipe, folder)


def stopped_and_resumed(checkpoint: Path, folder: Path, recipe: Recipe, at: int) -> Trainer:
    """A run that an exception ends after a step, and the one that goes on, as it stands before its first step."""

    def stop(report: StepReport) -> None:
        if report.step == at:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trainer(checkpoint, folder, recipe).run(stop)
    return trainer(checkpoint, folder, recipe)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights and a WordPiece vocabulary of Python's documentation."""
    texts = [one.passage for one in islice(read_source("pydoc:"), 150) if isinstance(one, Document)]
    return small_bert(tmp_path_factory.mktemp("student") / "student", texts)


def small_bert(folder: Path, texts: Sequence[str]) -> Path:
    """One layer, most terms active."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, words)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=48, **{f"{name}_token": token for name, token in names.items()}
    )
    torch.manual_seed(5)
    shape = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 96}
    config = BertConfig(vocab_size=len(fast), **shape, max_position_embeddings=48, initializer_range=0.2)
    BertForMaskedLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepReport], float]:
    """A run that nobody interrupts: its folder, what it told, and the measurement before it."""
    folder, told = tmp_path_factory.mktemp("whole"), list[StepReport]()
    run = trainer(checkpoint, folder)
    run.run(told.append)
    return folder, told, run.first


def test_the_loss_falls_and_so_do_the_terms(whole: tuple[Path, list[StepReport], float]) -> None:
    """Of Python's documentation: the student comes nearer to its teacher while its documents become sparser."""
    _, told, first = whole
    assert len(told) == RECIPE.steps
    losses = [report.loss for report in told]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert told[-1].terms < 0.6 * told[0].terms
    assert told[-1].best >= first


def test_training_finds_what_shares_no_word_with_the_question(tmp_path: Path) -> None:
    """Documents say one word, questions another for the same: only what learns that finds them, in so many terms."""
    chance = np.random.default_rng(2)
    left, right = ([f"{side}{chr(97 + one // 6)}{chr(97 + one % 6)}" for one in range(30)] for side in ("le", "ri"))
    drawn = [chance.choice(30, 4, replace=False) for _ in range(260)]
    texts = [" ".join(left[word] for word in one) for one in drawn]
    pairs = [Pair(" ".join(right[word] for word in one), place, "judged") for place, one in enumerate(drawn)]
    meaning = np.zeros((260, 30), np.float32)
    for place, one in enumerate(drawn):
        meaning[place, one] = 1
    folder = small_bert(tmp_path / "student", texts + [pair.query for pair in pairs])
    recipe = RECIPE.model_copy(
        update={"steps": 300, "watch_every": 100, "learning_rate": 5e-3, "terms": 12, "columns": None}
    )
    encoder = TrainableEncoder(str(folder), recipe.max_length or 24)
    places, teacher = np.arange(260), DenseTeacher(1.0, meaning[:220], meaning)
    near = nearest([teacher], list(range(220)), places, 20)
    documents = [Document(str(place), text) for place, text in enumerate(texts)]
    held = HeldBack(pairs[220:], texts[220:] + texts[:220], np.roll(places, 40))
    idf = dict.fromkeys(encoder.vocabulary.ids, 1.0)
    lesson = Lessons(pairs[:220], documents, places, list(range(220)), near, [teacher], idf, held)
    run = Trainer(encoder, [lesson], idf, recipe, tmp_path)
    told = list[StepReport]()
    run.run(told.append)
    assert run.first < 0.2
    assert run.best > 0.5
    assert told[-1].terms == pytest.approx(12, rel=0.25)


def test_a_killed_run_goes_on_to_the_same_weights(
    checkpoint: Path, whole: tuple[Path, list[StepReport], float], tmp_path: Path
) -> None:
    """SIGKILL in the middle, then the same call again: to the last bit what the run without a kill has."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom test_training import trainer\n"
        f"trainer(Path({str(checkpoint)!r}), Path({str(tmp_path)!r})).run()"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / STATE).exists() or load_state(tmp_path / STATE)[1]["step"] < 10:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = trainer(checkpoint, tmp_path)
    assert 10 <= resumed.step < RECIPE.steps
    resumed.run()
    for name in (STATE, BEST):
        expected, values = load_state(whole[0] / name)
        found, others = load_state(tmp_path / name)
        assert found.keys() == expected.keys()
        assert all(bool((found[key] == expected[key]).all()) for key in expected)
        assert {**others, "seconds": 0} == {**values, "seconds": 0}


def test_a_state_of_another_recipe_is_refused(checkpoint: Path, whole: tuple[Path, list[StepReport], float]) -> None:
    """Two recipes in one folder would be neither; the error names the file and what to do."""
    with pytest.raises(TrainingError, match=r"state\.safetensors is of a run with another recipe; remove it"):
        trainer(checkpoint, whole[0], RECIPE.model_copy(update={"batch": 4}))


def test_time_that_is_used_up_ends_it(checkpoint: Path, tmp_path: Path) -> None:
    """A budget of nothing still leaves a model: the one it began with."""
    run = trainer(checkpoint, tmp_path)
    run.run(seconds=0)
    assert run.step == 0
    assert run.best == run.first >= 0


def test_learned_query_weights_begin_with_the_idf_and_move(checkpoint: Path, tmp_path: Path) -> None:
    """With a learned table the questions' weights are trained too, and none becomes negative."""
    run = trainer(
        checkpoint,
        tmp_path,
        RECIPE.model_copy(update={"learned_queries": True, "steps": 6, "watch_every": 3, "patience": 99}),
    )
    before, told = run.query_weights(), list[dict[str, float]]()
    run.run(lambda _: told.append(run.query_weights()))
    after = told[-1]
    assert before.keys() == after.keys()
    assert before != after
    assert min(after.values()) > 0
