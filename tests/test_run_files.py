"""Run files: what was written is read, and what is wrong is named with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.measures import measure_each, trec_order
from opensearch_splade.evaluation.run_files import read_run, write_run

ids = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=8)
runs = st.dictionaries(
    ids,
    st.dictionaries(ids, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", ["run.trec", "run.trec.gz"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=runs)
def test_what_is_written_is_read(tmp_path: Path, name: str, run: dict[str, dict[str, float]]) -> None:
    """Every id and every digit of every score, questions in their order and hits in that of trec_eval."""
    write_run(tmp_path / name, run, "tag")
    found = read_run(tmp_path / name)
    assert found == run
    assert list(found) == list(run)
    assert [list(hits) for hits in found.values()] == [trec_order(hits) for hits in run.values()]


def test_a_run_file_is_what_trec_eval_reads(tmp_path: Path) -> None:
    """Six columns with ranks from 1; of equal scores the larger id is first; a tag has no blanks."""
    write_run(tmp_path / "run", {"q1": {"a": 1.5, "b": 2.0, "c": 1.5}, "q2": {}}, "neural-sparse (siamese)")
    expected = "q1 Q0 b 1 2.0 neural-sparse_(siamese)\nq1 Q0 c 2 1.5 neural-sparse_(siamese)\n"
    assert (tmp_path / "run").read_text() == expected + "q1 Q0 a 3 1.5 neural-sparse_(siamese)\n"


@pytest.mark.parametrize("name", ["run", "run.gz"])
def test_the_same_run_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    """In whatever order the hits came, under whatever name and whenever it is written."""
    (tmp_path / "other").mkdir()
    one, two = tmp_path / name, tmp_path / "other" / f"x{name}"
    write_run(one, {"q": {"a": 1.0, "b": 1.0}}, "t")
    write_run(two, {"q": {"b": 1.0, "a": 1.0}}, "t")
    assert one.read_bytes() == two.read_bytes()
    if name.endswith(".gz"):
        assert one.read_bytes()[4:8] == bytes(4), "no time in the header"


def test_scores_count_where_ranks_contradict_them(tmp_path: Path) -> None:
    """As in trec_eval. Blank lines, tabs and Windows' line ends are no harm."""
    path = tmp_path / "run"
    path.write_bytes(b"q Q0 worse 1 1.0 t\r\n\r\nq\tQ0\tbetter\t2\t2e0\tt\r\n")
    run = read_run(path)
    assert run == {"q": {"worse": 1.0, "better": 2.0}}
    assert measure_each(run, {"q": {"better": 1}}, ["RR"]) == {"RR": {"q": 1.0}}


GOOD = b"q Q0 a 1 1.0 t\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD + b"q Q0 b 2 1.0\n", "run:2: 5 columns"),
        (GOOD + b"q Q0 b 2 1.0 a tag\n", "run:2: 7 columns"),
        (GOOD + b"q Q0 b 2 high t\n", "run:2: 'high' is not a score"),
        (GOOD + b"q Q0 b 2 nan t\n", "run:2: 'nan' is not a score"),
        (GOOD + b"q Q0 b 2 -inf t\n", "run:2: '-inf' is not a score"),
        (GOOD + b"\nq Q0 a 2 .5 t\n", "run:3: document a was ranked for question q before"),
        (GOOD + b"q Q0 \xff 2 1.0 t\n", "run:2: not UTF-8"),
        (b"\n \n", "run is empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    """File, line and what is expected there."""
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        read_run(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, not gzip although it is called so, cut short or damaged within."""
    with pytest.raises(SourceError, match=r"none cannot be read .*No such file"):
        read_run(tmp_path / "none")
    path = tmp_path / "run.gz"
    whole = bytearray(gzip.compress(b"".join(b"q Q0 d%d 1 1.0 t\n" % number for number in range(2000))))
    damaged, changed = whole.copy(), whole.copy()
    damaged[10] = 255  # no kind of block
    changed[-8] ^= 255  # the checksum
    for content in (GOOD, whole[: len(whole) // 2], damaged, changed):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"run\.gz"):
            read_run(path)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"q": {"a b": 1.0}}, "'a b' has blanks"),
        ({"q\n": {"a": 1.0}}, r"'q\\n' has blanks"),
        ({"q": {"": 1.0}}, "'' has blanks or is empty"),
        ({"q": {"a": float("nan")}}, "question q: the score of a is nan"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, run: dict[str, dict[str, float]], reason: str) -> None:
    """Instead of a file that reads as something else; what was there before stays."""
    write_run(tmp_path / "run", {"before": {"a": 1.0}}, "t")
    with pytest.raises(SourceError, match=reason):
        write_run(tmp_path / "run", run, "t")
    assert read_run(tmp_path / "run") == {"before": {"a": 1.0}}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the file that cannot be written."""
    with pytest.raises(SourceError, match="none/run cannot be written"):
        write_run(tmp_path / "none" / "run", {"q": {"a": 1.0}}, "t")
