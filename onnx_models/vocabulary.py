"""Vocabulary: token ids to feature names, the same for documents and queries."""

from __future__ import annotations

from collections.abc import Mapping

from opensearch_splade.errors import BundleError

DOT = "<dot>"
"""What a "." in a token is written as. A ``rank_feature`` query takes the part of its field *after the last dot* as the
feature, so a token that holds one matches nothing; and ingest processors since 2.19 refuse such keys. BERT's vocabulary
has three: ``.``, ``...`` and ``##.``."""


def feature_name(token: str) -> str:
    """What a token or another name is called as a feature."""
    return token.replace(".", DOT)


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
