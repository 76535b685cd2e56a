"""Losses: what a batch of scores and weights is to become. Scores are ``(queries, documents)``.

``answers`` is the column of each query's answer, shape ``(queries,)``. ``known``, of the shape of ``scores``, says
which pairs count: a copy of the answer is no negative of it.
"""

from __future__ import annotations

from typing import Any

_NOTHING = -1e9  # finite: a row of nothing else still has a softmax


def info_nce(scores: Any, known: Any, answers: Any, temperature: float = 1.0) -> Any:
    """Cross entropy of the answer among all documents of the batch (van den Oord et al., arXiv 1807.03748)."""
    import torch

    logits = (scores / temperature).masked_fill(~known, _NOTHING)
    return torch.nn.functional.cross_entropy(logits, answers)


def kl_divergence(scores: Any, teacher: Any, known: Any) -> Any:
    """How far the student's distribution over the documents is from the teacher's; the mean of the queries.

    ``teacher`` has the shape of ``scores``, on a scale whose softmax is meant to be imitated.
    """
    import torch

    student = scores.masked_fill(~known, _NOTHING).log_softmax(1)
    wanted = teacher.masked_fill(~known, _NOTHING).log_softmax(1)
    return torch.nn.functional.kl_div(student, wanted, reduction="batchmean", log_target=True)


def margin_mse(scores: Any, teacher: Any, known: Any, answers: Any) -> Any:
    """Squared difference of student's and teacher's margins of the answer over the others (arXiv 2010.02666)."""
    import torch

    own = torch.arange(len(scores), device=scores.device)
    others = known.clone()
    others[own, answers] = False
    margins, wanted = (one[own, answers, None] - one for one in (scores, teacher))
    return ((margins - wanted) ** 2)[others].mean() if bool(others.any()) else scores.sum() * 0


def flops(weights: Any, price: Any = None, counts: Any = None) -> Any:
    """Squared mean weight of each term over the batch, summed (Paria et al., arXiv 2004.05665).

    Args:
        weights: Shape ``(documents, columns)``.
        price: Shape ``(columns,)``: what a term's mean is multiplied by before it is squared. See ``idf_price``.
        counts: Shape ``(columns,)``: how many columns each stands for, where some were drawn. See ``Columns``.
    """
    mean = weights.mean(0)
    squared = (mean if price is None else mean * price) ** 2
    return squared.sum() if counts is None else (squared * counts).sum()


def over(weights: Any, spared: float, counts: Any = None) -> Any:
    """Weights of the documents that have more than ``spared`` terms, 0 of the others: the l0 mask of arXiv 2504.14839.

    Given to ``flops`` in place of ``weights``, it leaves documents that are sparse already to the ranking alone.
    ``counts``, shape ``(columns,)``, is how many columns each stands for, where some were drawn.
    """
    active = weights > 0
    terms = (active if counts is None else active * counts).sum(1, keepdim=True)
    return weights * (terms > spared)


def idf_price(idf: Any, common: Any, balance: float) -> Any:
    """Prices for ``flops`` that punish rare terms less, after Geng et al. (arXiv 2411.04403, version 1).

    A price is ``idf ** -balance``. They are scaled so that the penalty of ``common`` is what plain FLOPS would be:
    otherwise another balance would also be another strength, and the two could not be told apart.

    Args:
        idf: Shape ``(vocabulary,)``, positive where a term may occur.
        common: Mean weight of each term, of the model as it is before training.
        balance: 0 is plain FLOPS, 1 divides by the idf.
    """
    price = idf.clamp(min=0.05) ** -balance  # a term of every document has an idf of nearly nothing
    plain = flops(common[None])
    return price if not bool(plain > 0) else price * (plain / flops(common[None], price)).sqrt()
