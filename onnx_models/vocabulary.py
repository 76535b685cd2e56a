"""Vocabulary: token ids to feature names, the same for documents and queries."""

from __future__ import annotations

from collections.abc import Mapping

from opensearch_splade.errors import BundleError
from opensearch_splade.types import DOT, feature_name


class Vocabulary:
    """The features of a tokenizer, by token id.

    Args:
        tokens: Token to id, as ``tokenizers.Tokenizer.get_vocab`` gives it.
        size: Width of the model's output; ids beyond the tokens are unused and have no feature.
        special: Tokens that never become a feature, such as ``[CLS]``.

    Raises:
        BundleError: Two tokens would share one feature name.
    """

    def __init__(self, tokens: Mapping[str, int], size: int, special: frozenset[str]) -> None:
        self.features: list[str] = [""] * size
        for token, token_id in tokens.items():
            if token_id < size and token not in special:
                self.features[token_id] = feature_name(token)
        self.ids: dict[str, int] = {feature: token_id for token_id, feature in enumerate(self.features) if feature}
        if len(self.ids) != sum(map(bool, self.features)):
            raise BundleError(f"Two tokens of this vocabulary share a feature name once '.' is written as {DOT!r}.")
        self.dropped_ids = [token_id for token_id, feature in enumerate(self.features) if not feature]
        """Columns of the model's output that are no feature: special tokens, and those beyond the tokenizer."""

    def __len__(self) -> int:
        return len(self.features)
