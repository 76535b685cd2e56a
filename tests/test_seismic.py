"""``sparse_vector`` fields without a cluster: bodies, clauses, what an index says of itself, ceilings and refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from opensearch_splade.cli.main import main
from opensearch_splade.cli.sparse_field import forecast_field, never_used
from opensearch_splade.errors import CapabilityError, QueryError, SourceError, TargetError
from opensearch_splade.evaluation.systems import systems
from opensearch_splade.index_meta import DenseMeta, IndexMeta, SeismicMeta, SparseMeta
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.seismic import FieldOptions, check_seismic, choose, field_of, sampled
from opensearch_splade.ingest.serialiser import Serialiser
from opensearch_splade.ingest.target import check_index
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.bundle import fingerprint
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import PrunedQueries, QueryPruning, Searcher, SeismicSearch, filtered, hybrid, seismic
from opensearch_splade.types import Capabilities, Document, Features, Json, KnowsTokenIds

ALL = Capabilities((3, 6, 0), frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"}))
SEISMIC = SeismicMeta(2.8, 4.0, 1000)
SPARSE = SparseMeta("s1", "tiny", "siamese", "", SEISMIC)
PLAIN = dataclasses.replace(SPARSE, seismic=None)
IDS = {"fox": 11, "dog": 22, "run": 33}
TAG: Json = {"term": {"metadata.lang": "en"}}


@dataclass
class Words:
    """A query encoder by table; it knows no token ids."""

    table: dict[str, float]
    fingerprint: str = "s1"

    def encode_query(self, text: str) -> Features:
        """Weights of the known words."""
        return {word: self.table[word] for word in text.split() if word in self.table}


@dataclass
class Numbered(Words):
    """One that does."""

    token_ids: dict[str, int] = field(default_factory=lambda: dict(IDS))


class OneIndex:
    """A client that knows one index of ours and is asked nothing else."""

    def __init__(self, meta: IndexMeta) -> None:
        self.indices = self
        self.meta = meta

    def get_mapping(self, *, index: str) -> Json:
        """Its record."""
        return {index: {"mappings": {"_meta": self.meta.to_json()}}}


def searcher(sparse: Words | PrunedQueries | None, meta: SparseMeta = SPARSE, **more: Any) -> Searcher:
    """A searcher over that index."""
    client: Any = OneIndex(IndexMeta(meta))
    return Searcher(client, "books", capabilities=ALL, sparse=sparse, **more)


# The index and its record


def test_the_index_body_of_a_sparse_vector() -> None:
    """The codec's setting, the method with both ceilings and the threshold, and all of them in the record."""
    body = index_body(sparse=SPARSE, capabilities=ALL)
    assert body["settings"]["index"] == {"number_of_shards": 1, "auto_expand_replicas": "0-1", "sparse": True}
    assert body["mappings"]["properties"]["sparse"] == {
        "type": "sparse_vector",
        "method": {
            "name": "seismic",
            "parameters": {
                "approximate_threshold": 1000,
                "quantization_ceiling_ingest": 2.8,
                "quantization_ceiling_search": 4.0,
            },
        },
    }
    assert body["mappings"]["_meta"]["opensearch_splade"]["sparse"] == {
        "fingerprint": "s1",
        "bundle": "tiny",
        "kind": "siamese",
        "pruning": "",
        "seismic": {"ceiling_ingest": 2.8, "ceiling_search": 4.0, "threshold": 1000},
    }


@pytest.mark.parametrize(
    ("capabilities", "message"),
    [
        (Capabilities((3, 2, 0), ALL.plugins), r"sparse_vector field \(SEISMIC\) needs OpenSearch 3\.3 or later"),
        (Capabilities((3, 6, 0), frozenset({"mapper-extras"})), "needs the plugin opensearch-neural-search"),
    ],
)
def test_servers_without_sparse_vectors_are_refused(capabilities: Capabilities, message: str) -> None:
    """Before the index is made, before anything is encoded, and before a question is sent."""
    with pytest.raises(CapabilityError, match=message):
        index_body(sparse=SPARSE, capabilities=capabilities)
    with pytest.raises(CapabilityError, match=message):
        check_seismic(SparseEncoder.load("splade-tiny-idf"), None, capabilities)
    with pytest.raises(CapabilityError, match="neural_sparse on a sparse_vector field needs"):
        seismic({"fox": 1.0}, IDS, ceiling=4.0, k=10, capabilities=capabilities)


def test_a_dense_field_beside_it_is_refused() -> None:
    """The server would answer with an internal error; the remedy is two indices."""
    with pytest.raises(TargetError, match=r"cannot have both a sparse_vector and a kNN field.*two indices"):
        index_body(sparse=SPARSE, dense=DenseMeta("d1", "mini", 2), capabilities=ALL)
    dense = DenseEncoder.load("minilm-l6")
    with pytest.raises(TargetError, match=r"sparse_vector goes without --dense-bundle.*two indices"):
        check_seismic(SparseEncoder.load("splade-tiny-idf"), dense, ALL)


def test_the_record_reads_back_and_older_ones_are_rank_features() -> None:
    """A record without the part is what all were before; one with it is the same after a round trip."""
    for sparse in (SPARSE, PLAIN):
        stored = json.loads(json.dumps(IndexMeta(sparse).to_json()))
        assert IndexMeta.from_mappings("a", {"a": {"mappings": {"_meta": stored}}}) == IndexMeta(sparse)
    assert (SPARSE.field, PLAIN.field) == ("sparse_vector", "rank_features")
    assert "seismic" not in IndexMeta(PLAIN).to_json()["opensearch_splade"]["sparse"]


def test_behind_one_alias_kinds_are_the_same_and_ceilings_may_differ() -> None:
    """Scores of two ceilings compare, since both are in the weights' scale; questions must fit the lower one."""
    lower = dataclasses.replace(SPARSE, seismic=SeismicMeta(3.0, 2.0, 500))

    def behind(*parts: SparseMeta) -> IndexMeta:
        answer = {str(i): {"mappings": {"_meta": IndexMeta(part).to_json()}} for i, part in enumerate(parts)}
        return IndexMeta.from_mappings("alias", answer)

    assert behind(SPARSE, lower) == IndexMeta(dataclasses.replace(SPARSE, seismic=SeismicMeta(2.8, 2.0, 500)))
    with pytest.raises(TargetError, match="encoded differently"):
        behind(SPARSE, PLAIN)


def test_an_existing_index_decides() -> None:
    """Without an option it is followed; another kind or another fixed number is refused with what to do."""
    ours, plain = IndexMeta(SPARSE), IndexMeta(PLAIN)
    for wanted in (FieldOptions(), FieldOptions("sparse_vector", 1000, 2.8, 4.0)):
        assert field_of("books", ours, wanted) == SEISMIC
    for wanted in (FieldOptions(), FieldOptions("rank_features")):
        assert field_of("books", plain, wanted) is None
    assert field_of("books", IndexMeta(), FieldOptions("sparse_vector")) is None
    with pytest.raises(TargetError, match=r"has a sparse_vector field.*leave out --sparse-field, or .* new index"):
        field_of("books", ours, FieldOptions("rank_features"))
    with pytest.raises(TargetError, match=r"has a rank_features field.*new index for sparse_vector"):
        field_of("books", plain, FieldOptions("sparse_vector"))
    with pytest.raises(TargetError, match=r"with --seismic-threshold 1000, which cannot be changed to 5: leave out"):
        field_of("books", ours, FieldOptions("sparse_vector", threshold=5))
    with pytest.raises(TargetError, match=r"with --seismic-ceiling-ingest 2\.8, which cannot be changed to 3"):
        field_of("books", ours, FieldOptions("sparse_vector", ceiling_ingest=3.0))
    with pytest.raises(TargetError, match="has a rank_features field, and sparse_vector was to be written"):
        check_index("books", plain, ours)  # made by another run in the meantime


# What is taken from the corpus


def test_a_sample_is_not_lost() -> None:
    """The source comes whole and in order, dead letters too, however long the sample and the source are."""
    source = [Document(str(i), "a fox") if i % 3 else DeadLetter(f"line {i}", "no text", {}) for i in range(10)]
    for count in (1, 4, 100):
        documents, records = sampled(iter(source), count)
        assert documents == [one for one in source[:count] if isinstance(one, Document)]
        assert list(records) == source


def test_a_source_that_breaks_off_in_the_sample_is_read_as_far_as_it_goes() -> None:
    """What came before is handed on, and then the error."""
    before = [Document("1", "a fox"), Document("2", "a dog")]

    def source() -> Iterator[Document | DeadLetter]:
        yield from before
        raise SourceError("corpus.jsonl: the disk is gone.")

    documents, records = sampled(source(), 10)
    assert documents == before
    assert [next(records), next(records)] == before
    with pytest.raises(SourceError, match="the disk is gone"):
        next(records)


def test_ceilings_come_from_the_sample_unless_given() -> None:
    """A tenth above the largest weight of the sample's documents, and of its titles as questions; options override."""
    encoder = SparseEncoder.load("splade-tiny")
    sample = [Document("1", "It sleeps by the fire.", "The dog"), Document("2", "A fox runs over the hill.")]
    documents = encoder.encode_documents([one.passage for one in sample]).weights.max()
    questions = encoder.encode_queries(["The dog", "A fox runs over the hill."]).weights.max()
    assert documents != questions
    found = choose(encoder, FieldOptions("sparse_vector"), sample)
    assert found.ceiling_ingest == pytest.approx(documents * 1.1, rel=1e-3)
    assert found.ceiling_search == pytest.approx(questions * 1.1, rel=1e-3)
    assert found.threshold == 1_000_000
    given = FieldOptions("sparse_vector", 7, 2.0, 3.0)
    assert not given.needs_sample
    assert choose(encoder, given, []) == SeismicMeta(2.0, 3.0, 7)


def test_the_search_ceiling_of_a_table_is_its_largest_weight() -> None:
    """An inference-free encoder needs no questions: any token may be asked for."""
    encoder = SparseEncoder.load("splade-tiny-idf").with_query_weights({"fox": 5.0, "dog": 9.0, "no token": 70.0})
    assert encoder.largest_query_weight == 9.0
    found = choose(encoder, FieldOptions("sparse_vector", ceiling_ingest=1.0), [])
    assert found.ceiling_search == pytest.approx(9.9)
    assert SparseEncoder.load("splade-tiny").largest_query_weight is None


def test_a_sample_without_weights_gives_the_server_s_ceilings() -> None:
    """Nothing to go by: the defaults of the plugin."""
    found = choose(SparseEncoder.load("splade-tiny"), FieldOptions("sparse_vector"), [])
    assert found == SeismicMeta(3.0, 16.0, 1_000_000)


def test_documents_have_ids_for_keys_and_what_is_cut_is_counted() -> None:
    """The same weights as by name, under the ids of the vocabulary; those above the ceiling are counted."""
    encoder = SparseEncoder.load("splade-tiny")
    document = Document("1", "A fox runs over the hill.")

    def sparse(seismic: SeismicMeta | None) -> tuple[dict[str, float], int]:
        report = IngestReport()
        [action] = DocumentEncoder(encoder, Serialiser(encoder, seismic=seismic)).actions([document], report)
        found: dict[str, float] = json.loads(action.source or b"")["sparse"]
        return found, report.clipped

    by_name, none_cut = sparse(None)
    by_id, cut = sparse(SeismicMeta(1.0, 1.0, 1))
    assert {str(encoder.token_ids[name]): weight for name, weight in by_name.items()} == by_id
    assert (none_cut, cut) == (0, sum(weight > 1.0 for weight in by_name.values()))
    assert cut > 0


def test_a_large_vocabulary_is_refused(tmp_path: Path) -> None:
    """Ids that do not fit into 15 bits would fail or collide in large segments; the remedy is the other field."""
    folder = tmp_path / "large"
    shutil.copytree(Bundle.open("splade-tiny-idf").folder, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    manifest = Bundle.open(folder).manifest
    for last in (32_767, 32_768):
        tokenizer["model"]["vocab"]["zzzz"] = last
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
        files = {**manifest.files, "tokenizer.json": sha256((folder / "tokenizer.json").read_bytes()).hexdigest()}
        changed = manifest.model_copy(update={"files": files, "dimension": 40_000})
        changed = changed.model_copy(update={"fingerprint": fingerprint(changed)})
        (folder / "bundle.json").write_text(changed.model_dump_json(), "utf-8")
        encoder = SparseEncoder.load(folder)
        assert encoder.token_ids["zzzz"] == last
        if last == 32_767:
            check_seismic(encoder, None, ALL)
        else:
            with pytest.raises(TargetError, match=r"ids up to 32,768, and .* up to 32,767 .* --sparse-field rank_feat"):
                check_seismic(encoder, None, ALL)


def test_a_forecast_tells_memory_and_whether_it_is_used() -> None:
    """A gigabyte of a breaker's tenth for a million documents; a threshold that no shard reaches is told."""
    seismic = SeismicMeta(3.0, 3.0, 1_000_000)
    assert forecast_field(seismic, 2_000_000, 2) == {
        "seismic_is_used": True,
        "note": "",
        "heap_bytes_of_seismic": 2_000_000_000,
        "heap_bytes_of_all_nodes_at_least": 20_000_000_000,
    }
    assert not forecast_field(seismic, 2_000_000, 3)["seismic_is_used"]
    assert "begins with segments of 1,000,000 documents, and there are 2,000,000 documents on 3 shards" in never_used(
        seismic, 2_000_000, 3
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seismic-threshold", "1"], "The --seismic options go with --sparse-field sparse_vector."),
        (["--sparse-field", "rank_features", "--seismic-sample", "9"], "go with --sparse-field sparse_vector."),
        (["--sparse-field", "sparse_vector", "--seismic-ceiling-ingest", "0"], "not in the range x>0"),
        (["--sparse-field", "knn_vector"], "is not one of 'rank_features', 'sparse_vector'"),
        (["--force-merge", "0"], "0 is not in the range"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str) -> None:
    """A wrong call is told before any bundle is opened."""
    result = CliRunner().invoke(main, ["ingest", "a.jsonl", "--index", "x", "--bundle", "splade-tiny", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


# Questions


def test_a_question_goes_by_ids() -> None:
    """Tokens by id, as many candidates as a hybrid of that page looks at, more features than the server's ten."""
    body = searcher(Numbered({"fox": 2.0, "dog": 1.0})).body("fox dog", mode="neural-sparse")
    assert body["query"] == {
        "neural_sparse": {
            "sparse": {
                "query_tokens": {"11": 2.0, "22": 1.0},
                "method_parameters": {"k": 200, "top_n": 20, "heap_factor": 1.0},
            }
        }
    }
    deep = searcher(Numbered({"fox": 2.0}), how=SeismicSearch(7, 1.5))
    clause = deep.body("fox", mode="neural-sparse", size=300, start=50)["query"]["neural_sparse"]["sparse"]
    assert clause["method_parameters"] == {"k": 1_000, "top_n": 7, "heap_factor": 1.5}
    assert searcher(Numbered({})).body("unknown", mode="neural-sparse")["query"] == {"match_none": {}}


def test_weights_above_the_ceiling_are_scaled_and_boosted_back() -> None:
    """All by the same factor, so no weight is cut alone and scores stay the dot product."""
    clause = seismic({"fox": 16.0, "dog": 2.0}, IDS, ceiling=4.0, k=10, capabilities=ALL)["neural_sparse"]["sparse"]
    assert clause["query_tokens"] == {"11": 4.0, "22": 0.5}
    assert clause["boost"] == 4.0
    assert "boost" not in seismic({"fox": 4.0}, IDS, ceiling=4.0, k=10, capabilities=ALL)["neural_sparse"]["sparse"]
    huge = seismic({"fox": 256.0}, IDS, ceiling=1000.0, k=10, capabilities=ALL)["neural_sparse"]["sparse"]
    assert (huge["query_tokens"], huge["boost"]) == ({"11": 64.0}, 4.0)


def test_a_filter_stands_inside_and_around() -> None:
    """Inside it finds the candidates; around it holds in segments where nothing matches; scores of 0 are no hits."""
    body = searcher(Numbered({"fox": 2.0})).body("fox", mode="neural-sparse", filter=TAG)
    inner = {
        "query_tokens": {"11": 2.0},
        "method_parameters": {"k": 10_000, "top_n": 20, "heap_factor": 1.0, "filter": TAG},
    }
    scored = {"function_score": {"query": {"neural_sparse": {"sparse": inner}}, "min_score": 1e-30}}
    assert body["query"] == {"bool": {"must": [scored], "filter": [TAG]}}
    clause = seismic({"fox": 2.0}, IDS, ceiling=4.0, k=10, capabilities=ALL)
    query, _ = hybrid([{"match_all": {}}, clause], filter=TAG, capabilities=ALL)
    assert query["hybrid"]["queries"] == [{"match_all": {}}, filtered(clause, TAG)]
    assert query["hybrid"]["filter"] == TAG


def test_a_filter_that_is_rewritten_goes_by_a_query_that_does_it() -> None:
    """SEISMIC would fail at it: what matches scores 2 and passes, what does not scores 1."""
    several = {"terms": {"metadata.lang": ["en", "de"]}}
    clause = seismic({"fox": 2.0}, IDS, ceiling=4.0, k=10, capabilities=ALL)
    query = filtered(clause, several)["bool"]
    assert query["filter"] == [several]
    [scored] = query["must"]
    method = scored["function_score"]["query"]["neural_sparse"]["sparse"]["method_parameters"]
    assert method["filter"] == {
        "function_score": {
            "query": {"match_all": {}},
            "functions": [{"filter": several, "weight": 2}],
            "boost_mode": "replace",
            "min_score": 1.5,
        }
    }


def test_weighted_terms_are_refused_on_a_sparse_vector() -> None:
    """A rank_feature clause would silently find nothing there; it is no mode of an evaluation either."""
    asker = searcher(Numbered({"fox": 2.0}))
    with pytest.raises(
        TargetError, match="rank_feature clauses find nothing; ask neural-sparse, or ingest into a rank"
    ):
        asker.body("fox", mode="weighted-terms")
    assert asker.target.legs == ("bm25", "neural-sparse")
    assert [str(one.spec.mode) for one in systems({"": asker})] == [
        "bm25",
        "neural-sparse",
        "bm25+neural-sparse",
        "bm25+neural-sparse:rrf",
    ]


def test_an_encoder_without_ids_cannot_ask() -> None:
    """Names would be refused by the server; on a rank_features field the same encoder asks by name."""
    with pytest.raises(TargetError, match="does not know the token ids by which index 'books' keeps its features"):
        searcher(Words({"fox": 2.0})).body("fox", mode="neural-sparse")
    tokens = searcher(Words({"fox": 2.0}), PLAIN).body("fox", mode="neural-sparse")["query"]["neural_sparse"]
    assert tokens == {"sparse": {"query_tokens": {"fox": 2.0}}}
    with pytest.raises(QueryError, match="feature 'cat' has no token id"):
        searcher(Numbered({"cat": 2.0})).body("cat", mode="neural-sparse")


def test_pruned_questions_know_ids_where_their_encoder_does() -> None:
    """The wrapper adds nothing and hides nothing."""
    pruned = PrunedQueries(Numbered({"fox": 2.0, "dog": 1.0}), QueryPruning(top_k=1))
    asked = searcher(pruned).body("fox dog", mode="neural-sparse")["query"]["neural_sparse"]["sparse"]
    assert asked["query_tokens"] == {"11": 2.0}
    assert not isinstance(PrunedQueries(Words({}), QueryPruning(top_k=1)), KnowsTokenIds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top_n:0", "at least one feature"),
        ("heap_factor:0", "positive and finite"),
        ("heap_factor:nan", "positive and finite"),
        ("top_n:x", "invalid literal"),
        ("k:5", "write top_n:NUMBER, heap_factor:FACTOR, or both"),
        ("top_n:5,top_n:6", "write top_n:NUMBER"),
    ],
)
def test_a_seismic_search_that_cannot_be(text: str, message: str) -> None:
    """What the server would refuse is refused here."""
    with pytest.raises(QueryError, match=message):
        SeismicSearch.parse(text)
    assert SeismicSearch.parse("heap_factor:2,top_n:5") == SeismicSearch(5, 2.0)
