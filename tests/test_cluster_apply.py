"""`osplade cluster apply` and `remove` on a real node with a real encoder behind HTTP."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from provisioned import Encoder, World, bulk, sparse, writing

from opensearch_splade.cli.main import main
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.provisioning.pipelines import PASSAGE, _joined

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOX, BONES = {"title": "Foxes", "text": "A red fox crossed the road."}, {"text": "Vitamin D and bones."}


def settings_of(client: OpenSearch) -> dict[str, Any]:
    found: dict[str, Any] = client.cluster.get_settings(params={"flat_settings": "true"})
    return found


def ids(client: OpenSearch, index: str, query: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in client.search(index=index, body={"query": query})["hits"]["hits"]]


def test_apply_makes_all_of_it_once(client: OpenSearch, world: World, encoder: Encoder, index_name: str) -> None:
    """Plain `_bulk` and `query_text` work; a second apply and a dry run change nothing; remove leaves nothing."""
    before = settings_of(client)
    path = world.write(sparse(index_name, encoder.url))
    dry = world.run("apply", path, "--dry-run", "--json")
    assert dry.exit_code == 0
    assert {one["does"] for one in json.loads(dry.stdout)["objects"]} <= {"make", "change"}
    assert not client.indices.exists(index=index_name)
    assert len(world.apply(path)) >= 7
    assert world.apply(path) == []
    assert world.states("diff", path) == world.states("status", path) == {}
    assert {item["status"] for item in bulk(client, index_name, {"1": FOX, "2": BONES}).values()} == {201}
    assert ids(client, index_name, {"neural_sparse": {"sparse": {"query_text": "foxes"}}})[0] == "1"
    generated = client.index(index=index_name, body=FOX, params={"refresh": "true"})["_id"]
    assert client.get(index=index_name, id=generated)["_source"]["id"] == generated
    removed = world.run("remove", path, "--yes", "--delete-indices", "--json")
    assert removed.exit_code == 0
    assert settings_of(client) == before
    assert world.run("remove", path).stdout == f"nothing of '{index_name}' is there\ndone\n"
    assert set(world.states("diff", path)) >= {f"index {index_name}", f"model osplade/{index_name}/splade/queries"}


def test_settings_are_shown_and_not_set_unasked(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """Nothing at all is changed by an apply that may not set what it needs."""
    elsewhere = encoder.url.replace("127.0.0.1", "127.0.0.2")
    path = world.write(sparse(index_name, elsewhere))
    before = settings_of(client)
    done = world.run("apply", path, "--yes")
    assert done.exit_code == 1
    assert "trusted_connector_endpoints_regex: + ^http://127\\.0\\.0\\.2" in done.output
    assert "--allow-settings" in done.output
    assert settings_of(client) == before
    assert not client.indices.exists(index=index_name)


def test_it_asks_before_it_changes_anything(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """Where nobody answers, nothing is done."""
    path = world.write(sparse(index_name, encoder.url))
    done = CliRunner().invoke(
        main, ["cluster", "apply", str(path), "--url", world.url, "--allow-settings"], input="n\n"
    )
    assert done.exit_code == 1
    assert f"+ index {index_name} (missing)" in done.output
    assert not client.indices.exists(index=index_name)


def test_a_setting_that_others_need_or_changed_stays(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """It is given back when the last owner goes, and only if it still is as it was set."""
    name = "plugins.ml_commons.connector.private_ip_enabled"
    client.cluster.put_settings(body={"persistent": {name: None}})
    before = settings_of(client)
    first = world.write(writing(index_name, encoder.url))
    second = world.write(writing(f"{index_name}-2", encoder.url))
    world.apply(first)
    world.apply(second)
    told = world.run("remove", first, "--yes", "--delete-indices").stdout
    assert "others on this cluster need it" in told
    assert world.states("status", second) == {}
    world.run("remove", second, "--yes", "--delete-indices")
    assert settings_of(client) == before
    world.apply(first)
    client.cluster.put_settings(body={"persistent": {name: False}})
    removed = world.run("remove", first, "--yes")
    assert f"{name} is left as it is: somebody changed it since" in removed.stdout, removed.output
    assert settings_of(client)["persistent"][name] == "false"
    client.cluster.put_settings(body={"persistent": {name: None}})


def test_what_others_made_is_left_alone(client: OpenSearch, world: World, encoder: Encoder, index_name: str) -> None:
    """A pipeline, an index, an alias of a declared name: apply says whose it is, and touches nothing."""
    path = world.write(sparse(index_name, encoder.url))
    theirs = {"description": "ours", "processors": [{"set": {"field": "a", "value": 1}}]}
    client.ingest.put_pipeline(id=f"{index_name}-documents", body=theirs)
    client.indices.create(index=f"{index_name}-theirs", body={"aliases": {index_name: {}}})
    done = world.run("apply", path, "--yes", "--allow-settings")
    assert done.exit_code == 1
    assert f"ingest pipeline {index_name}-documents: it was not made by osplade cluster" in done.output
    assert f"{index_name!r} is an alias of {index_name}-theirs; declare another name" in done.output
    assert client.ingest.get_pipeline(id=f"{index_name}-documents")[f"{index_name}-documents"] == theirs
    world.run("remove", path, "--yes", "--delete-indices")
    assert client.ingest.get_pipeline(id=f"{index_name}-documents")
    client.ingest.delete_pipeline(id=f"{index_name}-documents")


def test_a_changed_file_changes_only_what_it_says(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """A pipeline is put again, a model made beside the old one; what no index can change is refused with a remedy."""
    spec = sparse(index_name, encoder.url)
    path = world.write(spec)
    world.apply(path)
    bulk(client, index_name, {"1": FOX})
    spec["ingest"] = {"documents": {"sparse": "splade", "batch_size": 8}}
    spec["indices"][index_name] |= {"properties": {"shelf": {"type": "keyword"}}, "replicas": 1}
    assert world.apply(world.write(spec)) == [
        f"changed ingest pipeline {index_name}-documents",
        f"changed index {index_name}",
    ]
    assert world.states("diff", path) == {}
    spec["models"]["splade"]["timeout"] = 30
    done = world.apply(world.write(spec))
    assert sum(one.startswith("deleted model") for one in done) == 2
    assert f"changed search pipeline {index_name}-questions" in done
    assert ids(client, index_name, {"neural_sparse": {"sparse": {"query_text": "foxes"}}}) == ["1"]
    spec["ingest"]["documents"]["prune"] = "max_ratio:0.1"
    refused = world.run("apply", world.write(spec), "--yes")
    assert refused.exit_code == 1
    assert "sparse.pruning:  -> max_ratio:0.1" in refused.output
    assert "osplade migrate" in refused.output
    assert world.states("status", path)[f"index {index_name}"].startswith("fixed")
    del spec["indices"][index_name], spec["ingest"]["documents"]["prune"], spec["search"]
    done = world.apply(world.write(spec))
    assert f"deleted search pipeline {index_name}-questions" in done
    assert client.indices.exists(index=index_name)
    assert f"DELETE /{index_name}" in world.states("status", path)[f"index {index_name}"]


def test_an_index_with_documents_outlives_its_pipelines(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """Without --delete-indices it stays, can be asked and written, and is taken up again by the next apply."""
    path = world.write(writing(index_name, encoder.url))
    world.apply(path)
    bulk(client, index_name, {"1": FOX})
    shown = world.run("remove", path, "--dry-run").stdout
    assert f"index {index_name} stays, with 1 documents and without its pipelines" in shown
    assert world.states("status", path) == {}
    assert world.run("remove", path, "--yes").exit_code == 0
    assert bulk(client, index_name, {"2": BONES})["2"]["status"] == 201
    assert ids(client, index_name, {"match": {"text": "fox"}}) == ["1"]
    world.apply(path)
    found = world.states("status", path)
    assert "1 of 2 documents have no vector" in found[f"documents {index_name}"]
    bulk(client, index_name, {"2": BONES})
    assert world.states("status", path) == {}


def renamed(example: str, name: str, endpoint: str) -> dict[str, Any]:
    """An example with names and an endpoint of this test's own."""
    spec: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text(encoding="utf-8"))
    for model in spec["models"].values():
        model.pop("token_env", None)
        if "endpoint" in model:
            model["endpoint"] = endpoint
    spec["indices"] = {f"{name}-{key}": one for key, one in spec["indices"].items()}
    for one in spec.get("templates", {}).values():
        one["patterns"] = [f"{name}-{pattern}" for pattern in one["patterns"]]
    return {**spec, "name": name}


def test_hybrid_fuses_three_rankings(client: OpenSearch, world: World, encoder: Encoder, index_name: str) -> None:
    """BM25, sparse and dense by `query_text` alone; an index that a template made is filled and asked the same way."""
    path = world.write(renamed("hybrid", index_name, encoder.url))
    world.apply(path)
    text = "red foxes"
    rankings = [
        {"match": {"text": text}},
        {"neural_sparse": {"sparse": {"query_text": text}}},
        {"neural": {"dense": {"query_text": text, "k": 5}}},
    ]
    for index in (f"{index_name}-library", f"{index_name}-library-2026"):
        assert {one["status"] for one in bulk(client, index, {"1": FOX, "2": BONES}).values()} == {201}
        assert ids(client, index, {"hybrid": {"queries": rankings}})[0] == "1"
    assert world.states("status", path) == {}


def test_a_semantic_field_encodes_by_itself(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """`neural` asks it; it carries the mark; a client's vectors are refused, and remove refuses to maim it."""
    path = world.write(renamed("semantic", index_name, encoder.url))
    world.apply(path)
    assert world.apply(path) == []
    index = f"{index_name}-notes"
    bulk(client, index, {"1": {"text": FOX["text"]}, "2": BONES})
    assert ids(client, index, {"neural": {"text": {"query_text": "foxes"}}})[0] == "1"
    assert world.states("status", path) == {}
    source = world.folder / "more.jsonl"
    source.write_text('{"_id": "3", "text": "more"}\n', encoding="utf-8")
    ingest = ["ingest", str(source), "--index", index, "--bundle", "splade-tiny", "--url", world.url]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        refused = CliRunner().invoke(main, ingest)
    assert refused.exit_code == 1
    assert "has a semantic field, which the cluster encodes itself" in refused.output
    asked = CliRunner().invoke(
        main, ["search", "foxes", "--index", index, "--url", world.url, "--json", "--query-side", "siamese"]
    )
    assert json.loads(asked.stdout)["hits"][0]["id"] == "1"
    maimed = world.run("remove", path, "--yes")
    assert maimed.exit_code == 1
    assert "--delete-indices deletes it too" in maimed.output


def test_inference_free_questions_need_no_encoder(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """Tokenizer and weights inside the cluster; whole and chunked documents, whose chunks have places in the text."""
    path = world.write(renamed("inference-free", index_name, encoder.url))
    world.apply(path)
    assert world.apply(path) == []
    long = {"title": "Bones", "text": "Vitamin D helps bones. " * 60 + "A red fox crossed the road."}
    bulk(client, f"{index_name}-faq", {"1": FOX, "2": BONES})
    bulk(client, f"{index_name}-manuals", {"1": BONES, "2": long})
    assert ids(client, f"{index_name}-faq", {"neural_sparse": {"sparse": {"query_text": "fox"}}}) == ["1"]
    clause = {"neural_sparse": {"passages.sparse": {"query_text": "fox"}}}
    nested = {"nested": {"path": "passages", "score_mode": "max", "query": clause}}
    assert ids(client, f"{index_name}-manuals", nested) == ["2"]
    passages = client.get(index=f"{index_name}-manuals", id="2")["_source"]["passages"]
    assert "fox" in long["text"][passages[-1]["start"] : passages[-1]["end"]]
    assert "".join(long["text"][one["start"] : one["end"]] for one in passages) == long["text"]


def test_what_is_encoded_is_what_a_client_would_read(ml_client: OpenSearch) -> None:
    """Titles, lists of texts, members of members, blanks and what is no text: the passage is the client's own."""
    kept = KeptMeta(("body.parts", "more"), "head.line")
    documents: list[dict[str, Any]] = [
        {"head": {"line": "A"}, "body": {"parts": "b"}},
        {"body": [{"parts": ["b", " ", "c"]}, {"parts": "d"}], "more": "e"},
        {"body.parts": "dotted", "head": [{"line": "A"}, {"line": "B"}]},
        {"head": {"line": " "}, "more": 3, "body": {"parts": None}},
        {"more": "\u00e9\u4e16 \U0001f98a  "},
    ]
    pipeline = {"processors": [_joined(kept.title, list(kept.texts))]}
    docs = [{"_index": "x", "_id": str(place), "_source": one} for place, one in enumerate(documents)]
    found = ml_client.ingest.simulate(body={"pipeline": pipeline, "docs": docs})["docs"]
    expected = ["{} {}".format(*kept.read(one)).strip() for one in documents]
    assert [one["doc"]["_source"].get(PASSAGE, "") for one in found] == expected


def test_vectors_that_come_along_are_not_believed(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str
) -> None:
    """A document read, changed and written back has the vectors of its new text, or none at all."""
    spec = writing(index_name, encoder.url)
    spec["ingest"]["documents"]["without_text"] = "store"
    world.apply(world.write(spec))
    bulk(client, index_name, {"1": FOX})
    stored = client.get(index=index_name, id="1")["_source"]
    bulk(
        client,
        index_name,
        {"1": {**stored, "title": "", "text": "Vitamin D."}, "2": {**stored, "title": "", "text": ""}},
    )
    assert "fox" not in client.get(index=index_name, id="1")["_source"]["sparse"]
    assert client.get(index=index_name, id="2")["_source"].keys() == {"id", "title", "text"}
    assert "1 of 2" in world.states("status", world.files[index_name])[f"documents {index_name}"]


def test_the_extra_of_yaml_files_is_declared() -> None:
    """What an error names can be installed."""
    extras = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(one.startswith("pyyaml") for one in extras["optional-dependencies"]["cluster"])
