"""A cluster that asks who you are: ways to log in, ways to be refused, and the least that each command needs."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkpoints import masked_lm
from least_users import ROLES, User, as_, trusting
from migrations import WORDS
from opensearchpy import helpers
from secured_node import SecuredNode, secured_node

from opensearch_splade.errors import ClusterError
from opensearch_splade.onnx_models.export import export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable
from opensearch_splade.plugin.client import connect, server_info

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("no_cluster_named")]
STANDARD = ["--bundle", "splade-tiny-idf", "--analyzer", "standard"]
"""The minimal distribution has no English analyzer."""


@pytest.fixture(scope="module")
def secured(open_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNode]:
    with secured_node(open_folder / "secured", tmp_path_factory.mktemp("certificates")) as running:
        yield running


@pytest.fixture(scope="module")
def admin(secured: SecuredNode) -> Iterator[OpenSearch]:
    """By the administrator's certificate alone."""
    with connect(secured.url, **trusting(secured), **as_(secured.admin)) as client:
        yield client


def who(secured: SecuredNode, url: str = "", **given: Any) -> dict[str, Any]:
    """As whom the cluster sees us."""
    with connect(url or secured.url, **given) as client:
        server_info(client)
        return dict(client.transport.perform_request("GET", "/_plugins/_security/authinfo"))


def refused(secured: SecuredNode, url: str = "", **given: Any) -> str:
    with connect(url or secured.url, **given) as client, pytest.raises(ClusterError) as raised:
        server_info(client)
    return str(raised.value)


def test_each_way_to_log_in(secured: SecuredNode) -> None:
    """Password, administrator's and user's certificate, and a token of the cluster's own JWT back end."""
    known = trusting(secured)
    password = {"user": "admin", "password": secured.password}
    assert who(secured, **known, **password)["user_name"] == "admin"
    assert who(secured, insecure=True, **password)["user_name"] == "admin"
    assert who(secured, **known, **as_(secured.admin))["user_name"] == "CN=administrator"
    token = secured.token("somebody", ["admin"])
    assert who(secured, **known, token=token)["user_name"] == "somebody"
    assert who(secured, insecure=True, **as_(secured.admin))["user_name"] == "CN=administrator"
    two = f"https://localhost:{secured.port},127.0.0.1:1,127.0.0.1:{secured.port}"
    for _ in range(3):
        assert who(secured, two, **known, **password)["user_name"] == "admin"


def test_each_way_to_be_refused(secured: SecuredNode) -> None:
    """With the remedy, and never with what was sent."""
    known = trusting(secured)
    wrong = secrets.token_urlsafe()
    said = refused(secured, **known, user="admin", password=wrong)
    assert "refuses the user or password (401)" in said
    assert wrong not in said
    assert "asks for credentials (401): set OPENSEARCH_USER" in refused(secured, **known)
    expired = secured.token("somebody", ["admin"], seconds=-600)
    said = refused(secured, **known, token=expired)
    assert "refuses the token (401): it may have expired" in said
    assert expired not in said
    nobody = secured.token("somebody", [])
    assert "(403): it needs cluster:monitor/main" in refused(secured, **known, token=nobody)
    for trust in ({"ca_certs": str(secured.stranger.certificate)}, {}):
        said = refused(secured, **trust, user="admin", password=secured.password)
        assert "certificate was not accepted" in said
        assert "OPENSEARCH_CA_CERTS" in said
    elsewhere = f"https://127.0.0.2:{secured.port}"
    if "cannot be reached" not in (said := refused(secured, elsewhere, **known)):  # macOS has one loopback address
        assert "its certificate is of another host" in said
    assert "https:// URL" in refused(secured, secured.url.replace("https", "http"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small judged collection, and what commands write."""
    at = tmp_path_factory.mktemp("least")
    (at / "col" / "qrels").mkdir(parents=True)
    _write_corpus(at, "near")
    questions = [{"_id": f"q{n}", "text": f"{WORDS[n]} and {WORDS[(n * 5 + 1) % 14]}"} for n in range(12)]
    (at / "col" / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    judged = "".join(f"q{n}\t{n}\t1\nq{n}\t{n + 14}\t1\n" for n in range(12))
    for split in ("train", "test"):
        (at / "col" / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return at


def _write_corpus(at: Path, said: str, more: str = "") -> None:
    texts = [f"the {WORDS[n % 14]} and the {WORDS[(n * 5 + 1) % 14]} {said} {n}. {more}" for n in range(40)]
    lines = [json.dumps({"_id": str(n), "title": WORDS[n % 14], "text": text}) for n, text in enumerate(texts)]
    (at / "col" / "corpus.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def user(secured: SecuredNode, admin: OpenSearch, folder: Path) -> Any:
    return lambda role: User(secured, admin, role, folder)


@pytest.fixture(scope="module")
def docs(user: Any, folder: Path) -> str:
    """Ingested by the least user, then again with passages that become fewer."""
    ingest = user("osplade-ingest")
    ingest.runs("ingest col --index docs --query-weights idf", *STANDARD)
    _write_corpus(folder, "beside")
    ingest.runs("ingest col --index docs --query-weights idf", *STANDARD)
    return "docs"


@pytest.mark.parametrize(
    ("role", "commands"),
    [
        (
            "osplade-search",
            [
                "search fox --index docs --mode bm25+weighted-terms:linear --explain",
                "search fox --index docs --mode weighted-terms --feedback rm3:3:100:0.7",
                "search fox --index docs --mode weighted-terms --two-step top_k:4",
            ],
        ),
        (
            "osplade-eval",
            [
                "eval col --index docs --mode bm25 --mode weighted-terms --report report.html --out runs",
                "tune-search col --index docs --split test --cross-validate",
            ],
        ),
        (
            "osplade-read-all",
            [
                "audit col --index docs --bundle splade-tiny-idf",
                "inspect --index docs --collection col",
                "exhaust fox --index docs --out all.jsonl",
                "export-index docs --format ciff --out ciff",
                "make-questions docs --kind known-item --count 5 --out questions",
            ],
        ),
    ],
)
@pytest.mark.usefixtures("docs")
def test_the_role_of_the_document_is_enough_to_read(user: Any, role: str, commands: list[str]) -> None:
    """Each command of the paragraph above the role; writing is refused by the name of the permission."""
    reader = user(role)
    for command in commands:
        reader.runs(command)
    ran = reader.tries("ingest col --index docs", *STANDARD)
    assert ran.exit_code == 1
    assert "indices:" in ran.output
    assert "docs/security.md" in ran.output


@pytest.mark.export
@pytest.mark.usefixtures("docs")
def test_the_role_of_the_document_is_enough_to_adapt(user: Any, folder: Path) -> None:
    """Who may read all may learn from the documents of an index, and from its rankings."""
    checkpoint = masked_lm("bert", folder / "bert")
    export_bundle(str(checkpoint), folder / "old", query_weights=QueryTable("binary"))
    call = "adapt index:docs --bundle old --checkpoint bert --teacher bm25 --steps 1 --mine-from index:docs --out new"
    user("osplade-read-all").runs(call)


@pytest.mark.usefixtures("docs")
def test_the_role_of_the_document_is_enough_to_ingest(user: Any, folder: Path, admin: OpenSearch) -> None:
    """Changed documents, and passages of which a document has fewer than before, so that some are deleted."""
    ingest = user("osplade-ingest")
    admin.indices.delete(index="docs")
    cut = ["--passages", "windows:16", "--store-passages", "documents", *STANDARD]
    counts = []
    for more in (" ".join(WORDS) * 3, ""):
        _write_corpus(folder, "by", more)
        ingest.runs("ingest col --index docs", *cut)
        counts.append(admin.count(index="docs")["count"])
    assert counts[0] > counts[1] >= 40
    user("osplade-read-all").runs("audit col --index docs", "--bundle", "splade-tiny-idf")


def test_the_roles_of_the_document_are_enough_to_migrate(user: Any, folder: Path, admin: OpenSearch) -> None:
    """Every step by a user of that step alone, with documents written before cutover and before rollback."""
    fields = {"title": {"type": "text"}, "body": {"type": "text"}}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    body = {"settings": settings, "mappings": {"dynamic": "strict", "properties": fields}, "aliases": {"docs-live": {}}}
    admin.indices.create(index="docs-old", body=body)
    rows = ({"_index": "docs-old", "_id": str(n), "title": f"fox {n}", "body": WORDS[n % 14]} for n in range(40))
    helpers.bulk(admin, rows, refresh=True)
    at = "--source docs-old --target docs-new"
    kept = "--state osplade-migration-docs-new"
    run, verify, cut = user("osplade-migrate-run"), user("osplade-migrate-verify"), user("osplade-migrate-cutover")
    user("osplade-migrate-plan").runs(f"migrate plan {at}")
    assert not admin.cat.indices(index="osplade-scratch-*")
    run.runs(f"migrate run {at}")
    admin.delete(index="docs-old", id="0")
    run.runs(f"migrate run {at}")
    verify.runs(f"migrate status {kept}")
    verify.runs(f"migrate verify {kept}")
    verify.runs(f"migrate compare {kept} --queries col/queries.jsonl --mode weighted-terms")
    ran = verify.tries(f"migrate cutover {kept} --yes")
    assert ran.exit_code == 1
    admin.index(index="docs-live", id="late", body={"title": "late", "body": "fox"})
    cut.runs(f"migrate cutover {kept} --yes")
    assert list(admin.indices.get_alias(name="docs-live")) == ["docs-new"]
    admin.index(index="docs-live", id="later", body={"title": "later", "body": "fox"})
    cut.runs(f"migrate rollback {kept} --yes")
    assert admin.exists(index="docs-old", id="later")
    run.runs(f"migrate run {at}")
    verify.runs(f"migrate verify {kept}")
    cut.runs(f"migrate cutover {kept} --yes")
    user("osplade-migrate-clean").runs(f"migrate clean {kept} --confirm docs-old")
    assert not admin.indices.exists(index="docs-old")
    assert admin.count(index="docs-live")["count"] == 41
    shutil.rmtree(folder / "osplade-migration-docs-new", ignore_errors=True)


def test_every_role_of_the_document_is_tried() -> None:
    """A block that no test makes would be a claim."""
    tests = [Path(__file__), Path(__file__).with_name("test_cluster_roles.py")]
    tried = {role for test in tests for role in re.findall(r'"(osplade-[a-z-]+)"', test.read_text("utf-8"))}
    assert set(ROLES) == tried & set(ROLES)
    assert len(ROLES) == 17
