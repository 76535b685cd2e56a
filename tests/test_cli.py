"""The command line: help, exit codes, output for machines, and dry runs that change nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.onnx_models import shipped
from opensearch_splade.plugin.launcher import RunningNode

TEXTS = {"1": "A fox runs over the hill.", "2": "The dog sleeps by the fire."}


def osplade(*arguments: str) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(main, list(arguments))


def commands(group: click.Command = main, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command that does something."""
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, *path, name)
    else:
        yield path


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Two documents."""
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in TEXTS.items()), "utf-8")
    return str(path)


@pytest.fixture
def ingest(corpus: str, tmp_path: Path, node: RunningNode, index_name: str) -> list[str]:
    """The call that brings the two documents into an index of their own."""
    where = ["--index", index_name, "--url", node.url, "--dead-letters", str(tmp_path / "dead.jsonl")]
    return ["ingest", corpus, *where, "--bundle", "splade-tiny-idf"]


@pytest.fixture
def asked(ingest: list[str], node: RunningNode, index_name: str) -> list[str]:
    """The options that name the filled index."""
    assert osplade(*ingest).exit_code == 0
    return ["--index", index_name, "--url", node.url]


def indices(client: OpenSearch, name: str) -> dict[str, str]:
    """Every index called like this with what changes when anything is written to it; other tests write to others."""
    found = client.indices.stats(index=f"*{name}*", metric="docs,indexing", params={"expand_wildcards": "all"})
    return {
        one: f"{about['uuid']} {about['primaries']['indexing']['index_total']}"
        for one, about in found["indices"].items()
    }


@contextmanager
def listened(url: str) -> Iterator[tuple[str, list[str]]]:
    """A loopback proxy to the node, and the method and path of each request that passed."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            seen.append(f"{self.command} {self.path.partition('?')[0]}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {
                name: self.headers[name] for name in ("Content-Type", "Content-Encoding") if name in self.headers
            }
            request = Request(f"{url}{self.path}", body or None, headers, method=self.command)  # noqa: S310 - the node
            with urlopen(request) as answer:  # noqa: S310 - the node
                content = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_HEAD = forward  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    """`-h` and `--help` say the same: what the command does, and a call of it to copy."""
    result = osplade(*path, "--help")
    assert result.exit_code == 0
    assert result.output == osplade(*path, "-h").output
    assert re.search(rf"Example:\n +osplade {' '.join(path)}\b", result.output)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_options_are_explained_and_examples_use_them(path: tuple[str, ...]) -> None:
    """Every option has a help text or a list of choices, and an example names no option that is not there."""
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or command
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert not [param.name for param in options if not param.help and not isinstance(param.type, click.Choice)]
    calls = re.findall(r"^ *osplade .*$", command.help or "", re.MULTILINE)
    assert set(re.findall(r" (--[\w-]+)", " ".join(calls))) <= {name for param in options for name in param.opts}


def test_the_version_is_the_installed_one() -> None:
    """`--version` says what pip says."""
    assert osplade("--version").output == f"osplade, version {version('opensearch-splade')}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["ingest"], 2, "Missing option '--index'"),
        (["ingest", "--index", "x", "--bundle", "splade-tiny"], 2, "Give SOURCE, or --retry-dead-letters FILE"),
        (["ingest", "a", "--index", "x", "--bundle", "b", "--no-ledger", "--again"], 2, "--no-ledger goes without"),
        (["search"], 2, "Missing argument 'QUESTION'"),
        (["ingest", "corpus.jsonl", "--index", "x"], 2, "Missing option '--bundle'"),
        (["search", "fox"], 2, "Missing option '--index'"),
        (["search", "fox", "--index", "x", "--size", "0"], 2, "0 is not in the range"),
        (["search", "fox", "--index", "x", "--query-side", "both"], 2, "'both' is not one of"),
        (
            ["ingest", "a", "--index", "x", "--bundle", "splade-tiny", "--device", "abacus"],
            1,
            "'abacus' is not a device",
        ),
        (["search", "fox", "--index", "x", "--url", "localhost"], 1, "give its URL"),
        (["search", "fox", "--index", "x", "--query-prune", "top_k:0"], 1, "it takes a whole number > 0"),
        (["search", "fox", "--index", "x", "--two-step", "top_k:0"], 1, "it takes a whole number > 0"),
        (["eval", "fox", "--index", "x", "--query-prune", "alpha_mass:0.9"], 1, "write max_ratio:RATIO, top_k:NUMBER"),
        (["bundles", "no-such-bundle"], 1, "There is no bundle no-such-bundle"),
        (["export", "a", "b", "--query-weights", "bm25"], 1, "write idf:COLLECTION, bm25:COLLECTION, table:FILE or"),
        (["export", "a", "b", "--query-weights", "binary:x"], 1, "--query-weights binary:x: write"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, message: str) -> None:
    """A wrong call exits with 2, an error with 1; the last line says why, on standard error, without a traceback."""
    result = osplade(*arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert "Traceback" not in result.stderr


def test_the_installed_command_tells_errors_too(tmp_path: Path) -> None:
    """As a process: one line on standard error, nothing on standard output, exit code 1."""
    command = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()", "bundles", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path} has no bundle.json, so it is not a bundle; it is foreign.\n"


def test_bundles_are_listed() -> None:
    """A table for people with every shipped bundle; JSON for machines with their manifests."""
    table, found = osplade("bundles"), json.loads(osplade("bundles", "--json").stdout)
    assert table.exit_code == 0
    assert list(found) == shipped()
    for name, manifest in found.items():
        assert name in table.stdout
        assert manifest["fingerprint"] in table.stdout
    assert list(json.loads(osplade("bundles", "splade-tiny", "--json").stdout)) == ["splade-tiny"]


@pytest.mark.parametrize("command", ["ingest", "search", "eval"])
def test_bundles_are_completed(command: str) -> None:
    """Tab after `--bundle` offers the shipped bundles that begin like this, and folders."""
    completion = ShellComplete(main, {}, "osplade", "_OSPLADE_COMPLETE")
    found = completion.get_completions([command, "--bundle"], "splade")
    assert [one.value for one in found if one.type == "plain"] == [
        name for name in shipped() if name.startswith("splade")
    ]
    assert [one.type for one in found if one.type != "plain"] == ["dir"]


@pytest.mark.server
def test_node_status_tells_machines_where_it_runs(
    node: RunningNode, own_node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON with the URL and the health, and exit code 0."""
    if node.how not in {"local", "running"}:
        pytest.skip("the node of this run is not a local one")
    if own_node.exists():
        monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(own_node))
    result = osplade("node", "status", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["running"], said["url"]) == (0, True, node.url)
    assert said["health"] in {"green", "yellow"}
    assert node.url in osplade("node", "status").stdout


def test_node_status_tells_machines_that_none_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON too, and exit code 1."""
    monkeypatch.setenv("OPENSEARCH_SPLADE_NODE", str(tmp_path))
    result = osplade("node", "status", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"running": False})
    assert "`osplade node start` starts one" in osplade("node", "status").stdout


@pytest.mark.server
def test_ingest_reports_to_machines_and_people(ingest: list[str], client: OpenSearch, index_name: str) -> None:
    """`--json` is one JSON object with the counts; without it, a sentence."""
    report = json.loads(osplade(*ingest, "--json").stdout)
    assert {name: report[name] for name in ("read", "indexed", "dead", "truncated", "retries")} == {
        "read": 2,
        "indexed": 2,
        "dead": 0,
        "truncated": 0,
        "retries": 0,
    }
    stored = client.search(index=index_name)["hits"]["hits"]
    assert report["features"] == sum(len(hit["_source"]["sparse"]) for hit in stored)
    assert osplade(*ingest).stdout.startswith(f"2 documents in '{index_name}', ")


@pytest.mark.server
def test_a_dry_run_of_ingest_changes_nothing(
    ingest: list[str], corpus: str, tmp_path: Path, client: OpenSearch, index_name: str
) -> None:
    """It says what would happen; no index is made or written to, and no file appears."""
    with Path(corpus).open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "3"}\nnonsense\n')
    files = sorted(tmp_path.iterdir())
    before = indices(client, index_name)
    result = osplade(*ingest, "--query-weights", "idf", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["would_be_made"], found["documents"], found["dead_letters"]) == (True, 2, 2)
    assert [one["place"] for one in found["first_dead_letters"]] == ["corpus.jsonl:3", "corpus.jsonl:4"]
    assert found["sample"]["features_each"] > 1
    assert {name: one for name, one in indices(client, index_name).items() if name.startswith(index_name)} == {}
    assert sorted(tmp_path.iterdir()) == files

    assert osplade(*ingest).exit_code == 3
    written = indices(client, index_name)
    assert written[index_name] != before.get(index_name)
    again = json.loads(osplade(*ingest, "--dry-run").stdout)
    assert again["would_be_made"] is False
    assert indices(client, index_name)[index_name] == written[index_name]


@pytest.mark.server
def test_search_answers_machines_and_people(asked: list[str]) -> None:
    """`--json` is one object with the hits and why they match; without it, a table with the same ids."""
    result = osplade("search", "fox", *asked, "--mode", "neural-sparse", "--explain", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [hit["id"] for hit in found["hits"]] == ["1"]
    assert found["hits"][0]["text"] == TEXTS["1"]
    assert found["hits"][0]["why"][0]["feature"] == "fox"
    assert found["notices"] == []
    table = osplade("search", "fox", *asked, "--mode", "neural-sparse", "--explain").stdout
    assert TEXTS["1"] in table
    assert "fox" in table.split(TEXTS["1"])[1]
    assert "100%" in table


@pytest.mark.server
def test_a_dry_run_of_search_sends_no_search(asked: list[str], node: RunningNode) -> None:
    """The body is printed; the server is asked what it is and holds, and not the question."""
    with listened(node.url) as (url, seen):
        asked = [*asked[:2], "--url", url]
        result = osplade("search", "fox", *asked, "--mode", "neural-sparse", "--size", "3", "--dry-run")
        assert result.exit_code == 0, result.output
        body: dict[str, Any] = json.loads(result.stdout)
        assert not [one for one in seen if "_search" in one]
        assert json.loads(osplade("search", "fox", *asked, "--json").stdout)["hits"]
        assert [one for one in seen if "_search" in one]
    assert body["size"] == 3
    assert list(body["query"]["neural_sparse"]["sparse"]["query_tokens"]) == ["fox"]


@pytest.mark.server
def test_a_search_in_two_steps(asked: list[str]) -> None:
    """Candidates by the strongest features, scores by all; a mode that has none is refused with what to ask."""
    question = ["search", "the quick brown fox", *asked, "--two-step", "top_k:1", "--dry-run"]
    body: dict[str, Any] = json.loads(osplade(*question, "--mode", "neural-sparse").stdout)
    first = body["query"]["neural_sparse"]["sparse"]["query_tokens"]
    second = body["rescore"]["query"]["rescore_query"]["neural_sparse"]["sparse"]["query_tokens"]
    assert len(first) == 1 < len(second)
    assert first.items() <= second.items()
    assert body["rescore"]["window_size"] == 200
    refused = osplade(*question, "--mode", "bm25")
    assert refused.exit_code == 1
    assert "ask neural-sparse" in refused.output


@pytest.mark.server
def test_a_search_rescored_by_another_ranking(asked: list[str]) -> None:
    """By weights and a window of its own; what is no pair of numbers is refused."""
    question = ["search", "the quick brown fox", *asked, "--mode", "bm25", "--rescore", "neural-sparse"]
    how = ["--rescore-weights", "1,0.3", "--window", "50"]
    rescore = json.loads(osplade(*question, *how, "--dry-run").stdout)["rescore"]
    assert rescore["window_size"] == 50
    assert "neural_sparse" in rescore["query"]["rescore_query"]
    assert (rescore["query"]["query_weight"], rescore["query"]["rescore_query_weight"]) == (1.0, 0.3)
    assert json.loads(osplade(*question, *how, "--json").stdout)["hits"][0]["id"] == "1"
    assert "two numbers with a comma" in osplade(*question, "--rescore-weights", "1").output
    assert "goes with two_step or rescore" in osplade("search", "fox", *asked, "--window", "50").output


@pytest.mark.server
@pytest.mark.parametrize("side", ["inference-free", "siamese"])
def test_questions_are_pruned(asked: list[str], side: str) -> None:
    """Both query sides: the strongest features of the whole question are asked with."""
    question = ["search", "the quick brown fox", *asked, "--mode", "neural-sparse", "--query-side", side, "--dry-run"]

    def sent(*options: str) -> dict[str, float]:
        body: dict[str, Any] = json.loads(osplade(*question, *options).stdout)
        tokens: dict[str, float] = body["query"]["neural_sparse"]["sparse"]["query_tokens"]
        return tokens

    whole = sent()
    assert len(whole) > 2
    assert list(sent("--query-prune", "top_k:2").items()) == list(whole.items())[:2]
    assert sent("--query-prune", "max_ratio:0.9,top_k:1") == dict(list(whole.items())[:1])


@pytest.mark.server
def test_the_environment_names_the_cluster(asked: list[str], node: RunningNode) -> None:
    """Without `--url`, `OPENSEARCH_URL` is asked."""
    environment = {**os.environ, "OPENSEARCH_URL": node.url}
    result = CliRunner(env=environment).invoke(main, ["search", "fox", *asked[:2], "--json"])
    assert json.loads(result.stdout)["hits"][0]["id"] == "1"


@pytest.mark.server
@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
def test_a_boost_is_a_line_of_the_explanation(asked: list[str], mode: str) -> None:
    """It adds its number to the score, and stands beside the rankings; nonsense is refused with what to write."""
    how = [*asked, "--mode", mode, "--json"]
    [plain] = json.loads(osplade("search", "fox", *how).stdout)["hits"]
    boosted = ["--boost", "id=1*0.25", "--boost", "id=2*9", "--explain"]
    [hit] = json.loads(osplade("search", "fox", *how, *boosted).stdout)["hits"]
    assert hit["score"] == pytest.approx(plain["score"] + 0.25)
    assert [(one["feature"], one["score"]) for one in hit["boosts"]] == [("id=1", 0.25)]
    assert sum(leg["contribution"] for leg in hit["legs"]) == pytest.approx(plain["score"])
    assert "boost id=1 0.25 × 1 = 0.25" in osplade("search", "fox", *how[:-1], *boosted).stdout
    assert "write FIELD=VALUE*BOOST" in osplade("search", "fox", *asked, "--boost", "id=1").output


@pytest.mark.server
def test_search_explains_on_a_page_and_as_json(asked: list[str], tmp_path: Path) -> None:
    """The page marks the word that matched; JSON has the arithmetic of the ranking and the word's place."""
    page = tmp_path / "why.html"
    told = ["--mode", "neural-sparse", "--html", str(page), "--timeout", "20", "--json"]
    [hit] = json.loads(osplade("search", "fox", *asked, *told).stdout)["hits"]
    [leg] = hit["legs"]
    assert leg["contribution"] == leg["score"] == hit["score"]
    assert sum(part["share"] for part in leg["why"]) == pytest.approx(1)
    [word] = hit["marked"]["words"]
    assert hit["marked"]["text"][word["start"] : word["end"]].lower() == "fox"
    assert '<mark class="much" title="100.0%">' in page.read_text(encoding="utf-8")
