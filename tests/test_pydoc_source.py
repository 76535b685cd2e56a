"""The standard library's documentation as a document source."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest import pydoc_source
from opensearch_splade.ingest.pydoc_source import LEAST, WHOLE, cut, read_pydoc
from opensearch_splade.types import Document

KINDS = {"module", "class", "function", "method", "attribute", "topic"}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(read_pydoc())


def test_there_are_enough_passages_of_every_kind(documents: list[Document]) -> None:
    """The library gives a corpus of useful size, and each kind of object is in it."""
    counts = Counter(document.metadata["kind"] for document in documents)
    assert len(documents) >= 5000
    assert set(counts) == KINDS
    assert min(counts.values()) >= 100


def test_ids_are_unique_and_sorted_by_object(documents: list[Document]) -> None:
    """An id names one passage, and the passages of an object follow one another."""
    ids = [document.id for document in documents]
    assert len(set(ids)) == len(ids)
    objects = [name.partition("#")[0] for name in ids]
    assert objects == sorted(objects)


def test_further_passages_are_numbered_from_two_without_gaps(documents: list[Document]) -> None:
    """`x#3` exists only where `x` and `x#2` do."""
    ids = {document.id for document in documents}
    for name, _, number in (each.partition("#") for each in ids):
        if number:
            assert {name, *(f"{name}#{before}" for before in range(2, int(number)))} <= ids


def test_two_runs_give_the_same_documents(documents: list[Document]) -> None:
    """Each run is a new process with its own hash seed and addresses; none of them shows."""
    assert list(read_pydoc()) == documents


def test_no_memory_address_is_shown(documents: list[Document]) -> None:
    """Titles and texts hold no `at 0x7f...` of this very process."""
    assert not [each.id for each in documents if re.search(r" at 0x[0-9a-fA-F]{6,}", f"{each.title} {each.text}")]


def test_titles_do_not_name_this_machine(documents: list[Document]) -> None:
    """Defaults that are paths of this installation (`platform.architecture`) are left out of the signatures."""
    assert not [each.id for each in documents if sys.prefix in each.title or sys.base_prefix in each.title]


def test_lengths_are_bounded(documents: list[Document]) -> None:
    """No passage is empty, says less than four words, or is longer than a model reads."""
    for document in documents:
        assert 4 <= len(document.text.split()) <= WHOLE + 2 * LEAST, document.id
        assert len(document.text) <= 4000, document.id
        assert 1 <= len(document.title) <= 400, document.id


def test_no_object_repeats_the_text_of_another(documents: list[Document]) -> None:
    """Inherited and copied docstrings stand once: `bytearray.strip` does not repeat `bytes.strip`."""
    whole: dict[str, str] = {}
    for document in documents:
        name = document.id.partition("#")[0]
        whole[name] = f"{whole.get(name, '')} {' '.join(document.text.split())}"
    assert not [text for text, count in Counter(whole.values()).items() if count > 1]


@pytest.mark.parametrize(
    ("name", "kind", "title", "words"),
    [
        ("csv", "module", "csv", "CSV parsing and writing"),
        ("json.dumps", "function", "json.dumps(obj, *, skipkeys=False", "Serialize ``obj`` to a JSON formatted"),
        ("collections.Counter", "class", "collections.Counter(iterable=None", "counting hashable items"),
        ("str.split", "method", "str.split(sep=None, maxsplit=-1)", "separator"),
        ("open", "function", "open(file, mode='r'", "return a stream"),
        ("os.path.join", "function", "os.path.join(", "pathname components"),
        ("pathlib.PurePath.suffix", "attribute", "pathlib.PurePath.suffix", "last suffix"),
        ("topic:with", "topic", 'The "with" statement', "context manager"),
    ],
)
def test_well_known_objects_have_their_best_name(
    documents: list[Document], name: str, kind: str, title: str, words: str
) -> None:
    """An object stands under the name that users write, with its signature as title and its docstring as text."""
    document = next(each for each in documents if each.id == name)
    assert document.metadata["kind"] == kind
    assert document.title.startswith(title)
    assert words in document.text


@pytest.mark.parametrize(
    "name",
    ["json.decoder.JSONDecoder", "posixpath.join", "random.Random.choice", "IOError", "dict.__init__", "builtins.len"],
)
def test_other_names_of_the_same_object_are_left_out(documents: list[Document], name: str) -> None:
    """Each object stands once, and generated docstrings not at all."""
    assert name not in {document.id for document in documents}


def test_nothing_of_the_walk_is_imported_here() -> None:
    """Reading leaves this process as it was: no standard module beyond what the reader itself needs is loaded."""
    program = """if True:
        import sys
        from opensearch_splade.ingest.pydoc_source import read_pydoc
        count = sum(1 for _ in read_pydoc())
        print(count, *sorted({"antigravity", "this", "asyncio", "curses", "readline", "tkinter"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, *imported = done.stdout.split()
    assert int(count) >= 5000
    assert imported == []
    assert done.stderr == ""


def test_the_walk_prints_nothing_but_json_lines() -> None:
    """What modules print on import does not get into the records."""
    walk = pydoc_source.__file__.replace("pydoc_source", "pydoc_walk")
    done = subprocess.run([sys.executable, "-I", "-S", walk], capture_output=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(sorted(each)) for each in records} == {("doc", "id", "kind", "module", "title")}
    assert not {"antigravity", "this", "test"} & {each["module"].partition(".")[0] for each in records}


def test_a_failing_child_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the interpreter, the exit status and the child's last words."""
    broken = tmp_path / "walk.py"
    broken.write_text("raise RuntimeError('no library here')\n")
    monkeypatch.setattr(pydoc_source, "_WALK", broken)
    with pytest.raises(SourceError, match=r"exit status 1.*RuntimeError: no library here"):
        list(read_pydoc())


def test_a_code_example_stays_with_the_sentence_that_introduces_it() -> None:
    """Text is cut between paragraphs, but not between a colon and what follows, nor before deeper indentation."""
    prose = "word " * 143
    text = f"{prose}\n\nFor example:\n\n    code()\n\nname(x)\n\n    Its meaning.\n\n{prose}"
    assert cut(text) == [prose.strip(), f"For example:\n\n    code()\n\nname(x)\n\n    Its meaning.\n\n{prose.strip()}"]


@given(st.lists(st.tuples(st.sampled_from(["", "    ", "        "]), st.integers(1, 300), st.booleans()), max_size=30))
def test_cutting_keeps_every_word_in_order(paragraphs: list[tuple[str, int, bool]]) -> None:
    """Passages joined again are the text, and each is bounded."""
    text = "\n\n".join(
        "\n".join(f"{indent}w{number}_{line}" for line in range(words)) + (":" if colon else "")
        for number, (indent, words, colon) in enumerate(paragraphs)
    )
    passages = cut(text)
    assert " ".join(passages).split() == text.split()
    assert all(len(passage.split()) <= WHOLE + 2 * LEAST for passage in passages)
