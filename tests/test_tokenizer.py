"""The tokenizer: the word cache gives what Hugging Face's tokenizer gives, for any text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models import word_cache as word_cache_module
from opensearch_splade.onnx_models.prompt import NO_PROMPT, Prompt
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


@settings(max_examples=200, deadline=None)
@given(st.lists(any_text | st.text(st.characters()), max_size=4))
def test_a_text_is_what_stands_around_it_and_its_own_tokens(path: Path, texts: list[str]) -> None:
    """``before + ids + after`` is ``encode``, cut nowhere; characters lie in the text, in order, surrogates or not."""
    long, short = Tokenizer(path, 1 << 20), Tokenizer(path, LENGTH)
    found = short.offsets(texts)
    assert [short.before + ids + short.after for ids, _ in found] == long.encode(texts)
    assert [ids[: LENGTH - 2] for ids, _ in found] == [ids[1:-1] for ids in short.encode(texts)]  # still truncates
    for text, (ids, spans) in zip(texts, found, strict=True):
        assert len(ids) == len(spans)
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert sorted(spans) == spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a fox", ["a", "fox"]),
        ("\U0001f986 fox, \U0001f986\U0001f986 dog", ["fox", ",", "dog"]),
        ("\ud83e\udd86 fox \ud83e\udd86\ud800 dog", ["fox", "dog"]),  # pairs written as two, and a lone one
        ("\udd86\ud83e fox\ud83e", ["fox"]),
        ("Cafe\u0301 naïve DOG", ["naïve", "DOG"]),
    ],
)
def test_characters_are_indices_of_the_string(path: Path, text: str, words: list[str]) -> None:
    """Python's own, whatever the tokenizer made of the text."""
    [(_, spans)] = Tokenizer(path, LENGTH).offsets([text])
    assert [word for word in words if word not in [text[start:end] for start, end in spans]] == []


@pytest.mark.export
@pytest.mark.parametrize(
    "prompt", [NO_PROMPT, Prompt(document="passage: "), Prompt(document="x", special_tokens=False)]
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(any_text, max_size=3))
def test_a_prefix_stands_before_and_its_space_may_belong_to_the_text(
    byte_level: Path, prompt: Prompt, texts: list[str]
) -> None:
    """Byte-level pairs join the prefix's last space with the first word; characters are still those of the text."""
    tokenizer = Tokenizer(byte_level, 1 << 20, prompt)
    for text, (ids, spans) in zip(texts, tokenizer.offsets(texts), strict=True):
        if prompt.document != "x":  # which may be joined with a letter after it
            assert tokenizer.before + ids + tokenizer.after == tokenizer.encode([text])[0]
        assert all(0 <= start <= end <= len(text) for start, end in spans)
    [(ids, spans)] = tokenizer.offsets(["read a file"])
    assert "read a file"[slice(*spans[-1])].strip() != ""
    assert spans[0][0] == 0
    assert spans[-1][1] == len("read a file")


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from family_checkpoints import decoder_tokenizer

    folder = tmp_path_factory.mktemp("byte-level")
    decoder_tokenizer().save_pretrained(folder)
    return folder / "tokenizer.json"


def test_an_echo_has_no_windows(path: Path) -> None:
    """What stands around a text is then made in the graph; the error says what to do."""
    tokenizer = Tokenizer(path, LENGTH, Prompt(echo="{text} {text}"))
    for ask in (lambda: tokenizer.offsets(["a"]), lambda: tokenizer.before, lambda: tokenizer.after):
        with pytest.raises(BundleError, match=r"echo.*without --echo"):
            ask()
