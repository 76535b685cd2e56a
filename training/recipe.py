"""Recipe: every choice of a training run, as one value that is written beside what was trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opensearch_splade.training.lexical import Language
from opensearch_splade.training.teachers import Normalisation

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Recipe(BaseModel):
    """How a student is trained.

    Attributes:
        kind: Whether questions are looked up in a table (``inference-free``) or encoded by the student (``siamese``).
        steps: Optimizer steps at most.
        batch: Pairs of a step.
        negatives: Mined documents beside each answer.
        max_length: Tokens of a text that are read while training.
        learning_rate: Its highest value; it rises over the first twentieth and then falls to 0 in a line.
        kl: Weight of the distillation from the teachers' distribution.
        info_nce: Weight of the contrastive loss.
        margin_mse: Weight of the squared difference of margins.
        scale: What the teachers' scores, once in [0, 1], are multiplied by: how sure of themselves they are.
        normalisation: Of each teacher's scores of a question.
        language: Of BM25's words; see ``lexical.Lexical``.
        terms: Terms of a document that the penalty is to reach on average; ``None`` keeps the penalty's first weight.
        penalty: Its first weight.
        balance: 0 is plain FLOPS, 1 divides each term's by its idf; see ``losses.idf_price``.
        query_penalty: Of siamese questions, as a multiple of the documents' penalty.
        spared: Documents of at most so many terms pay no penalty (l0 mask); ``None`` lets all pay.
        activation: For checkpoints that do not state theirs.
        learned_queries: Whether the query weights are learned too, beginning with the idf.
        seed: Of everything that is drawn.
        watch_every: Steps between two measurements of the held-back questions and two states on disk.
        patience: Measurements without a better one after which the training stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inference-free", "siamese"] = "inference-free"
    steps: Annotated[int, Field(gt=0)] = 400
    batch: Annotated[int, Field(gt=1)] = 24
    negatives: Annotated[int, Field(ge=0)] = 1
    max_length: Annotated[int, Field(ge=8)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    kl: Weight = 1.0
    info_nce: Weight = 0.2
    margin_mse: Weight = 0.0
    scale: Weight = 20.0
    normalisation: Normalisation = "min-max"
    language: Language | None = "english"
    terms: Annotated[float, Field(gt=0)] | None = 200.0
    penalty: Weight = 1e-3
    balance: Share = 0.5
    query_penalty: Weight = 1.0
    spared: Annotated[float, Field(gt=0)] | None = None
    activation: Literal["log1p", "log1p_log1p"] | None = None
    learned_queries: bool = False
    seed: int = 0
    watch_every: Annotated[int, Field(gt=0)] = 50
    patience: Annotated[int, Field(gt=0)] = 6

    @model_validator(mode="after")
    def _has_a_table_to_learn(self) -> Self:
        if self.learned_queries and self.kind == "siamese":
            raise ValueError("learned_queries is of inference-free students: a siamese one has no table.")
        return self
