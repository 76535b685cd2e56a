"""The file of `osplade cluster`: what it may say, its schema, and what is refused before any cluster is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from provisioned import other_bundle, sparse

from opensearch_splade.cli.main import main
from opensearch_splade.errors import OspladeError, SpecError
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.provisioning.bundles import open_bundles
from opensearch_splade.provisioning.comparing import differences
from opensearch_splade.provisioning.models import wanted_models
from opensearch_splade.provisioning.spec_file import json_schema, read_spec
from opensearch_splade.provisioning.vectors import sparse_difference
from opensearch_splade.types import SparseVectors

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
ENDPOINT = "http://127.0.0.1:9229"


def written(folder: Path, spec: Any) -> Path:
    path = folder / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def test_the_published_schema_is_that_of_the_code() -> None:
    """Editors check files by it; `osplade cluster schema` prints the same."""
    published = json.loads((REPOSITORY / "docs" / "cluster.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema(), "osplade cluster schema > docs/cluster.schema.json"
    assert json.loads(CliRunner().invoke(main, ["cluster", "schema"]).stdout) == published


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_read_and_names_its_schema(path: Path) -> None:
    """With bundles that are shipped, and documents that go with questions."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../docs/cluster.schema.json"
    spec = read_spec(path)
    assert wanted_models(spec, open_bundles(spec, path.parent))


def test_the_shortest_example_is_short() -> None:
    """Fifteen lines say all that one bundle needs."""
    assert len((REPOSITORY / "examples" / "sparse.yaml").read_text(encoding="utf-8").splitlines()) <= 15


def test_yaml_toml_and_json_say_the_same(tmp_path: Path) -> None:
    """A file's ending decides how it is read, and nothing else."""
    yaml = tmp_path / "a.yaml"
    yaml.write_text(f"name: a\nmodels:\n  m: {{bundle: splade-tiny, endpoint: '{ENDPOINT}'}}\n", encoding="utf-8")
    toml = tmp_path / "a.toml"
    toml.write_text(f'name = "a"\n[models.m]\nbundle = "splade-tiny"\nendpoint = "{ENDPOINT}"\n', encoding="utf-8")
    spec = {"name": "a", "models": {"m": {"bundle": "splade-tiny", "endpoint": ENDPOINT}}}
    assert read_spec(yaml) == read_spec(toml) == read_spec(written(tmp_path, spec))


def model(**changes: Any) -> dict[str, Any]:
    return sparse("a", ENDPOINT, models={"splade": {"bundle": "splade-tiny", "endpoint": ENDPOINT, **changes}})


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (sparse("a", ENDPOINT, indexes={}), "indexes: there is no such value"),
        ({"name": "a"}, "models: is not said"),
        ([], "the file: "),
        (sparse("A", ENDPOINT), "name: "),
        (model(in_cluster="tokenizer"), "models.splade: a model has an endpoint, or in_cluster says how it runs"),
        (model(endpoint="http://u:p@host"), "models.splade.endpoint: an endpoint is http(s)://host:port without user"),
        (model(endpoint="localhost:9229"), "models.splade.endpoint: an endpoint is http(s)://host:port"),
        (model(timeout="60"), "models.splade.timeout: "),
        (
            sparse("a", ENDPOINT, ingest={"documents": {"sparse": "other"}}),
            "there is no model 'other'; declared: splade",
        ),
        (sparse("a", ENDPOINT, ingest={"documents": {"sparse": "splade", "prune": "max_ratio"}}), "documents.prune: "),
        (sparse("a", ENDPOINT, ingest={"documents": {"dense": "splade", "prune": "top_k:9"}}), "go with sparse"),
        (sparse("a", ENDPOINT, search={"questions": {"two_phase": "ratio:1"}}), "search.questions.two_phase: "),
        (sparse("a", ENDPOINT, search={"questions": {"fusion": "borda"}}), "unknown fusion 'borda'"),
        (sparse("a", ENDPOINT, indices={"b": {"ingest": "x"}}), "indices.b: there is no ingest pipeline 'x'"),
        (sparse("a", ENDPOINT, indices={"b": {}}), "indices.b: an index has an ingest pipeline or a semantic field"),
    ],
)
def test_a_wrong_file_is_told_by_place(tmp_path: Path, spec: Any, told: str) -> None:
    """Each place and what is wrong there; nothing is sent anywhere."""
    with pytest.raises(SpecError) as refusal:
        read_spec(written(tmp_path, spec))
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (model(bundle="minilm-l6"), "ingest.documents.sparse: 'splade' is dense, and a sparse bundle is needed there"),
        (model(bundle="no-such"), "There is no bundle "),
        (
            {
                "name": "a",
                "models": {"t": {"bundle": "splade-tiny", "in_cluster": "tokenizer"}},
                "search": {"q": {"sparse": "t"}},
            },
            "models.t: splade-tiny has no table of query weights",
        ),
        (
            {
                "name": "a",
                "models": {"t": {"bundle": "splade-tiny-idf", "in_cluster": "tokenizer"}},
                "ingest": {"d": {"sparse": "t"}},
            },
            "ingest.d: 't' is a tokenizer, which encodes questions only",
        ),
    ],
)
def test_bundles_that_do_not_fit_are_told(tmp_path: Path, spec: Any, told: str) -> None:
    """Before any cluster is asked."""
    path = written(tmp_path, spec)
    with pytest.raises(OspladeError) as refusal:
        open_bundles(read_spec(path), tmp_path)
    assert told in str(refusal.value)


def test_documents_and_questions_of_two_models_are_refused(tmp_path: Path) -> None:
    """Their vectors would rank plausibly, so nobody would notice."""
    other_bundle(tmp_path / "other")
    models = {
        "splade": {"bundle": "splade-tiny", "endpoint": ENDPOINT},
        "other": {"bundle": "other", "endpoint": ENDPOINT},
    }
    path = written(tmp_path, sparse("a", ENDPOINT, models=models, search={"questions": {"sparse": "other"}}))
    with pytest.raises(SpecError, match="these sparse vectors must not be compared"):
        open_bundles(read_spec(path), tmp_path)


def test_a_file_of_no_known_kind_is_told(tmp_path: Path) -> None:
    """With the endings that are known."""
    path = tmp_path / "spec.txt"
    path.touch()
    with pytest.raises(SpecError, match=r"no known kind: \.yaml, \.yml, \.toml, \.json"):
        read_spec(path)
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(SpecError, match="is not YAML"):
        read_spec(tmp_path / "bad.yaml")


def test_a_model_that_nobody_uses_is_not_made() -> None:
    """Sides too: a pipeline of documents needs no model of questions."""
    spec = read_spec(REPOSITORY / "examples" / "inference-free.yaml")
    names = set(wanted_models(spec, open_bundles(spec, REPOSITORY)))
    assert names == {"osplade/faq/documents/documents", "osplade/faq/questions"}


_WEIGHTS = st.dictionaries(st.sampled_from("abcdefghijkl"), st.floats(2**-6, 4.0, width=32), min_size=1)
_RULES = st.sampled_from(["", "max_ratio:0.1", "max_ratio:0.5", "abs_value:0.3", "top_k:3", "alpha_mass:0.8"])


@given(_WEIGHTS, _RULES)
def test_what_pruning_and_the_codec_leave_is_no_difference(weights: dict[str, float], rule: str) -> None:
    """Whatever the vector: what ingest stores of it is taken for the bundle's."""
    names = sorted(weights)
    row = SparseVectors(
        np.array([0, len(names)]),
        np.arange(len(names), dtype=np.int32),
        np.array([weights[name] for name in names], np.float32),
    )
    stored = encode_weights(Pruning.parse(rule).apply(row) if rule else row)
    found = {names[token]: float(weight) for token, weight in zip(*stored.row(0), strict=True)}
    assert sparse_difference(found, weights, rule) == ""


@given(_WEIGHTS, st.data())
def test_a_weight_that_is_otherwise_is_named(weights: dict[str, float], data: st.DataObject) -> None:
    """One more, one less, or one that weighs more."""
    name = data.draw(st.sampled_from(sorted(weights)))
    assert name in sparse_difference({**weights, name: weights[name] * 1.02 + 0.01}, weights)
    assert name in sparse_difference({key: value for key, value in weights.items() if key != name}, weights)
    assert "zz" in sparse_difference({**weights, "zz": 0.5}, weights)


def test_differences_have_their_places() -> None:
    """Lists by number, names with dots as they are; what the server makes a list of is no difference."""
    found = {"a": [{"b": 1}], "copy_to": ["text"], "x.y": 1, "more": 1}
    wanted = {"a": [{"b": 2}], "copy_to": "text", "x.y": True}
    assert [str(one) for one in differences(found, wanted, whole=False)] == ["a.0.b: 1 -> 2", "x.y: 1 -> True"]
    assert [str(one) for one in differences(found, wanted)][-1] == "more: 1 -> (nothing)"
