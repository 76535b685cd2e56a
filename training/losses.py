"""Losses: what a batch of scores and weights is to become. Scores are ``(queries, documents)``.

Query ``i`` has document ``i`` as its answer. ``known`` says which pairs count: a document that answers another query
of the batch as well (itself again, or a copy) is no negative of it.
"""

from __future__ import annotations

from typing import Any

_NOTHING = -1e9  # finite: a row of nothing else still has a softmax


def info_nce(scores: Any, known: Any, temperature: float = 1.0) -> Any:
    """Cross entropy of the answer among all documents of the batch (van den Oord et al., arXiv 1807.03748)."""
    import torch

    logits = (scores / temperature).masked_fill(~known, _NOTHING)
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(scores), device=scores.device))


def kl_divergence(scores: Any, teacher: Any, known: Any) -> Any:
    """How far the student's distribution over the documents is from the teacher's; the mean of the queries.

    ``teacher`` has the shape of ``scores``, on a scale whose softmax is meant to be imitated.
    """
    import torch

    student = scores.masked_fill(~known, _NOTHING).log_softmax(1)
    wanted = teacher.masked_fill(~known, _NOTHING).log_softmax(1)
    return torch.nn.functional.kl_div(student, wanted, reduction="batchmean", log_target=True)


def margin_mse(scores: Any, teacher: Any, known: Any) -> Any:
    """Squared difference of student's and teacher's margins of the answer over the others (arXiv 2010.02666)."""
    import torch

    own = torch.arange(len(scores), device=scores.device)
    others = known.clone()
    others[own, own] = False
    margins, wanted = (one[own, own, None] - one for one in (scores, teacher))
    return ((margins - wanted) ** 2)[others].mean() if bool(others.any()) else scores.sum() * 0


def flops(weights: Any, price: Any = None) -> Any:
    """Squared mean weight of each term over the batch, summed (Paria et al., arXiv 2004.05665).

    Args:
        weights: Shape ``(documents, vocabulary)``.
        price: Shape ``(vocabulary,)``: what a term's mean is multiplied by before it is squared. See ``idf_price``.
    """
    mean = weights.mean(0)
    return ((mean if price is None else mean * price) ** 2).sum()


def over(weights: Any, spared: float) -> Any:
    """Weights of the documents that have more than ``spared`` terms, 0 of the others: the l0 mask of arXiv 2504.14839.

    Given to ``flops`` in place of ``weights``, it leaves documents that are sparse already to the ranking alone.
    """
    return weights * ((weights > 0).sum(1, keepdim=True) > spared)


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
