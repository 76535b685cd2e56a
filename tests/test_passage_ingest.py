"""Passages on the real node: stored in each way, found, audited, and gone when their document changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from opensearch_splade.cli.main import main
from opensearch_splade.ingest.codec import round_weights
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.query import Searcher
from opensearch_splade.query.searcher import SearchResult

SENTENCES = [
    "The fox runs over the hill at night.",
    "Trains leave the old station at noon.",
    "Vitamin D helps the bones of elderly people.",
    "The river flooded the valley in spring.",
]
LONG = {"_id": "long", "title": "Notes", "text": " ".join(SENTENCES)}
SHORT = {"_id": "short", "text": "A cat sleeps by the fire."}


class Place:
    """A source and an index of one's own."""

    def __init__(self, folder: Path, url: str, client: OpenSearch, index: str) -> None:
        self.folder, self.url, self.client, self.index = folder, url, client, index
        self.source = folder / "corpus.jsonl"

    def call(self, *arguments: str) -> Result:
        """A command on the index."""
        return CliRunner().invoke(
            main, [*arguments, "--index", self.index, "--url", self.url, "--bundle", "splade-tiny"]
        )

    def ingest(self, *records: dict[str, Any], more: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
        """The report of a run."""
        self.source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        letters = str(self.folder / "dead.jsonl")
        result = self.call("ingest", str(self.source), "--dead-letters", letters, "--json", *more)
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def audit(self) -> dict[str, Any]:
        """Of the source as it was written last."""
        found: dict[str, Any] = json.loads(self.call("audit", str(self.source), "--json").stdout)
        return found

    def search(self, text: str, mode: str, **more: Any) -> SearchResult:
        """Best first."""
        encoder = SparseEncoder.load("splade-tiny")
        searcher = Searcher(self.client, self.index, capabilities=probe(self.client), sparse=encoder)
        return searcher.search(text, mode=mode, **more)

    def stored(self) -> dict[str, dict[str, Any]]:
        """By ``_id``."""
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, body={"size": 100})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}


@pytest.fixture
def place(tmp_path: Path, node: RunningNode, client: OpenSearch, index_name: str) -> Place:
    """An empty one."""
    return Place(tmp_path, node.url, client, index_name)


def vector(encoder: SparseEncoder, text: str) -> dict[str, float]:
    """As it is stored."""
    [row] = encoder.encode_documents([text])
    return encoder.features(row[0], round_weights(row[1]))


@pytest.mark.server
@pytest.mark.parametrize("kind", ["windows", "late"])
def test_passages_lie_in_their_document(kind: str, place: Place) -> None:
    """Nested: each sentence has its own place and vector, and the text is whole for BM25."""
    report = place.ingest(LONG, SHORT, more=("--passages", f"{kind}:12", "--store-passages", "nested"))
    assert (report["indexed"], report["passages"], report["truncated"]) == (2, 5, 0)
    stored = place.stored()
    passages = stored["long"]["passages"]
    assert [LONG["text"][one["start"] : one["end"]] for one in passages] == SENTENCES
    assert stored["long"]["text"] == LONG["text"]
    assert "sparse" not in stored["long"]
    if kind == "windows":
        encoder = SparseEncoder.load("splade-tiny")
        assert passages[1]["sparse"] == vector(encoder, SENTENCES[1])
    assert "vitamin" in passages[2]["sparse"]
    assert place.audit()["clean"]


@pytest.mark.server
def test_the_maximum_of_windows_is_the_documents_vector(place: Place) -> None:
    """One vector, of all passages, though the model saw each alone."""
    place.ingest(LONG, SHORT, more=("--passages", "windows:12"))
    encoder = SparseEncoder.load("splade-tiny")
    parts = [vector(encoder, text) for text in [f"Notes {SENTENCES[0]}", *SENTENCES[1:]]]
    expected = {name: max(part.get(name, 0) for part in parts) for part in parts for name in part}
    assert place.stored()["long"]["sparse"] == pytest.approx(expected)
    assert place.audit()["clean"]


@pytest.mark.server
def test_passages_that_a_document_no_longer_has_are_deleted(place: Place) -> None:
    """As documents of their own: after a change, with the ledger and without, the index holds just the new ones."""
    rule = ("--passages", "windows:12", "--store-passages", "documents")
    assert place.ingest(LONG, SHORT, more=rule)["indexed"] == 2
    stored = place.stored()
    assert sorted(stored) == ["long#0", "long#1", "long#2", "long#3", "short#0"]
    assert [stored[f"long#{number}"]["text"] for number in range(4)] == SENTENCES
    assert {one["id"] for one in stored.values()} == {"long", "short"}
    assert place.audit()["clean"]
    fewer = {**LONG, "text": " ".join(SENTENCES[2:])}
    report = place.ingest(fewer, SHORT, more=rule)
    assert (report["indexed"], report["unchanged"]) == (1, 1)
    assert sorted(place.stored()) == ["long#0", "long#1", "short#0"]
    assert place.audit()["clean"]
    place.ingest({**LONG, "text": SENTENCES[0]}, SHORT, more=(*rule, "--no-ledger"))
    assert sorted(place.stored()) == ["long#0", "short#0"]
    assert place.audit()["clean"]


@pytest.mark.server
def test_an_audit_sees_passages_that_are_missing_or_too_many(place: Place) -> None:
    """A document is whole only with all of its passages, and of one content."""
    place.ingest(LONG, SHORT, more=("--passages", "windows:12", "--store-passages", "documents"))
    place.client.delete(index=place.index, id="long#2", refresh=True)
    found = place.audit()
    assert (found["clean"], found["counts"]["incomplete"], found["examples"]["incomplete"]) == (False, 1, ["long"])
    source = place.client.get(index=place.index, id="long#1")["_source"]
    for number, content in ((2, source), (4, {**source, "hash": "00"})):
        place.client.index(index=place.index, id=f"long#{number}", body=content)
    found = place.audit()
    assert (found["counts"]["duplicate"], found["counts"]["stale_hash"]) == (1, 1)


@pytest.mark.server
def test_what_the_gate_leaves_out_is_still_found_by_its_words(place: Place) -> None:
    """A poor passage has no vector, is counted, and BM25 finds it; the index notes the threshold for the next run."""
    poor = {"_id": "poor", "text": f"{SENTENCES[0]}\n\n1 2 3 4 5 6 7 8 9 | 1 2 3 4"}
    rule = ("--passages", "windows:16", "--store-passages", "nested", "--gate", "density@p20")
    report = place.ingest(poor, LONG, more=rule)
    assert report["gated"] >= 1
    assert len(place.stored()["poor"]["passages"]) == 1
    meta = place.client.indices.get_mapping(index=place.index)[place.index]["mappings"]["_meta"]["opensearch_splade"]
    assert meta["passages"]["rule"] == "windows:16"
    assert meta["passages"]["gate"].startswith("density@0.")
    again = place.ingest(poor, LONG, SHORT, more=rule)
    assert (again["unchanged"], again["indexed"]) == (2, 1)
    assert place.audit()["clean"]
    alone = {"_id": "alone", "text": "0 1 2 3"}
    assert place.ingest(poor, LONG, SHORT, alone, more=rule)["featureless"] == 1


@pytest.mark.server
def test_added_features_are_searched_with_the_learned_ones(place: Place) -> None:
    """Metadata as features and as a static rank_feature; a value that cannot be one is a dead letter."""
    more = ("--feature-field", "who*2", "--static-field", "popularity")
    curie = {**SHORT, "who": ["Marie Curie"], "popularity": 7.5}
    report = place.ingest(curie, LONG, {"_id": "bad", "text": "x", "popularity": -1}, more=more, code=3)
    assert (report["indexed"], report["dead"]) == (2, 1)
    stored = place.stored()["short"]
    assert stored["sparse"]["who=Marie Curie"] == 2
    assert stored["static"] == {"popularity": 7.5}
    query = {
        "bool": {
            "should": [
                {"rank_feature": {"field": "sparse.who=Marie Curie", "boost": 3, "linear": {}}},
                {"rank_feature": {"field": "static.popularity", "boost": 1, "linear": {}}},
            ]
        }
    }
    [hit] = place.client.search(index=place.index, body={"query": query})["hits"]["hits"]
    assert (hit["_id"], hit["_score"]) == ("short", pytest.approx(3 * 2 + 7.5))
    asked = ("search", "sleep", "--mode", "neural-sparse", "--feature", "who=Marie Curie*3", "--explain", "--json")
    found = json.loads(place.call(*asked).stdout)["hits"][0]
    assert found["id"] == "short"
    [asked] = [one for one in found["why"] if one["feature"] == "who=Marie Curie"]
    assert (asked["query_weight"], asked["stored_weight"]) == (3.0, 2.0)
    letters = [json.loads(line) for line in (place.folder / "dead.jsonl").read_text().splitlines()]
    assert "static feature 'popularity' is -1" in letters[0]["reason"]


@pytest.mark.server
def test_added_features_outlive_the_gate(place: Place) -> None:
    """A document without any passage that is worth a vector is still found by what its metadata says."""
    more = ("--passages", "late:12", "--store-passages", "nested", "--gate", "density@0.99", "--feature-field", "who")
    assert place.ingest({**SHORT, "who": "Curie"}, more=more)["gated"] == 1
    [passage] = place.stored()["short"]["passages"]
    assert passage["sparse"] == {"who=Curie": 1}


@pytest.mark.server
def test_added_features_need_names_for_keys(place: Place) -> None:
    """A sparse_vector field has none."""
    place.source.write_text(json.dumps(SHORT), encoding="utf-8")
    result = place.call("ingest", str(place.source), "--feature-field", "who", "--sparse-field", "sparse_vector")
    assert (result.exit_code, "goes without a sparse_vector field" in result.stderr) == (1, True)


@pytest.mark.server
def test_an_index_keeps_to_its_passages(place: Place) -> None:
    """Vectors of other passages are refused, by the option that differs."""
    place.ingest(LONG, more=("--passages", "late:12", "--store-passages", "nested"))
    letters = ("--dead-letters", str(place.folder / "dead.jsonl"))  # the ledger lies beside it
    for more, option in (
        ((), "--passages late:12, and this run has none"),
        (("--passages", "late:24", "--store-passages", "nested"), "--passages late:12, and this run has late:24"),
        (("--passages", "late:12"), "--store-passages nested, and this run has max"),
        (("--passages", "late:12", "--store-passages", "nested", "--gate", "density@0.1"), "--gate"),
        (("--passages", "late:12", "--store-passages", "nested", "--static-field", "x"), "--static-field"),
    ):
        result = place.call("ingest", str(place.source), *letters, *more)
        assert result.exit_code == 1
        assert option in result.stderr
    result = place.call("ingest", str(place.source), *letters, "--passages", "late:9999")
    assert "takes 256 tokens at once, which leaves 254" in result.stderr


def test_late_vectors_know_their_document() -> None:
    """The same sentence has another vector in another document."""
    encoder = SparseEncoder.load("splade-tiny")
    ids = encoder.tokenizer.encode([f"{SENTENCES[0]} {SENTENCES[2]}", SENTENCES[0]])
    whole, alone = (tokens[1:-1] for tokens in ids)
    span = (1, 1 + len(alone))
    rows = list(encoder.stream_passages([(ids[0], [span]), (ids[1], [span])]))
    assert whole[: len(alone)] == alone
    assert not np.array_equal(rows[0][0][1], rows[1][0][1])


@pytest.mark.server
@pytest.mark.parametrize("kind", ["windows", "late"])
@pytest.mark.parametrize("mode", ["neural-sparse", "weighted-terms", "bm25+neural-sparse", "bm25+neural-sparse:rrf"])
def test_a_document_is_found_by_its_best_passage(kind: str, mode: str, place: Place) -> None:
    """Nested: one hit a document; its score is the best passage's dot product, and the explanation names it."""
    place.ingest(LONG, SHORT, more=("--passages", f"{kind}:12", "--store-passages", "nested"))
    found = place.search("vitamin for old bones", mode, explain=True)
    hit = found.hits[0]
    assert (hit.id, hit.passage) == ("long", SENTENCES[2])
    assert [one.id for one in found.hits].count("long") == 1
    if mode in {"neural-sparse", "weighted-terms"}:
        assert hit.score == pytest.approx(sum(one.score for one in hit.why), rel=1e-5)
        passages = place.stored()["long"]["passages"]
        query = SparseEncoder.load("splade-tiny").encode_query("vitamin for old bones")
        products = [sum(query.get(key, 0) * weight for key, weight in one["sparse"].items()) for one in passages]
        assert hit.score == pytest.approx(max(products), rel=1e-5)


@pytest.mark.server
@pytest.mark.parametrize("mode", ["bm25", "neural-sparse", "bm25+neural-sparse", "bm25+neural-sparse:rrf"])
@pytest.mark.parametrize("ids_only", [True, False])
def test_passages_that_are_documents_give_one_hit_a_document(mode: str, *, ids_only: bool, place: Place) -> None:
    """Hits carry the document's id, once, and the text of its best passage."""
    place.ingest(LONG, SHORT, more=("--passages", "late:12", "--store-passages", "documents"))
    question = "bones of the fox that sleeps by the river"
    hits = place.search(question, mode, ids_only=ids_only).hits
    assert sorted(hit.id for hit in hits) == ["long", "short"]
    if not ids_only:
        assert next(hit.text for hit in hits if hit.id == "long") in SENTENCES


@pytest.mark.server
def test_a_sparse_vector_field_holds_passages_too(place: Place) -> None:
    """SEISMIC within nested passages, with token ids as keys; explained by names."""
    more = ("--passages", "late:12", "--store-passages", "nested", "--sparse-field", "sparse_vector")
    place.ingest(LONG, SHORT, more=(*more, "--seismic-threshold", "1", "--force-merge"))
    hit = place.search("vitamin for old bones", "neural-sparse", explain=True).hits[0]
    assert (hit.id, hit.passage) == ("long", SENTENCES[2])
    assert "vitamin" in {one.feature for one in hit.why}
    assert place.audit()["clean"]
