"""Questions and judgements of people's own, in the formats that they have: CSV, TSV and TREC; and what two share."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection import Collection, load_collection, load_questions
from opensearch_splade.evaluation.collection_split import normalised, split_of

TEXTS = {"1": "the fox, quick", "2": "the dog"}
GRADES = {"1": {"a": 2, "b": 0}, "2": {"b": 1}}
SGML = """<top>
<num> Number: 1
<title> the fox,
quick

<desc> Description:
A fox.
</top>
<TOP><NUM>2</NUM><TITLE></TITLE><DESC>the dog</DESC></TOP>
"""
QUERIES = {
    "queries.csv": '1,"the fox, quick"\n2,the dog\n',
    "topics.csv": '\ufeffquestion,qid,more\n"the fox, quick",1,x\nthe dog,2,\n',
    "queries.tsv": "1\tthe fox, quick\n\n2\tthe dog\n",
    "topics.txt": "1\tthe fox, quick\n2\tthe dog\n",
    "topics.trec": SGML,
    "queries.jsonl": '{"_id": 1, "text": "the fox, quick"}\n{"_id": "2", "text": "the dog"}\n',
}
QRELS = {
    "qrels.csv": "1,a,2\n1,b,0\n2,b,1\n",
    "judgements.csv": "grade,document,query\n2,a,1\n0,b,1\n1,b,2\n",
    "qrels.tsv": "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\tb\t1.0\n",
    "qrels.txt": "1 0 a 2\n1 0 b 0\n2 0 b 1\n",
    "qrels": "1\tQ0\ta\t2\n1\tQ0\tb\t0\n2\tQ0\tb\t1\n",
    "qrels/test.csv": "1,a,2\n1,b,0\n2,b,1\n",
}


def written(folder: Path, **files: str | bytes) -> Path:
    """A folder with these files; ``/`` in names makes folders."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("qrels", QRELS)
@pytest.mark.parametrize("queries", QUERIES)
def test_every_format_says_the_same(tmp_path: Path, queries: str, qrels: str) -> None:
    """Each format of questions goes with each of judgements, in a folder or by name, packed or not."""
    folder = written(tmp_path / "plain", **{queries: QUERIES[queries], qrels: QRELS[qrels]})
    packed = {f"{queries}.gz": QUERIES[queries], f"{qrels}.gz": QRELS[qrels]}
    zipped = written(tmp_path / "packed", **{name: gzip.compress(text.encode()) for name, text in packed.items()})
    pair = load_questions(folder / queries, folder / qrels)
    for loaded in (load_collection(str(folder)), load_collection(str(zipped)), pair):
        assert (loaded.queries, loaded.qrels) == (TEXTS, GRADES)
        assert (loaded.judged_by, loaded.split) == ("people", "test")


def test_semicolons_of_spreadsheets_are_told_by_the_first_line(tmp_path: Path) -> None:
    """A CSV file whose first line has semicolons and no comma is separated by them; commas are text then."""
    folder = written(tmp_path, **{"queries.csv": "Query ID;Query\r\n1;the fox, quick\r\n", "qrels.csv": "1;a;2\n"})
    assert load_collection(str(folder)).queries == {"1": TEXTS["1"]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"queries.csv": '1,x\n2,"y', "qrels.csv": "1,a,1\n"}, r"queries\.csv:2: not valid CSV"),
        ({"queries.csv": "1,x\n2,y,z\n", "qrels.csv": "1,a,1\n"}, r"queries\.csv:2: expected 2 cells, found 3"),
        ({"queries.csv": "1,x\n,y\n", "qrels.csv": "1,a,1\n"}, r"queries\.csv:2: a question needs an id and a text"),
        ({"queries.csv": "1,x\n1,y\n", "qrels.csv": "1,a,1\n"}, r"queries\.csv:2: question '1' came before"),
        ({"queries.csv": "1,x\n", "qrels.csv": "1,a,1\n1,b\n"}, r"qrels\.csv:2: expected query, document and a whole"),
        ({"queries.csv": "1,x\n", "qrels.csv": "1,a,high\n"}, r"qrels\.csv:1: expected query, document and a whole"),
        ({"queries.csv": "1,x\n", "qrels.txt": "1 0 a\n1 0 b 1\n"}, r"qrels\.txt:1|qrels\.txt:2: expected"),
        ({"queries.csv": b"1,\xff\n", "qrels.csv": "1,a,1\n"}, r"queries\.csv is not UTF-8 text .* at byte 2.*iconv"),
        ({"topics.txt": "<topics></topics>", "qrels.csv": "1,a,1\n"}, r"topics\.txt:1: .*holds no <top>"),
        ({"topics.txt": "\n<top><title>x</top>", "qrels.csv": "1,a,1\n"}, r"topics\.txt:2: a question needs an id"),
        ({"queries.csv.gz": b"1,x\n", "qrels.csv": "1,a,1\n"}, r"queries\.csv\.gz cannot be read"),
        ({"queries.csv": "1,x\n", "queries.tsv": "1\tx\n", "qrels.csv": "1,a,1\n"}, "nobody knows which is meant"),
        ({"queries.csv": "1,x\n", "qrels.csv": "2,a,1\n"}, r"no question of queries\.csv is judged in qrels\.csv"),
        ({"queries.csv": "1,x\n", "qrels.csv": "1,a,1\n", "collection.json": "["}, r"collection\.json cannot be read"),
        (
            {"queries.csv": "1,x\n", "qrels.csv": "1,a,1\n", "collection.json": '{"judged_by": "me"}'},
            "judged_by is 'me'; possible: people, clicks, known items, pseudo-queries",
        ),
    ],
)
def test_what_is_damaged_is_told_by_file_and_line(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    """One error names the file, the line where there is one, and what is expected there."""
    with pytest.raises(SourceError, match=message):
        load_collection(str(written(tmp_path, **files)))


def test_judgements_in_one_file_are_for_testing(tmp_path: Path) -> None:
    """They are never taken for training too: the remedy is a file of that name."""
    folder = written(tmp_path, **{"queries.csv": "1,x\n2,y\n", "qrels.csv": "1,a,1\n"})
    with pytest.raises(SourceError, match=r"one file are the split 'test'\. For 'train' write qrels/train\.csv"):
        load_collection(str(folder), "train")
    written(folder, **{"qrels/train.csv": "2,a,1\n"})
    assert load_collection(str(folder), "train").queries == {"2": "y"}


def collection(name: str, queries: dict[str, str]) -> Collection:
    """One whose questions all have an answer."""
    return Collection(name, "", queries, {query: {"d": 1} for query in queries})


def test_questions_in_common_are_found_by_text_and_within_a_collection_by_id() -> None:
    """Case, spaces, punctuation and compatible forms do not hide a question; numbers of two collections do not meet."""
    one = collection("x", {"1": "What is a Fox?", "2": "fox and dog", "3": "ﬁne print"})
    other = collection("y", {"2": "what is\na fox", "7": "FINE PRINT", "3": "something else"})
    assert one.overlap(other) == {"1", "3"}
    assert other.overlap(one) == {"2", "7"}
    assert one.overlap(collection("x", {"2": "other words"})) == {"2"}
    assert one.overlap(collection("y", {"2": "other words"})) == frozenset()


@given(st.text(), st.sampled_from(" \t\n-?!"))
def test_the_same_question_falls_into_the_same_split(text: str, sign: str) -> None:
    """The split follows the normalised text alone."""
    assert split_of(text) == split_of(normalised(text)) or not normalised(text)
    if normalised(text).isalnum():
        assert split_of(f"{sign}{text}{sign}") == split_of(text)


def test_about_half_of_the_questions_are_for_testing() -> None:
    """A share of 0 tests none, of 1 all, of a half about a half."""
    texts = [f"question {number}" for number in range(2000)]
    assert 900 < sum(split_of(text) == "test" for text in texts) < 1100
    assert {split_of(text, 0) for text in texts} == {"train"}
    assert {split_of(text, 1) for text in texts} == {"test"}


CONTENT = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(['"', ",", "\t", "\n", "\r", " ", "1", "a", "<top>", "<num>", "<title>", "{", '"_id":'])
    ).map(lambda parts: "".join(parts).encode()),
)


@given(
    st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", "", ".csv.gz"]), st.sampled_from([".csv", ".tsv", ""]),
    CONTENT, CONTENT,
)  # fmt: skip
def test_no_content_breaks_the_readers(kind: str, other: str, queries: bytes, qrels: bytes) -> None:
    """Whatever the files hold: a collection whose questions are all judged, or one error of ours."""
    with tempfile.TemporaryDirectory() as name:
        paths = Path(name, f"queries{kind}"), Path(name, f"judged{other}")
        paths[0].write_bytes(queries)
        paths[1].write_bytes(qrels)
        for good, path in (("1,x\n", "good.csv"), ("1,a,1\n", "grades.csv")):
            Path(name, path).write_text(good)
        for pair in (paths, (paths[0], Path(name, "grades.csv")), (Path(name, "good.csv"), paths[1])):
            try:
                loaded = load_questions(*pair)
            except SourceError:
                continue
            assert loaded.queries
            assert loaded.queries.keys() == loaded.qrels.keys()
            assert all(loaded.queries.values())
