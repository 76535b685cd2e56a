"""All inspections of an index, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from opensearch_splade.evaluation.inspection import Asked, Section
from opensearch_splade.evaluation.inspection_bounds import posting_lists
from opensearch_splade.evaluation.inspection_dense import inspect_dimensions
from opensearch_splade.evaluation.inspection_features import inspect_dead, inspect_expansion, inspect_stop_like
from opensearch_splade.evaluation.inspection_postings import inspect_bounds, inspect_postings
from opensearch_splade.evaluation.inspection_quantisation import inspect_quantisation
from opensearch_splade.evaluation.inspection_redundancy import inspect_redundancy
from opensearch_splade.evaluation.inspection_vectors import StoredVectors
from opensearch_splade.evaluation.inspection_weights import inspect_flops, inspect_sizes, inspect_weights

SECTIONS = (
    "weights",
    "sizes",
    "flops",
    "postings",
    "bounds",
    "expansion",
    "stop-like",
    "dead",
    "dimensions",
    "quantisation",
    "redundancy",
)
"""In the order in which they come."""


def inspect_all(
    stored: StoredVectors,
    asked: Asked | None,
    vocabulary: Collection[str] | None,
    *,
    seed: int = 0,
    only: Sequence[str] = (),
    on_section: Callable[[str], None] = lambda _: None,
) -> list[Section]:
    """Every section, or some.

    Args:
        stored: What the index holds.
        asked: Questions with judgements, numbered as the documents are.
        vocabulary: All features that the model may give.
        seed: Chooses what is compared or drawn by chance.
        only: Names of ``SECTIONS``; empty for all.
        on_section: Told the name before each.

    Raises:
        MissingExtraError: There are questions, and ir-measures is not installed.
    """
    sections: list[Section] = []
    for name, make in _sections(stored, asked, vocabulary, seed):
        if not only or name in only:
            on_section(name)
            sections.append(make())
    return sections


def _sections(
    stored: StoredVectors, asked: Asked | None, vocabulary: Collection[str] | None, seed: int
) -> Iterator[tuple[str, Callable[[], Section]]]:
    own, names = stored.sample(), list(stored.numbers)
    lists = posting_lists(own.sparse, len(names))
    questions = asked.sparse if asked else {}
    made: dict[str, Callable[[], Section]] = {
        "weights": lambda: inspect_weights(own.sparse, questions),
        "sizes": lambda: inspect_sizes(own.sparse, questions),
        "flops": lambda: inspect_flops(own.sparse, questions, len(names)),
        "postings": lambda: inspect_postings(own.sparse, lists, names),
        "bounds": lambda: inspect_bounds(own, lists, asked),
        "expansion": lambda: inspect_expansion(stored, asked, names),
        "stop-like": lambda: inspect_stop_like(stored, lists, asked, names),
        "dead": lambda: inspect_dead(lists, asked, names, vocabulary, is_sample=stored.sampled < stored.total),
        "dimensions": lambda: inspect_dimensions(stored, asked, seed),
        "quantisation": lambda: inspect_quantisation(stored, asked, seed),
        "redundancy": lambda: inspect_redundancy(own, seed),
    }
    yield from made.items()
