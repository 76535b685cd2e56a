"""Generation-augmented retrieval (Mao et al. 2021, arXiv 2009.08553): texts about a question are asked beside it.

What makes the texts is the application's: a language model, a table of synonyms, a thesaurus. None ships. As in the
paper each text is appended to the question and ranks by itself, and the rankings are fused; so it goes with every
mode, bm25 and kNN too, and one bad text cannot drown the question, as it would in one sum of query weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.client_search import Asked, check_page, ranked_page
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.mode import Mode

if TYPE_CHECKING:
    from opensearch_splade.query.answer import SearchResult
    from opensearch_splade.query.plan import Options
    from opensearch_splade.query.searcher import Searcher

Contexts = Callable[[str], Sequence[str]]
"""Gives texts for a question: an answer, a sentence that may hold it, the title of a page, synonyms."""

_REFUSED = ("explain", "profile", "ids_only", "feedback")


def search_with_contexts(
    searcher: Searcher,
    text: str,
    contexts: Contexts,
    *,
    fusion: Fusion | str = "rrf",
    candidates: int = CANDIDATES,
    **options: Unpack[Options],
) -> SearchResult:
    """Ask the question, and the question with each text, and fuse the rankings here.

    Args:
        searcher: Asks the index.
        text: The question.
        contexts: Gives texts for it. Where it fails the question alone is asked, and a notice says so.
        fusion: Of the rankings, the question's first; weights, where there are any, are as many as rankings.
        candidates: Hits of each that are fused; pages end within them.
        options: Those of ``Searcher.search`` but ``explain``, ``profile``, ``ids_only`` and ``feedback``: a hit has
            several rankings, each with reasons of its own.

    Returns:
        Hits with fused scores; ``took_ms`` is that of all rankings, ``body`` that of the last one. Where there is no
        text they are the hits of ``Searcher.search``.

    Raises:
        QueryError: The page ends beyond the candidates, an option is none, or what ``Searcher.search`` says.
        OspladeError: What ``Searcher.search`` says, of the question with a text too.
    """
    if refused := [name for name in _REFUSED if options.get(name)]:
        raise QueryError(f"{refused[0]} does not go with expansion by texts: ask each text alone instead")
    size, start = options.get("size", 10), options.get("start", 0)
    check_page(size, start, candidates)
    found, notices = _asked_for(contexts, text)
    if not found:
        return _noticed(searcher.search(text, **options), notices)
    questions = [text, *(f"{text} {context}" for context in found)]
    ranking: Options = {**options, "size": candidates, "start": 0, "ids_only": True}
    answers = [_checked(answer) for answer in searcher.search_many(questions, **ranking)]
    mode = options.get("mode", "hybrid")
    mode = mode if isinstance(mode, Mode) else Mode.parse(mode)
    asked = [Asked(searcher, question, mode) for question in questions]
    how = fusion if isinstance(fusion, Fusion) else Fusion.parse(fusion)
    page = ranked_page(
        asked, answers, lambda rankings: fuse(rankings, how, candidates=candidates), size=size, start=start
    )
    return _noticed(page, notices)


def _asked_for(contexts: Contexts, text: str) -> tuple[list[str], list[str]]:
    """The texts, each once, and a notice of what came of the asking."""
    try:
        given: object = contexts(text)
    except Exception as error:  # noqa: BLE001 - it is the application's; the question can be asked without it
        return [], [f"expansion failed ({type(error).__name__}: {error}): the question alone was asked"]
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(one, str) for one in given):
        return [], [f"expansion gave no list of texts ({type(given).__name__}): the question alone was asked"]
    found = list(dict.fromkeys(stripped for one in given if (stripped := one.strip())))
    if not found:
        return [], ["expansion gave no text: the question alone was asked"]
    return found, [f"expansion: the question was also asked with {len(found)} texts"]


def _checked(answer: SearchResult | OspladeError) -> SearchResult:
    if isinstance(answer, OspladeError):
        raise answer
    return answer


def _noticed(result: SearchResult, notices: Sequence[str]) -> SearchResult:
    return replace(result, notices=tuple(dict.fromkeys([*notices, *result.notices])))
