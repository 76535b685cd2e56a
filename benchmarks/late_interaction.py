"""Late interaction over the first hits of a ranking: dense token vectors (ColBERT's form) and sparse ones (SLIM's).

    osplade export ../shared/models/splade-tiny /tmp/tiny-fp32 --max-length 256 --activation log1p
    python benchmarks/late_interaction.py ./scifact --index scifact --bundle /tmp/tiny-fp32 --split train
    python benchmarks/late_interaction.py ./scifact --index scifact --bundle /tmp/tiny-fp32 --only slim-8/100/0.5

Neither model was trained for it. Dense vectors are the states of the dense bundle before pooling, sparse ones those of
the sparse bundle, whose graphs are given one more output here. The first hits of ``--mode`` are ordered by the second
score alone (share 1) or by a min-max mean of both. Rows are KIND/WINDOW/SHARE: ``slim-K`` keeps K features of a
token, ``upper`` is the first stage of SLIM (tokens of the question added up, of the document pooled), ``maxsim`` are
cosines of all tokens, ``maxsim-inner`` without the first and the last one, which are special.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import orjson
from opensearchpy import helpers

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import OspladeError
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.onnx_models import DenseEncoder, Device, SparseEncoder
from opensearch_splade.onnx_models.sparse_output import OUTPUTS
from opensearch_splade.query import Searcher, fuse
from opensearch_splade.query.fusion_spec import Fusion

Floats = npt.NDArray[np.float32]
Scores = dict[str, dict[str, dict[str, float]]]
"""Kind to question to document to score."""

DENSE = "minilm-l6"
STATES = {"sparse": "logits", "dense": "last_hidden_state"}  # as optimum names what the bodies of the graphs give
KEPT = (2, 8, 99)
WINDOWS = (10, 20)
SHARES = (0.25, 0.5, 0.75, 1.0)


@click.command()
@click.argument("collection")
@click.option("--index", required=True)
@click.option("--bundle", required=True, help="Sparse, fp32, siamese.")
@click.option("--split", default="test", show_default=True)
@click.option("--questions", default="0:100", show_default=True, help="FIRST:LAST of the split, without LAST.")
@click.option("--mode", default="neural-sparse", show_default=True, help="Of the first ranking.")
@click.option("--only", multiple=True, help="Rows to print. [default: the best of each kind]")
@click.option("--scores", type=click.Path(path_type=Path, dir_okay=False), help="Kept there, and read if it is there.")
def main(
    collection: str,
    index: str,
    bundle: str,
    *,
    split: str,
    questions: str,
    mode: str,
    only: tuple[str, ...],
    scores: Path | None,
) -> None:
    """Prints one line of JSON for each row."""
    judged = load_collection(collection, split)
    queries = dict(list(judged.queries.items())[slice(*map(int, questions.split(":")))])
    qrels = {query: judged.qrels[query] for query in queries}
    if scores and scores.is_file():
        found = orjson.loads(scores.read_bytes())
    else:
        cluster = open_cluster(None)
        searcher = open_searchers(cluster, index, QueryBundles(), "siamese")["siamese"]
        found = {"first": _first(searcher, queries, mode)}
        sparse, dense = SparseTokens(bundle), DenseTokens(DENSE)
        texts = _texts(cluster.client, index, {key for hits in found["first"].values() for key in hits})
        found |= _scored(queries, found["first"], texts, (sparse, dense))
        click.echo(orjson.dumps({"cpu_ms_a_text": {one.name: round(one.ms, 2) for one in (sparse, dense)}}))
        if scores:
            scores.write_bytes(orjson.dumps(found))
    rows = {"first": measure(found["first"], qrels, ["nDCG@10"])["nDCG@10"]}
    rows |= {
        f"{kind}/{window}/{share:g}": measure(run, qrels, ["nDCG@10"])["nDCG@10"]
        for kind in found
        if kind != "first"
        for window in WINDOWS
        for share in SHARES
        if not only or f"{kind}/{window}/{share:g}" in only
        for run in [_reranked(found, kind, window, share)]
    }
    best = {name.split("/")[0]: name for name, _ in sorted(rows.items(), key=lambda each: each[1])}
    for name in rows if only else best.values():
        click.echo(orjson.dumps({"system": name, "nDCG@10": rows[name]}))


def _first(searcher: Searcher, queries: Mapping[str, str], mode: str) -> dict[str, dict[str, float]]:
    answers = searcher.search_many(list(queries.values()), mode=mode, size=max(WINDOWS), ids_only=True)
    if failed := next((each for each in answers if isinstance(each, OspladeError)), None):
        raise failed
    hits = (() if isinstance(each, OspladeError) else each.hits for each in answers)
    return {query: {hit.id: hit.score for hit in each} for query, each in zip(queries, hits, strict=True)}


def _texts(client: Any, index: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
    for hit in helpers.scan(client, index=index, query={"_source": ["title", "text"]}, size=500, scroll="30m"):
        if hit["_id"] in wanted:
            yield hit["_id"], f"{hit['_source'].get('title', '')} {hit['_source'].get('text', '')}".strip()


def _reranked(found: Scores, kind: str, window: int, share: float) -> dict[str, dict[str, float]]:
    fusion = Fusion("min_max", "arithmetic_mean", (1 - share, share))
    runs: dict[str, dict[str, float]] = {}
    for query, first in found["first"].items():
        kept = dict(list(first.items())[:window])
        second = {key: found[kind][query].get(key, 0.0) for key in kept}
        second = dict(sorted(second.items(), key=lambda each: -each[1]))  # stable: ties in the first one's order
        runs[query] = second if share == 1 else fuse([kept, second], fusion, candidates=window)
    return runs


def _scored(
    queries: Mapping[str, str],
    first: Mapping[str, Mapping[str, float]],
    texts: Iterator[tuple[str, str]],
    models: tuple[SparseTokens, DenseTokens],
) -> Scores:
    """Each document is encoded once, and scored for all questions that have it among their first hits."""
    asked: dict[str, list[str]] = {}
    for query, hits in first.items():
        for key in hits:
            asked.setdefault(key, []).append(query)
    sparse, dense = models
    of_query = {query: (sparse.tokens(text, query=True), dense.tokens(text)) for query, text in queries.items()}

    def scores(document: tuple[str, str]) -> tuple[str, dict[str, Floats]]:
        key, text = document
        asking = [of_query[query] for query in asked[key]]
        by_sparse = sparse.scores([one for one, _ in asking], sparse.tokens(text))
        return key, by_sparse | dense.scores([one for _, one in asking], dense.tokens(text))

    found: Scores = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for key, kinds in pool.map(scores, texts):
            for kind, values in kinds.items():
                for query, value in zip(asked[key], values.tolist(), strict=True):
                    found.setdefault(kind, {}).setdefault(query, {})[key] = round(value, 6)
    return found


class _States:
    """A graph that gives the states of the positions beside its own outputs.

    Args:
        graph: ``model.onnx``.
        states: What the states are called in it.
    """

    name = ""

    def __init__(self, graph: Path, states: str) -> None:
        import onnx

        self.model = onnx.load(graph)
        self.model.graph.output.append(onnx.helper.make_tensor_value_info(states, 1, None))
        with tempfile.TemporaryDirectory() as folder:
            changed = Path(folder) / graph.name
            onnx.save(self.model, changed)
            self._session = Device().session(changed, 1)
        self._seconds, self._texts = 0.0, 0

    @property
    def ms(self) -> float:
        """Of the processor's time for one text, so far."""
        return 1000 * self._seconds / max(1, self._texts)

    def run(self, ids: Sequence[int], outputs: Sequence[str]) -> list[Any]:
        """Outputs of one text."""
        start = time.thread_time()
        array = np.array([ids], np.int64)
        given = {"input_ids": array, "attention_mask": np.ones_like(array)}
        found: list[Any] = self._session.run(list(outputs), given)
        self._seconds, self._texts = self._seconds + time.thread_time() - start, self._texts + 1
        return found


class SparseTokens(_States):
    """Sparse vectors of tokens: the head applied to each state, over the features that the whole text has.

    Same numbers as ``SparseEncoder.stream_token_vectors``, eight times faster.
    """

    name = "sparse"

    def __init__(self, bundle: str) -> None:
        from onnx import numpy_helper

        self._encoder = SparseEncoder.load(bundle)
        super().__init__(self._encoder.bundle.model, STATES["sparse"])
        constants = {one.name: one for one in self.model.graph.initializer}
        gathered = [node.input[0] for node in self.model.graph.node if node.op_type == "Gather"]
        shapes = {name: list(constants[name].dims) for name in gathered if name in constants}
        width = len(self._encoder.vocabulary.features)
        [bias] = [name for name, shape in shapes.items() if shape == [width]]
        projection = next(name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == width)
        self._weight, self._bias = (numpy_helper.to_array(constants[name]) for name in (projection, bias))

    def tokens(self, text: str, *, query: bool = False) -> tuple[npt.NDArray[np.int32], Floats]:
        """Features of the text, and each token's weight of each. Shapes: (features,), (tokens, features)."""
        [ids] = self._encoder.tokenizer.encode([text], query=query)
        token_ids, _, [count], states = self.run(ids, [*OUTPUTS, STATES["sparse"]])
        features = token_ids[0, :count]
        start = time.thread_time()
        weights = np.log1p(np.maximum(states[0] @ self._weight[features].T + self._bias[features], 0))
        self._seconds += time.thread_time() - start
        return features, weights

    def scores(
        self,
        questions: Sequence[tuple[npt.NDArray[np.int32], Floats]],
        document: tuple[npt.NDArray[np.int32], Floats],
    ) -> dict[str, Floats]:
        """Of each kind one score a question."""
        features, weights = document
        column = np.full(len(self._bias), -1, np.int64)
        column[features] = np.arange(len(features))
        places = [column[names] for names, _ in questions]
        ends = np.cumsum([len(tokens) for _, tokens in questions])
        found: dict[str, Floats] = {}
        for kept in KEPT:
            rows = np.zeros((ends[-1], len(features)), np.float32)
            for end, place, (_, tokens) in zip(ends, places, questions, strict=True):
                rows[end - len(tokens) : end, place[place >= 0]] = _strongest(tokens, kept)[:, place >= 0]
            products = rows @ _strongest(weights, kept).T
            found[f"slim-{kept}"] = np.add.reduceat(products.max(axis=1), [0, *ends[:-1]])
        found["upper"] = np.add.reduceat(rows @ weights.max(axis=0), [0, *ends[:-1]])
        return found


class DenseTokens(_States):
    """Dense vectors of tokens, at length 1."""

    name = "dense"

    def __init__(self, bundle: str) -> None:
        self._encoder = DenseEncoder.load(bundle)
        super().__init__(self._encoder.bundle.model, STATES["dense"])

    def tokens(self, text: str) -> Floats:
        """Shape: (tokens, dimension)."""
        [ids] = self._encoder.tokenizer.encode([text])
        [states] = self.run(ids, [STATES["dense"]])
        vectors: Floats = states[0] / np.linalg.norm(states[0], axis=1, keepdims=True)
        return vectors

    def scores(self, questions: Sequence[Floats], document: Floats) -> dict[str, Floats]:
        """Of each kind one score a question."""
        found: dict[str, Floats] = {}
        for kind, inner in (("maxsim", slice(None)), ("maxsim-inner", slice(1, -1))):
            kept = [question[inner] for question in questions]
            starts = np.cumsum([0, *[len(one) for one in kept[:-1]]])
            products = np.concatenate(kept) @ document[inner].T
            found[kind] = np.add.reduceat(products.max(axis=1), starts)
        return found


def _strongest(tokens: Floats, kept: int) -> Floats:
    """Each row's largest values, the others 0."""
    if kept >= tokens.shape[1]:
        return tokens
    least = -np.partition(-tokens, kept - 1, axis=1)[:, kept - 1 : kept]
    return np.where(tokens >= least, tokens, 0)


if __name__ == "__main__":
    main()
