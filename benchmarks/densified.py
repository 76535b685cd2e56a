"""Densified sparse vectors against the sparse field: the same vectors asked both ways, in an index made for it.

    python benchmarks/densified.py --from scifact --collection ./scifact
    python benchmarks/densified.py --from debian --corpus corpus.jsonl.gz --slices 384

Copies ids and sparse vectors of an index into one of its own with a kNN field beside them (one shard, one segment, and
deleted at the end), and asks siamese questions: ``sparse`` in one step, ``dense`` by kNN alone, ``rescored`` by kNN and
the sparse query over its candidates. ``same`` is the share of the first ten hits that ``sparse`` has too.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterator
from typing import Any

import click
from two_step import WARM_UP, questions_of

from opensearch_splade.cli.wiring import Cluster, QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.query import knn, neural_sparse, rescored, search_body
from opensearch_splade.query.densified import densified
from opensearch_splade.types import Features, Json

SIZE = 10


@click.command()
@click.option("--from", "source", required=True, help="Index with a sparse field of rank_features.")
@click.option("--collection", help="Its judged questions, for nDCG@10.")
@click.option("--corpus", help="Its source, for questions without judgements.")
@click.option("--questions", default=300, show_default=True)
@click.option("--slices", default=768, show_default=True)
@click.option("--candidates", default=200, show_default=True)
@click.option("--url", help="The cluster. [default: $OPENSEARCH_URL, else the running local node]")
def main(
    source: str,
    collection: str | None,
    corpus: str | None,
    questions: int,
    slices: int,
    candidates: int,
    url: str | None,
) -> None:
    """Copies, asks, and prints one line of JSON for each system."""
    cluster = open_cluster(url)
    encoder = open_searchers(cluster, source, QueryBundles(), "siamese")["siamese"].target.sparse
    if encoder is None or not (collection or corpus):
        raise click.UsageError("give --collection or --corpus, and an index whose bundle is at hand")
    judged = load_collection(collection) if collection else None
    texts = dict(list(judged.queries.items())[:questions]) if judged else {}
    texts = texts or {str(place): text for place, text in enumerate(questions_of(str(corpus), questions))}
    features = {key: encoder.encode_query(text) for key, text in texts.items()}
    index = f"densified-{uuid.uuid4().hex[:8]}"
    try:
        click.echo(json.dumps(_copy(cluster, source, index, slices)))
        for row in _ask(cluster, index, features, slices, candidates, judged.qrels if judged else {}):
            click.echo(json.dumps(row))
    finally:
        cluster.client.indices.delete(index=index, ignore=[404])


def _copy(cluster: Cluster, source: str, index: str, slices: int) -> Json:
    from opensearchpy import helpers

    method = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
    vector = {"type": "knn_vector", "dimension": slices, "method": method}
    fields = {"sparse": {"type": "rank_features"}, "dense": vector, "id": {"type": "keyword", "index": False}}
    settings = {"index.knn": True, "number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "29s"}
    client = cluster.client
    client.indices.create(index=index, body={"mappings": {"properties": fields}, "settings": settings})

    def actions() -> Iterator[Json]:
        for hit in helpers.scan(client, index=source, query={"_source": ["sparse"]}, size=500):
            sparse = hit["_source"].get("sparse") or {}
            if sparse:
                dense = [round(weight, 4) for weight in densified(sparse, slices).weights]
                yield {"_id": hit["_id"], "id": hit["_id"], "sparse": sparse, "dense": dense}

    start = time.perf_counter()
    for _ in helpers.streaming_bulk(client, actions(), index=index, chunk_size=250, request_timeout=300):
        pass
    client.indices.forcemerge(index=index, max_num_segments=1, request_timeout=600)
    client.indices.refresh(index=index)
    rows = client.cat.indices(index=index, format="json", bytes="mb")
    return {
        "slices": slices,
        "documents": client.count(index=index)["count"],
        "seconds": round(time.perf_counter() - start, 1),
        "megabytes": int(rows[0]["store.size"]),
    }


def _ask(
    cluster: Cluster,
    index: str,
    features: dict[str, Features],
    slices: int,
    candidates: int,
    qrels: Any,
) -> list[Json]:
    client, capabilities = cluster.client, cluster.capabilities

    def bodies(weights: Features) -> dict[str, Json]:
        sparse = neural_sparse(weights, capabilities=capabilities)
        near = search_body(knn(densified(weights, slices).weights, candidates, capabilities=capabilities), size=SIZE)
        found = {"sparse": search_body(sparse, size=SIZE), "dense": near}
        return {**found, "rescored": rescored(near, sparse, window=candidates)}

    for weights in list(features.values())[:WARM_UP]:
        for body in bodies(weights).values():
            client.search(index=index, body={**body, "_source": False})
    times: dict[str, list[float]] = {}
    hits: dict[str, dict[str, list[str]]] = {}
    for key, weights in features.items():
        for name, body in bodies(weights).items():
            start = time.perf_counter()
            answer = client.search(index=index, body={**body, "_source": False})
            times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
            hits.setdefault(name, {})[key] = [hit["_id"] for hit in answer["hits"]["hits"]]
    return [_row(name, times[name], hits[name], hits["sparse"], qrels) for name in times]


def _row(name: str, times: list[float], hits: dict[str, list[str]], exact: dict[str, list[str]], qrels: Any) -> Json:
    ordered = sorted(times)
    row: Json = {"system": name, "questions": len(times)}
    row |= {f"p{share}": round(ordered[math.ceil(share / 100 * len(times)) - 1], 2) for share in (50, 95, 99)}
    shared = sum(len(set(found) & set(exact[key])) for key, found in hits.items())
    row["same"] = round(shared / max(1, sum(map(len, exact.values()))), 4)
    if gains := [_ndcg(found, qrels[key]) for key, found in hits.items() if key in qrels]:
        row["nDCG@10"] = round(math.fsum(gains) / len(gains), 4)
    return row


def _ndcg(found: list[str], grades: dict[str, int]) -> float:
    discounts = [1 / math.log2(rank + 2) for rank in range(SIZE)]
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    ideal = math.fsum(gain * discount for gain, discount in zip(best, discounts, strict=False))
    gained = math.fsum(max(0, grades.get(one, 0)) * discount for one, discount in zip(found, discounts, strict=False))
    return gained / ideal if ideal else 0.0


if __name__ == "__main__":
    main()
