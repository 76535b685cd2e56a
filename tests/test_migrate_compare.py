"""Comparison of both indices by users' questions: figures, judgements, and the page by which people judge."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import Page, browser
from click.testing import CliRunner
from migrated import Migrated, migrated

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError, QueryError
from opensearch_splade.evaluation.questions import Question
from opensearch_splade.evaluation.templates import Template
from opensearch_splade.migration.compare import Answer, Both, Compared, compare
from opensearch_splade.migration.compare_page import render_html
from opensearch_splade.types import Hit

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

HOSTILE = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>\"\x00\ud800"
QUESTIONS = [Question("q1", "image viewer"), Question("q2", "sound library", 3), Question("q3", "development files")]


@pytest.fixture(scope="module")
def pair(client: OpenSearch, collections_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    """One migration, which nobody changes."""
    name = f"test-compare-{uuid.uuid4().hex[:8]}"
    try:
        yield migrated(client, name, collections_dir, tmp_path_factory.mktemp("state") / "migration")
    finally:
        client.indices.delete(index=f"{name}-old,{name}-new", params={"ignore_unavailable": "true"})


@pytest.mark.server
def test_the_same_way_of_asking_gives_the_same_hits(pair: Migrated) -> None:
    """BM25 of the new index is BM25 of the old one: the fields, analyzers and documents are the same."""
    asked = {"multi_match": {"query": "{{query}}", "fields": ["title", "body"], "type": "most_fields"}}
    found = compare(pair.job, QUESTIONS, template=Template("as bm25 asks", {"query": asked}, ""), mode="bm25")
    assert [each.question for each in found.answers] == QUESTIONS
    for each in found.answers:
        assert [hit.score for hit in each.old.hits] == [hit.score for hit in each.new.hits]
        assert each.old.hits
        assert (each.old.hits[0].title, each.old.hits[0].text) != ("", "")
    assert found.mean(lambda each: each.rbo) > 0.8  # ties may fall either way
    assert compare(pair.job, QUESTIONS[:1]).old_way == "multi_match title, body"


@pytest.mark.server
def test_a_new_way_of_asking_gives_others(pair: Migrated) -> None:
    """Hits of the hybrid differ; both were timed; means are weighted by how often a question was asked."""
    told = list[int]()
    found = compare(pair.job, QUESTIONS, tell=told.append)
    assert told == [1, 2, 3]
    assert any(each.rbo < 1 for each in found.answers)
    assert all(each.old.client_ms > 0 and each.new.client_ms > 0 for each in found.answers)
    by_hand = sum(each.rbo * each.question.count for each in found.answers) / 5
    assert found.mean(lambda each: each.rbo) == pytest.approx(by_hand)


@pytest.mark.server
def test_the_user_s_own_body_asks_the_old_index(pair: Migrated, tmp_path: Path) -> None:
    """With its filters; a body that the server refuses leaves its question out by name, and all of them end it."""
    path = tmp_path / "body.json"
    query = {"bool": {"must": {"match": {"body": "{{query}}"}}, "filter": {"range": {"id": {"lt": 50}}}}}
    path.write_text(json.dumps({"query": query, "from": 5, "size": 3}), encoding="utf-8")
    found = compare(pair.job, QUESTIONS, template=Template.load(str(path)))
    numbers = [int(hit.id.removeprefix("d")) for each in found.answers for hit in each.old.hits]
    assert numbers
    assert max(numbers) < 50
    path.write_text(json.dumps({"query": {"query_string": {"query": "{{query}}"}}}), encoding="utf-8")
    wrong = Question("bad", "broken (")
    found = compare(pair.job, [*QUESTIONS, wrong], template=Template.load(str(path)))
    assert [each.question for each in found.answers] == QUESTIONS
    [(id_, side, reason)] = found.failed
    assert (id_, side) == ("bad", "old")
    assert "Failed to parse query" in reason
    with pytest.raises(MigrationError, match=r"no question could be asked of both indices .*Failed to parse query"):
        compare(pair.job, [wrong], template=Template.load(str(path)))
    path.write_text(json.dumps({"query": {"bool": {"must": "{{sparse}}"}}}), encoding="utf-8")
    with pytest.raises(QueryError, match=r"of an old index only \{\{query\}\} can be asked"):
        compare(pair.job, QUESTIONS, template=Template.load(str(path)))


@pytest.mark.server
def test_judgements_say_which_is_better_and_how_surely(pair: Migrated) -> None:
    """Judged by the old index' own first hits, the old one is perfect; what is not judged does not count."""
    asked = compare(pair.job, QUESTIONS)
    qrels = {each.question.id: {each.old.ids[0]: 1} for each in asked.answers[:2]}
    found = compare(pair.job, QUESTIONS, qrels=qrels)
    assert found.judged is not None
    assert (found.judged.questions, found.judged.old) == (2, 1.0)
    assert found.judged.new <= 1.0
    assert found.judged.comparison.difference == pytest.approx(found.judged.new - 1.0, abs=1e-4)
    assert 0 < found.judged.comparison.p <= 1
    with pytest.raises(MigrationError, match="none of the questions is judged"):
        compare(pair.job, QUESTIONS, qrels={"other": {"d1": 1}})


@pytest.mark.server
def test_the_command_asks_and_writes_a_page(node: RunningNode, pair: Migrated, tmp_path: Path) -> None:
    """From a file or a log; without either it says what is missing; as JSON too."""
    queries, log, qrels, html = (tmp_path / name for name in ("q.tsv", "slow.log", "judged.tsv", "page.html"))
    queries.write_text("".join(f"{one.id}\t{one.text}\n" for one in QUESTIONS), encoding="utf-8")
    log.write_text("".join(f'source[{{"query":{{"match":{{"t":"{one.text}"}}}}}}]\n' for one in QUESTIONS), "utf-8")
    qrels.write_text("q1\td1\t1\n", encoding="utf-8")

    def run(*more: object) -> Any:
        where = ["--url", node.url, "--state", str(pair.job.folder)]
        return CliRunner().invoke(main, ["migrate", "compare", *where, *map(str, more)])

    told = run("--queries", queries, "--qrels", qrels, "--html", html)
    assert told.exit_code == 0, told.output
    assert "3 questions; of the first 10 hits" in told.stdout
    assert "nDCG@10 of 1 judged questions: old" in told.stdout
    assert f"Comparison of {pair.old} and {pair.new}" in html.read_text(encoding="utf-8")
    parsed = run("--log", log, "--top", 5, "--json")
    assert "3 questions in 3 lines" in parsed.stderr
    report = json.loads(parsed.stdout)
    assert report["depth"] == 5
    assert {one["text"] for one in report["questions"]} == {one.text for one in QUESTIONS}
    assert all(len(one["old"]) <= 5 for one in report["questions"])
    assert run().exit_code == 2
    assert "Say where the questions come from" in run().stderr


@pytest.mark.server
def test_it_refuses_where_there_is_no_new_index(pair: Migrated, tmp_path: Path) -> None:
    """And says how to make one."""
    spec = pair.job.spec.model_copy(update={"target": f"{pair.new}-none"})
    job = replace(pair.job, spec=spec, folder=tmp_path / "other", _state=None)
    with pytest.raises(MigrationError, match="no new index to compare with yet: begin with `osplade migrate run`"):
        compare(job, QUESTIONS)


def _answer(*ids: str, text: str = "") -> Answer:
    return Answer(tuple(Hit(id_, 1.0, f"Title of {id_}", f"{text} {id_}") for id_ in ids), 2.0, 1.0)


def _sample(text: str = "A text", questions: int = 8) -> Compared:
    answers = [
        Both(Question(f"q{number} {text}", f"question {number} {text}", number), old, new, 0.5, 0.4)
        for number in range(1, questions)
        for old, new in [(_answer("a", "b", text=text), _answer("b", "c", text=text))]
    ]
    same = Both(Question("same", "same in both"), _answer("a"), _answer("a"), 1.0, 1.0)
    return Compared(10, f"match {text}", "hybrid", [*answers, same], [("q9", "old", text)])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the module."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_texts_of_users_stay_texts(page: Page, tmp_path: Path) -> None:
    """Hostile questions, ids, titles, texts, templates and errors: nothing of them runs, all of them is shown."""
    path = tmp_path / "hostile.html"
    path.write_text(render_html(_sample(HOSTILE), old=HOSTILE, new="new", date=HOSTILE), encoding="utf-8")
    page.open(path)
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    assert page.value("window.owned") is None
    assert page.value("document.querySelectorAll('main img, main script').length") == 0
    assert "<img src=x onerror=" in page.value("document.querySelector('.card .question').textContent")
    assert page.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def test_people_judge_without_knowing_which_is_which(page: Page, tmp_path: Path) -> None:
    """Both orders occur; a choice is kept over a reload and saved by what it means; names show when asked for."""
    path = tmp_path / "page.html"
    path.write_text(render_html(_sample(), old="old-products", new="new-products"), encoding="utf-8")
    page.open(path)
    assert page.value("document.querySelectorAll('.card').length") == 7, "what is the same needs no judgement"
    lefts = page.value("[...document.querySelectorAll('.card')].map(card => card.dataset.left)")
    assert set(lefts) == {"old", "new"}
    visible = "getComputedStyle(document.querySelector('.which')).visibility"
    assert page.value(visible) == "hidden"

    def choose(card: int, choice: str) -> None:
        page.value(f"document.querySelectorAll('.card')[{card}].querySelector('[data-choice={choice}]').click()")

    new_sides = ["left" if left == "new" else "right" for left in lefts]
    choose(0, new_sides[0])
    choose(1, new_sides[1])
    choose(2, "same")
    choose(3, "left")
    choose(3, "left")  # taken back
    assert page.value("document.querySelector('output').textContent") == "3 of 7 judged"
    page.open(path)
    assert page.value("document.querySelector('output').textContent") == "3 of 7 judged"
    page.value("document.querySelector('.bar-top button').click()")
    assert page.value(visible) == "visible"
    told = page.value("document.querySelector('output').textContent")
    assert "new index better 2, old better 0, same 1 (sign test p = 0.500)" in told
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.value("document.querySelectorAll('.bar-top button')[1].click()")
    saved = tmp_path / "judgements.json"
    for _ in range(100):
        if saved.exists() and saved.stat().st_size:
            break
        time.sleep(0.1)
    judgements = json.loads(saved.read_text(encoding="utf-8"))["judgements"]
    assert [one["choice"] for one in judgements] == ["new", "new", "same"]
    assert all(one["question"].startswith("question ") and one["id"].startswith("q") for one in judgements)


def test_without_javascript_there_is_nothing_to_press(page: Page, tmp_path: Path) -> None:
    """Both answers and the table can be read all the same."""
    path = tmp_path / "plain.html"
    path.write_text(render_html(_sample(), old="old", new="new"), encoding="utf-8")
    page.open(path, scripts=False)
    assert page.value("document.querySelectorAll('button, input').length") == 0
    assert page.value("document.querySelectorAll('#questions-table tbody tr').length") == 8


def test_the_same_seed_gives_the_same_page() -> None:
    """Sides and questions are drawn, not thrown anew."""
    sample = _sample(questions=40)
    one, again, other = (render_html(sample, old="a", new="b", shown=10, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one.count('class="card"') == 10
    assert 'data-left="old"' in one
    assert 'data-left="new"' in one


def test_no_text_of_a_user_is_markup() -> None:
    """One script, ours, whatever stands in questions, hits, templates and errors; also where no browser is there."""
    page = render_html(_sample(HOSTILE), old=HOSTILE, new="new", date=HOSTILE)
    assert page.count("<script") == page.count("</script>") == 1
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=") > 50
    page.encode()
