"""Click logs as judgements."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.clicks import ClickRule, read_clicks
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.collection_split import split_of

HEADER = "query,document,position,clicked,count\n"


def grades(
    folder: Path, log: str, rule: ClickRule | None = None, name: str = "clicks.csv"
) -> dict[str, dict[str, int]]:
    """Text of each question to its judgements."""
    (folder / name).write_text(log, encoding="utf-8")
    texts, qrels = read_clicks(folder / name, rule or ClickRule())
    return {texts[query]: qrels[query] for query in texts}


def test_a_click_is_worth_what_its_position_is_not_looked_at(tmp_path: Path) -> None:
    """Ten clicks of a hundred: .1 on top, and 1 at position ten, which 100 / 10 impressions looked at."""
    log = HEADER + "fox,top,1,1,10\nfox,top,1,0,90\nfox,deep,10,1,10\nfox,deep,10,0,90\nfox,unseen,99,1,90\n"
    assert grades(tmp_path, log) == {"fox": {"top": 1, "deep": 3}}
    assert grades(tmp_path, log, ClickRule(eta=0)) == {"fox": {"top": 1, "deep": 1, "unseen": 3}}
    assert grades(tmp_path, log, ClickRule(grades=(0.2,), least=11)) == {}


def test_one_click_far_down_does_not_outvote_the_top(tmp_path: Path) -> None:
    """Impressions count as much as they were looked at: 1 click of 1000 + 1 / 10 examined is no relevance."""
    log = HEADER + "fox,a,1,0,1000\nfox,a,10,1,1\nfox,b,1,1,50\n"
    assert grades(tmp_path, log) == {"fox": {"a": 0, "b": 3}}


def test_forms_of_a_log_say_the_same(tmp_path: Path) -> None:
    """Rows, counts and sums; tables without a header and JSON lines; questions that differ by case only are one."""
    rows = "Fox,a,1,1\n" * 3 + "fox,a,1,0\n" * 7
    expected = {"Fox": {"a": 2}}
    assert grades(tmp_path, rows) == expected
    assert grades(tmp_path, "document,rank,clicks,impressions,query\na,1,3,10,Fox\n") == expected
    assert grades(tmp_path, "Fox\ta\t1\ttrue\t3\nfox\ta\t1\tfalse\t7\n", name="clicks.tsv") == expected
    lines = [{"query": "Fox", "document": "a", "position": 1, "clicked": done} for done in [True] * 3 + [False] * 7]
    assert grades(tmp_path, "\n".join(map(json.dumps, lines)), name="clicks.jsonl") == expected


def test_a_folder_with_a_log_is_a_collection(tmp_path: Path) -> None:
    """Labelled as judged by clicks; train and test are apart by hash, and together all; its rule counts."""
    log = HEADER + "".join(f"question {number},d{number},1,1,6\n" for number in range(40))
    (tmp_path / "clicks.csv").write_text(log, encoding="utf-8")
    with pytest.raises(SourceError, match=r"clicked often enough; lower `least`"):
        load_collection(str(tmp_path))
    (tmp_path / "collection.json").write_text('{"clicks": {"least": 5}}', encoding="utf-8")
    train, test, both = (load_collection(str(tmp_path), split) for split in ("train", "test", "all"))
    assert {one.judged_by for one in (train, test, both)} == {"clicks"}
    assert (train.split, test.split) == ("train", "test")
    assert len(both.queries) == 40
    assert {**train.queries, **test.queries} == both.queries
    assert train.overlap(test) == frozenset()
    assert all(split_of(text) == "train" for text in train.queries.values())
    with pytest.raises(SourceError, match="has the splits train, test"):
        load_collection(str(tmp_path), "dev")


@pytest.mark.parametrize(
    "rule", ["[]", '{"eta": -1}', '{"grades": [0.5, 0.1]}', '{"least": 0}', '{"etas": 1}', '{"eta": "x"}']
)
def test_a_wrong_rule_is_refused_with_an_example(tmp_path: Path, rule: str) -> None:
    """The error names the file and shows a rule."""
    (tmp_path / "clicks.csv").write_text(HEADER, encoding="utf-8")
    (tmp_path / "collection.json").write_text(f'{{"clicks": {rule}}}', encoding="utf-8")
    with pytest.raises(SourceError, match=r"collection\.json: no rule for clicks .*Example"):
        load_collection(str(tmp_path))


@pytest.mark.parametrize("row", ["fox,a,0,1", "fox,a,1,2", ",a,1,1", "fox,a,x,1", "fox,a,1", "fox,a,1,1,-1", "fox"])
def test_a_wrong_row_is_told_by_its_line(tmp_path: Path, row: str) -> None:
    """With what is expected there."""
    with pytest.raises(SourceError, match=r"clicks\.csv:3: expected query, document, position from 1"):
        grades(tmp_path, f"{HEADER}fox,a,1,1,\n{row}\n")


@given(st.sampled_from([".csv", ".tsv", ".jsonl"]), st.binary(max_size=80) | st.text(max_size=80).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_no_log_breaks_the_reader(kind: str, log: bytes) -> None:
    """Judgements, or one error of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"clicks{kind}")
        path.write_bytes(log)
        try:
            texts, qrels = read_clicks(path, ClickRule())
        except SourceError:
            return
        assert texts.keys() == qrels.keys()
