"""The same vectors whichever way: encoded by the client, by an ingest pipeline's connector, by a semantic field.

``OSPLADE_SAME_VECTORS`` says how many documents of SciFact; 1,000 take half a minute.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from provisioned import Encoder, World, bulk, sparse

from opensearch_splade.cli.main import main
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.codec import round_weights
from opensearch_splade.provisioning.vectors import sparse_difference

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Features

pytestmark = pytest.mark.collections

DOCUMENTS = int(os.environ.get("OSPLADE_SAME_VECTORS", "200"))


@pytest.fixture(scope="module")
def documents(collections_dir: Path) -> dict[str, dict[str, Any]]:
    with (collections_dir / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in islice(lines, DOCUMENTS)]
    return {one["_id"]: {"title": one["title"], "text": one["text"]} for one in found}


def vectors(client: OpenSearch, index: str, *path: str) -> dict[str, Features]:
    def read() -> Iterator[tuple[str, Any]]:
        from opensearchpy.helpers import scan

        for hit in scan(client, index=index, query={"query": {"match_all": {}}}):
            value = hit["_source"]
            for name in path:
                value = value[name]
            yield hit["_id"], value

    return dict(read())


def rounded(vector: Features) -> Features:
    weights = round_weights(np.array(list(vector.values()), np.float32))
    return dict(zip(vector, map(float, weights), strict=True))


def fill(client: OpenSearch, index: str, documents: dict[str, dict[str, Any]]) -> None:
    places = list(documents)
    for start in range(0, len(places), 100):
        items = bulk(client, index, {key: documents[key] for key in places[start : start + 100]})
        assert {item["status"] for item in items.values()} <= {200, 201}


def osplade(world: World, *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        done = CliRunner().invoke(main, [*arguments, "--url", world.url])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_way_gives_the_same_vectors(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str, documents: dict[str, dict[str, Any]]
) -> None:
    """The same features, and the weights that ingest rounds to 9 bits; so one index stands in for the other.

    The client writes to an index that the cluster fills, searches it, and is refused where the bundle is another one.
    """
    spec = sparse(index_name, encoder.url)
    by_client, by_field = f"{index_name}-client", f"{index_name}-field"
    spec["indices"] |= {by_client: {"ingest": "documents"}, by_field: {"semantic": {"model": "splade"}}}
    path = world.write(spec)
    world.apply(path)
    source = world.folder / "corpus.jsonl"
    source.write_text(
        "\n".join(json.dumps({"_id": key, **one}) for key, one in documents.items()) + "\n", encoding="utf-8"
    )
    osplade(world, "ingest", str(source), "--index", by_client, "--bundle", "splade-tiny")
    fill(client, index_name, documents)
    passages = {key: {"text": f"{one['title']} {one['text']}".strip()} for key, one in documents.items()}
    fill(client, by_field, passages)
    stored = vectors(client, by_client, "sparse")
    assert stored.keys() == documents.keys()
    piped = vectors(client, index_name, "sparse")
    assert {key: rounded(vector) for key, vector in piped.items()} == stored
    assert vectors(client, by_field, "text_semantic_info", "embedding") == piped
    assert IndexMeta.read(client, f"{index_name},{by_client}").sparse
    assert world.states("status", path) == {}
    question = ["search", "vitamin d", "--query-side", "siamese", "--mode", "neural-sparse", "--json"]
    found = [json.loads(osplade(world, *question, "--index", one))["hits"] for one in (index_name, by_client)]
    # Weights of a server that cuts 9 bits off are lower by up to 2 ** -8, so ties at the end may fall otherwise.
    scores = [[hit["legs"][0]["score"] if hit["legs"] else hit["score"] for hit in one] for one in found]
    assert scores[0] == pytest.approx(scores[1], rel=2**-8)
    assert found[0][0]["id"] == found[1][0]["id"]
    osplade(world, "ingest", str(source), "--index", index_name, "--bundle", "splade-tiny")
    assert vectors(client, index_name, "sparse") == stored


def test_pruned_alike(
    client: OpenSearch, world: World, encoder: Encoder, index_name: str, documents: dict[str, dict[str, Any]]
) -> None:
    """By each rule that both know, what stays is the same up to what rounding decides on its border."""
    few = dict(islice(documents.items(), 20))
    whole = {key: f"{one['title']} {one['text']}".strip() for key, one in few.items()}
    rules = {"ratio": "max_ratio:0.1", "least": "abs_value:0.3", "best": "top_k:20", "mass": "alpha_mass:0.8"}
    spec = sparse(index_name, encoder.url, search={})
    spec["ingest"] = {key: {"sparse": "splade", "prune": rule} for key, rule in rules.items()}
    spec["indices"] = {f"{index_name}-{key}": {"ingest": key} for key in rules}
    world.apply(world.write(spec))
    from opensearch_splade.onnx_models import SparseEncoder

    own = SparseEncoder.load("splade-tiny")
    rows = own.encode_documents(whole.values())
    full = {key: own.features(*row) for key, row in zip(whole, rows, strict=True)}
    for key, rule in rules.items():
        fill(client, f"{index_name}-{key}", few)
        for identity, found in vectors(client, f"{index_name}-{key}", "sparse").items():
            assert sparse_difference(found, full[identity], rule) == ""
            assert len(found) < len(full[identity])
