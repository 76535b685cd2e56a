"""Added features: what metadata and plug-ins give, and what becomes of what they should not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import DocumentError, OspladeError
from opensearch_splade.index_meta import AddedMeta
from opensearch_splade.ingest.added_features import AddedFeatures, FeatureSource
from opensearch_splade.types import Document


def document(**metadata: Any) -> Document:
    """With some metadata."""
    return Document("d", "text", metadata=metadata)


@pytest.mark.parametrize(
    ("text", "value", "features"),
    [
        ("lang", "en", {"lang=en": 1.0}),
        ("lang*2", ["en", "fr", "en"], {"lang=en": 2.0, "lang=fr": 2.0}),
        ("who*0.5", {"Marie Curie": 3, "St. Petersburg": 1.0}, {"who=Marie Curie": 1.5, "who=St<dot> Petersburg": 0.5}),
        ("year", 1999, {"year=1999": 1.0}),
        ("tags", [], {}),
        ("tags", "", {}),
        ("tags", None, {}),
    ],
)
def test_fields_become_features(text: str, value: Any, features: dict[str, float]) -> None:
    """Named by field and value, so that they are never a token; a dot is written as in all features."""
    assert AddedFeatures([FeatureSource.parse(text)]).features(document(**{text.partition("*")[0]: value})) == features


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON, JSON)
def test_any_value_is_a_feature_or_a_reason(value: Any, static: Any) -> None:
    """Whatever the metadata holds, weights are positive and finite, or the document goes to the dead letters."""
    added = AddedFeatures([FeatureSource.parse("field*1e3")], ["number"])
    one = document(field=value, number=static)
    try:
        found = [*added.features(one).values(), *added.static_features(one).values()]
    except DocumentError:
        return
    assert all(0 < weight < float("inf") for weight in found)


def test_static_features_are_numbers() -> None:
    """Only what a rank_feature takes; a document without one has none."""
    added = AddedFeatures(static=["popularity"])
    assert added.meta == AddedMeta((), ("popularity",))
    assert added.static_features(document(popularity=3)) == {"popularity": 3}
    assert added.static_features(document()) == {}
    for wrong in (0, -1, "3", True, float("inf"), [1]):
        with pytest.raises(DocumentError, match="'popularity' is"):
            added.static_features(document(popularity=wrong))
    assert AddedFeatures().meta is None


def test_a_plug_in_gives_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With names that are no tokens; what it does wrong is the document's dead letter."""
    (tmp_path / "own_entities.py").write_text(
        "def good(document): return {'entity=' + document.text: 2}\n"
        "def bare(document): return {'paris': 1}\n"
        "def broken(document): raise KeyError('x')\n"
        "def negative(document): return {'a=b': -1}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_entities", raising=False)
    assert AddedFeatures([FeatureSource.parse("own_entities:good")]).features(document()) == {"entity=text": 2}
    for name, message in (("bare", "KIND=VALUE"), ("broken", "failed: KeyError"), ("negative", "weighs -1")):
        with pytest.raises(DocumentError, match=message):
            FeatureSource.parse(f"own_entities:{name}").of(document())


@pytest.mark.parametrize("text", ["", "*2", "a*0", "a*x", "a*-1", "a*inf"])
def test_what_is_no_source_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(OspladeError, match="write FIELD"):
        FeatureSource.parse(text)
