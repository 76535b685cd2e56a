"""Recipe: every choice of a training run, as one value that is written beside what was trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opensearch_splade.training.lexical import Language
from opensearch_splade.training.teachers import Normalisation

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
TrainingPrecision = Literal["fp32", "bf16"]


class Recipe(BaseModel):
    """How a student is trained.

    Attributes:
        kind: Whether questions are looked up in a table (``inference-free``) or encoded by the student (``siamese``).
        steps: Optimizer steps; a budget changes them while it runs.
        batch: Neighbourhoods of a step; see ``neighbourhoods``.
        neighbours: Documents of one, besides the answer.
        questions: Of a step, at most.
        columns: Terms that a step computes besides those of its questions and documents; ``None`` is all: ``columns``.
        hidden: Share of the titles and sentences asked that are hidden from their document.
        cached: Texts that are encoded at once: a large batch in the memory of a small one, at the price of encoding
            twice (``gradient_cache``). ``None`` encodes a batch in one go.
        precision: ``bf16`` multiplies in bfloat16, weights and gradients stay in float32: for GPUs, and for processors
            that know it. ``None``: whichever is faster here, which the plan then says.
        max_length: Tokens of a text that are read, while training and by the bundle that comes out. ``None``: as many
            as nineteen of twenty documents have, at least what the old bundle reads and at most 512.
        learning_rate: Its highest value; it rises over the first twentieth and then falls to 0 in a line.
        kl: Weight of the distillation from the teachers' distribution.
        info_nce: Weight of the contrastive loss.
        margin_mse: Weight of the squared difference of margins.
        anchor: Weight of what holds documents' terms to their anchors (``anchors``), of inference-free students.
        frequency: Part of BM25's counts (each less than 1) in an anchor; weights before training count 1.
        expansion: How much a term that does not stand in a document is held to its anchor; one that does counts 1.
        scale: What the teachers' scores, once in [0, 1], are multiplied by: how sure of themselves they are.
        normalisation: Of each teacher's scores of a question.
        language: Of BM25's words; see ``lexical.Lexical``.
        terms: Terms of a document that the penalty is to reach on average; ``None`` keeps the penalty's first weight.
        penalty: Its first weight.
        balance: 0 is plain FLOPS, 1 divides each term's by its idf; see ``losses.idf_price``.
        query_penalty: Of siamese questions, as a multiple of the documents' penalty.
        spared: Documents of at most so many terms pay no penalty (l0 mask); ``None`` lets all pay.
        head: ``scalar`` takes the checkpoint's body alone and gives it one weight per token of the text (uniCOIL).
        activation: For checkpoints that do not state theirs.
        learned_queries: Whether the query weights are learned too, beginning with the idf.
        seed: Of everything that is drawn.
        watch_every: Steps between two measurements of the held-back questions and two states on disk.
        patience: Measurements without a better one after which the training stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inference-free", "siamese"] = "inference-free"
    steps: Annotated[int, Field(gt=0)] = 1500
    batch: Annotated[int, Field(gt=0)] = 6
    neighbours: Annotated[int, Field(gt=0)] = 5
    questions: Annotated[int, Field(gt=0)] = 256
    columns: Annotated[int, Field(gt=0)] | None = 2500
    hidden: Share = 0.5
    max_length: Annotated[int, Field(ge=8)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    cached: Annotated[int, Field(gt=0)] | None = None
    precision: TrainingPrecision | None = None
    lora: Annotated[int, Field(gt=0)] | None = None
    kl: Weight = 1.0
    info_nce: Weight = 0.2
    margin_mse: Weight = 0.0
    anchor: Weight = 6.0
    frequency: Weight = 1.8
    expansion: Share = 0.05
    scale: Weight = 15.0
    normalisation: Normalisation = "min-max"
    language: Language | None = "english"
    terms: Annotated[float, Field(gt=0)] | None = 200.0
    penalty: Weight = 2e-3
    balance: Share = 0.5
    query_penalty: Weight = 1.0
    spared: Annotated[float, Field(gt=0)] | None = None
    head: Literal["vocabulary", "scalar"] = "vocabulary"
    activation: Literal["log1p", "log1p_log1p"] | None = None
    learned_queries: bool = False
    seed: int = 0
    watch_every: Annotated[int, Field(gt=0)] = 400
    patience: Annotated[int, Field(gt=0)] = 12

    @property
    def anchored(self) -> bool:
        """Whether terms are held to anchors: a siamese student has no query weights to say what an error costs."""
        return self.kind == "inference-free" and self.anchor > 0

    @model_validator(mode="after")
    def _has_a_table_to_learn(self) -> Self:
        if self.learned_queries and self.kind == "siamese":
            raise ValueError("learned_queries is of inference-free students: a siamese one has no table.")
        return self
