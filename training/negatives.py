"""Hard negatives: documents that a model takes for the answer, and that are not: they teach more than strangers do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.training.teachers import Teacher

SKIPPED = 1
"""Best hits that are passed over: without judgements the very first is too often an answer as well."""
_SPARE = 4  # the answer itself and its copies are among the best


def mine(
    teachers: Sequence[Teacher], answers: Sequence[int], copies: npt.NDArray[np.int64], depth: int
) -> npt.NDArray[np.int32]:
    """The best wrong documents of each question, from each model in turn.

    Args:
        teachers: Whose rankings are read.
        answers: Place of the answer of each question.
        copies: Group of each document; copies of the answer are no negatives.
        depth: How many of a question.

    Returns:
        Places, shape ``(questions, depth)``; ``-1`` where a question has fewer.
    """
    found = np.full((len(answers), depth), -1, np.int32)
    each = -(-depth // max(1, len(teachers)))
    tables = [list(teacher.best(each + SKIPPED + _SPARE)) for teacher in teachers]
    for question, answer in enumerate(answers):
        chosen: dict[int, None] = {}
        for table in tables:
            fit = [place for place in table[question] if copies[place] != copies[answer]]
            chosen.update(dict.fromkeys(fit[SKIPPED : SKIPPED + each]))
        places = list(chosen)[:depth]
        found[question, : len(places)] = places
    return found
