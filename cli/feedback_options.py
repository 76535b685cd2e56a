"""Options of feedback: by the best hits, or by what was judged."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from opensearch_splade.query import Feedback, Rocchio

_Decorated = Callable[..., Any]


def feedback(function: _Decorated) -> _Decorated:
    """``--feedback``, ``--relevant`` and ``--irrelevant`` as one ``feedback``."""

    @wraps(function)
    def with_feedback(
        *arguments: Any, pseudo: str | None, relevant: tuple[str, ...], irrelevant: tuple[str, ...], **more: Any
    ) -> Any:
        if pseudo is not None and (relevant or irrelevant):
            raise click.UsageError(
                "--feedback takes the best hits for relevant: leave out --relevant and --irrelevant."
            )
        judged = Rocchio(relevant, irrelevant) if relevant or irrelevant else None
        return function(*arguments, feedback=judged if pseudo is None else Feedback.parse(pseudo), **more)

    options = (
        click.option(
            "--feedback",
            "pseudo",
            metavar="SPEC",
            help=f"Expand sparse rankings by the best hits: rm3, or rm3:DOCUMENTS:TERMS:ORIGINAL such as {Feedback()}.",
        ),
        click.option(
            "--relevant", metavar="ID", multiple=True, help="Expand them by a document that was judged; repeatable."
        ),
        click.option(
            "--irrelevant", metavar="ID", multiple=True, help="Move them away from such a document; repeatable."
        ),
    )
    made: _Decorated = with_feedback
    for option in reversed(options):
        made = option(made)
    return made
