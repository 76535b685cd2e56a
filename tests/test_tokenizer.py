"""The tokenizer: the word cache gives what Hugging Face's tokenizer gives, for any text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models import word_cache as word_cache_module
from opensearch_splade.onnx_models.tokenizer import Tokenizer, well_formed
from opensearch_splade.onnx_models.word_cache import WordCache, splits_at_spaces

LENGTH = 24
# What might be treated differently in a part than in the whole: spaces of every kind, controls, marks, special tokens.
_PIECES = (
    st.sampled_from(["[SEP]", "[CLS]x", "[MASK]", "don't", "a-b.c", "##ing", "...", "x" * 120])
    | st.sampled_from([" ", "  ", "\n", "\t\r", "\x0b", "\x1c", "\x00", "\x7f", "\x85", "\xa0", "\u2028", "\u3000"])
    | st.sampled_from(["\u0301", "e\u0301", "\u0345", "İ", "ΑΣ", "東京", "\ufffd", "\u200b", "\ufb01", "🦆"])
)
any_text = st.lists(_PIECES | st.text(max_size=12), max_size=8).map("".join)


@pytest.fixture(scope="module")
def path() -> Path:
    return Bundle.open("splade-tiny").tokenizer


@pytest.fixture(scope="module")
def plain(path: Path) -> Any:
    """Hugging Face's own, truncating alike."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTH)
    return tokenizer


@settings(max_examples=400, deadline=None)
@given(st.lists(any_text, max_size=4), st.booleans())
def test_the_word_cache_equals_the_tokenizer(path: Path, plain: Any, texts: list[str], special: bool) -> None:
    """Any unicode, special tokens and truncation included, cold and warm."""
    tokenizer = Tokenizer(path, LENGTH)
    expected = [plain.encode(well_formed(text), add_special_tokens=special).ids for text in texts]
    assert tokenizer.encode(texts, special=special) == expected
    assert tokenizer.encode(texts, special=special) == expected


def test_parts_without_tokens_do_not_end_a_text(plain: Any) -> None:
    """A part of control characters alone is no token, so more parts than tokens may be needed."""
    text = "\x01 " * 500 + "end"
    assert WordCache(plain).encode([text], 5) == [plain.encode("end", add_special_tokens=False).ids]


def test_forgetting_changes_nothing(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were not met of late go, long ones are not kept, memory is bounded, and the ids stay the same."""
    monkeypatch.setattr(word_cache_module, "_GENERATION", 3)
    cache = WordCache(plain)
    texts = ["one two three four", "five six " + "seven" * 30, "one six"]
    expected = [plain.encode(text, add_special_tokens=False).ids for text in texts]
    assert [cache.encode([text], LENGTH)[0] for text in texts] == expected
    assert cache.encode(texts, LENGTH) == expected
    many = [f"{number} one {number + 1}" for number in range(200)]
    assert [cache.encode([text], LENGTH)[0] for text in many] == [
        plain.encode(text, add_special_tokens=False).ids for text in many
    ]
    assert len(cache._known) + len(cache._older) < 20


def test_only_tokenizers_that_split_at_spaces_are_cached(plain: Any) -> None:
    """Byte-level pairs carry their space, and an added token with a space would be cut in two."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers import Tokenizer as Plain

    assert splits_at_spaces(plain)
    assert not splits_at_spaces(ByteLevelBPETokenizer()._tokenizer)
    other = Plain.from_str(plain.to_str())
    other.add_tokens(["new york"])
    assert not splits_at_spaces(other)
