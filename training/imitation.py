"""Imitation: the loss of a batch's scores: what teachers say of its documents, and which of them is the answer.

A question that was made of a document stands in it, and every teacher finds it there: that says nothing of what people
ask. So of such a question teachers are heard on all other documents, which is where real questions differ, and the
answer itself is learned by contrast, from a text that the question was taken out of.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from opensearch_splade.training.lessons import Lessons
from opensearch_splade.training.losses import info_nce, kl_divergence, margin_mse
from opensearch_splade.training.neighbourhoods import Batch
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teachers import ensemble


def imitation(scores: Any, batch: Batch, gone: Collection[int], lessons: Lessons, recipe: Recipe) -> Any:
    """The loss, without the sparsity penalty.

    Args:
        scores: The student's, shape ``(batch.pairs, batch.documents)``.
        batch: What was asked and shown.
        gone: Places of the pairs that were hidden from their document.
        lessons: Whose they are.
        recipe: Weights of the parts.
    """
    import torch

    pairs = [lessons.pairs[place] for place in batch.pairs]
    columns = {document: column for column, document in enumerate(batch.documents)}
    answers = np.array([columns[pair.document] for pair in pairs])
    groups = lessons.groups[list(batch.documents)]
    others = groups[None] != groups[answers][:, None]
    itself = np.arange(len(groups))[None] == answers[:, None]
    loss = scores.sum() * 0
    told = [row for row, pair in enumerate(pairs) if not pair.made or pair.kind == "title" or batch.pairs[row] in gone]
    if recipe.info_nce and told:
        known = torch.from_numpy((others | itself)[told]).to(scores.device)
        right = torch.from_numpy(answers[told]).to(scores.device)
        loss = loss + recipe.info_nce * info_nce(scores[told], known, right)
    if recipe.kl or recipe.margin_mse:
        heard = others | (itself & np.array([not pair.made for pair in pairs])[:, None])
        taught = ensemble(lessons.teachers, batch.pairs, batch.documents, recipe.normalisation, heard)
        teacher, known = (torch.from_numpy(one).to(scores.device) for one in (taught * recipe.scale, heard))
        loss = loss + recipe.kl * kl_divergence(scores, teacher, known)
        judged = [row for row, pair in enumerate(pairs) if not pair.made]
        if recipe.margin_mse and judged:
            right = torch.from_numpy(answers[judged]).to(scores.device)
            loss = loss + recipe.margin_mse * margin_mse(scores[judged], teacher[judged], known[judged], right)
    return loss
