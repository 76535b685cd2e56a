"""The tokenizer of a model package: the bundle's, that truncates as the bundle does and decodes tokens to features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from opensearch_splade.onnx_models.bundle import Bundle


def package_tokenizer(bundle: Bundle, names: Mapping[int, str] | None = None, *, special_tokens: bool = True) -> bytes:
    """``tokenizer.json`` of a package.

    Args:
        bundle: Whose tokenizer.
        names: Token id to what the token is to decode to by itself; by default its decoder stays.
        special_tokens: Whether ``[CLS]`` and the like are put around texts.
    """
    told = orjson.loads(bundle.tokenizer.read_bytes())
    told["padding"] = None
    told["truncation"] = {
        "direction": "Right",
        "max_length": bundle.manifest.max_length,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    if not special_tokens:
        told["post_processor"] = None
    if names is not None:
        told["decoder"] = _decoder(told, names)
    return orjson.dumps(told)


def _decoder(told: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Replaces whole tokens: a decoder is given one token at a time, by who wants its name.

    The usual decoders would spoil names: that of SentencePiece makes one name of two tokens, with and without a space
    before them.
    """
    renamed: dict[str, list[str]] = {}
    for token, token_id in _tokens(told).items():
        if (name := names.get(token_id, "")) != token:
            renamed.setdefault(name, []).append(token)
    # One pattern for each new name; those that are dropped, of which there may be thousands, share one.
    return {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"Regex": f"\\A(?:{'|'.join(map(re.escape, tokens))})\\z"}, "content": name}
            for name, tokens in sorted(renamed.items())
        ],
    }


def _tokens(told: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = told["model"]["vocab"]
    if not isinstance(vocabulary, dict):  # Unigram: pairs of token and score, by id
        vocabulary = {token: place for place, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{added["content"]: added["id"] for added in told.get("added_tokens") or ()}}
