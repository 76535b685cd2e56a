"""The gate: which passages are worth a vector."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import OspladeError
from opensearch_splade.ingest.quality_gate import QualityGate, density

PROSE = "The ledger notes what the cluster acknowledged, so that a run which was killed goes on where it ended."
POOR = ["", "...", "--- | --- | ---", "12.5 13.7 99.1 44.0 1.1", "Menu", "click here click here click here click here"]


@given(st.text())
def test_density_is_a_score(text: str) -> None:
    """Any text has one, between none and full quality."""
    assert 0 <= density(text) <= 1


@pytest.mark.parametrize("poor", POOR)
def test_density_likes_prose(poor: str) -> None:
    """Rulers, tables, headings and boilerplate score less than a sentence."""
    assert density(poor) < density(PROSE) / 2


def test_a_quantile_becomes_a_threshold() -> None:
    """As noted in the index it is the same gate again, to the last digit."""
    gate = QualityGate.parse("density@p25")
    assert str(gate) == "density@p25"
    texts = [PROSE[: 10 * n] for n in range(1, 9)]
    settled = gate.settled(texts)
    assert sum(not settled.passes(text) for text in texts) == 2
    again = QualityGate.parse(str(settled))
    assert [again.passes(text) for text in texts] == [settled.passes(text) for text in texts]
    with pytest.raises(OspladeError, match="no passage"):
        gate.settled([])


def test_a_plug_in_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the user's own, by its name; what it does wrong is told with the text it was given."""
    (tmp_path / "own_scores.py").write_text(
        "def length(text): return len(text)\ndef wrong(text): return text\ndef odd(text): return float('nan')\nx = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_scores", raising=False)
    gate = QualityGate.parse("own_scores:length@5")
    assert (gate.passes("four"), gate.passes("seven")) == (False, True)
    with pytest.raises(OspladeError, match="own_scores:wrong failed at 'abc'"):
        QualityGate.parse("own_scores:wrong@5").passes("abc")
    with pytest.raises(OspladeError, match="gave NaN for 'abc'"):
        QualityGate.parse("own_scores:odd@5").passes("abc")
    with pytest.raises(OspladeError, match="it is no function"):
        QualityGate.parse("own_scores:x@5")


@pytest.mark.parametrize("text", ["density", "density@", "@0.3", "density@p0", "density@p100", "density@x"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(OspladeError, match=r"write SCORER@LEAST"):
        QualityGate.parse(text)


def test_an_unknown_plug_in_is_refused() -> None:
    """By module and by function."""
    for name in ("nowhere:score@1", "math:score@1", "score@1"):
        with pytest.raises(OspladeError, match=r"write package\.module:function"):
            QualityGate.parse(name)
