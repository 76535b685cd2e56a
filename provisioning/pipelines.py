"""Ingest and search pipelines as the cluster takes them.

An ingest pipeline does what ``osplade ingest`` does, so that either may write an index: the same text is encoded (title
and texts joined), the fields are called the same, and ``encoded`` holds the fingerprints. ``encoded`` is set last and
taken away first: a document that has it has its vectors.
"""

from __future__ import annotations

from dataclasses import replace

from opensearch_splade.provisioning.bundles import Bundles
from opensearch_splade.provisioning.models import Ids, model_name
from opensearch_splade.provisioning.spec import Chunks, ClusterSpec, Ingest, Search
from opensearch_splade.query import Fusion, QueryPruning
from opensearch_splade.types import Json

PASSAGE, CHUNKS, BEFORE = "osplade_passage", "osplade_chunks", "osplade_before"
"""Fields of a document on its way; not stored."""
EXPANSION_RATE, MAX_WINDOW = 5.0, 10_000

JOIN = """
List strings(def value, String path) {
  List found = new ArrayList();
  if (value instanceof List) { for (one in value) { found.addAll(strings(one, path)); } return found; }
  if (path.isEmpty()) { if (value instanceof String && !value.trim().isEmpty()) { found.add(value); } return found; }
  if (!(value instanceof Map)) { return found; }
  if (value.containsKey(path)) { return strings(value[path], ''); }
  int dot = path.indexOf('.');
  return dot < 0 ? found : strings(value[path.substring(0, dot)], path.substring(dot + 1));
}
List fields = ['sparse', 'dense', 'passages', 'encoded', 'hash'];
for (field in fields) { ctx.remove(field); }
if (ctx._id == null) { ctx._id = UUID.randomUUID().toString(); }
ctx.id = ctx._id;
List texts = new ArrayList();
for (field in params.texts) { texts.addAll(strings(ctx, field)); }
String title = String.join(' ', params.title.isEmpty() ? new ArrayList() : strings(ctx, params.title));
String body = String.join(params.between, texts);
String passage = (title + ' ' + body).trim();
if (!passage.isEmpty()) { ctx[params.into] = passage; ctx[params.before] = title.isEmpty() ? 0 : title.length() + 1; }
""".strip()
"""What is encoded: title and texts as ``KeptMeta.read`` gives them. Vectors that came along may be of another text.
``id`` is what client-side searches rank by, so an id that the server would make later is made here."""

FINISH = """
List chunks = ctx.remove(params.chunks);
String passage = ctx.remove(params.passage);
def before = ctx.remove(params.before);
if (chunks != null && ctx.passages != null) {
  int from = 0;
  for (int place = 0; place < chunks.size(); place++) {
    int length = chunks[place].length();
    int start = passage.indexOf(chunks[place], from);
    if (start < 0) { start = from; }
    from = start + (int) (length * params.step);
    Map one = ctx.passages[place];
    one.sparse = one.remove('sparse_encoding');
    one.start = start < before ? 0 : start - before;
    one.end = start + length < before ? 0 : start + length - before;
  }
}
boolean whole = true;
for (field in params.needed) { whole = whole && ctx[field] != null; }
if (whole) { ctx.encoded = params.fingerprints; }
""".strip()
"""Passages as ``osplade ingest`` keeps them, with their places in the text (without its title); and the mark of a
document that has its vectors."""


def description(spec: ClusterSpec, what: str) -> str:
    """Begins with the mark of the owner, which is all that a pipeline can hold."""
    return f"{mark(spec.name)} {what}"


def mark(owner: str) -> str:
    """How descriptions of an owner's pipelines begin."""
    return f"[osplade cluster {owner}]"


def ingest_pipeline(spec: ClusterSpec, one: Ingest, bundles: Bundles, ids: Ids) -> Json:
    """The body of an ingest pipeline."""
    used = [key for key in (one.sparse, one.dense) if key]
    encoders = [_text_embedding(spec, one, ids)] if one.dense else []
    # Last: no processor of an embedding takes a document whose features have a dot in their name.
    encoders += [*_chunking(one.chunks), _sparse_encoding(spec, one, ids)] if one.sparse else []
    needed = (["passages" if one.chunks else "sparse"] if one.sparse else []) + (["dense"] if one.dense else [])
    finish = {
        "passage": PASSAGE,
        "chunks": CHUNKS,
        "before": BEFORE,
        "step": _step(one.chunks),
        "needed": needed,
        "fingerprints": [bundles[key].manifest.fingerprint for key in used],
    }
    return {
        "description": description(spec, f"encodes {', '.join([one.title, *one.texts])} into {', '.join(needed)}"),
        "processors": [
            _joined(one.title, one.texts),
            *_refusal(one.title, one.texts, one.without_text),
            *encoders,
            {"script": {"lang": "painless", "source": FINISH, "params": finish}},
        ],
    }


def semantic_pipeline(spec: ClusterSpec, fingerprint: str) -> Json:
    """Of an index with a semantic field, which the server encodes after this: a failure there fails the document."""
    finish = {
        "passage": PASSAGE,
        "chunks": CHUNKS,
        "before": BEFORE,
        "step": 1.0,
        "needed": [],
        "fingerprints": [fingerprint],
    }
    return {
        "description": description(spec, "marks documents of a semantic field"),
        "processors": [
            _joined("", ["text"]),
            *_refusal("", ["text"], "refuse"),
            {"script": {"lang": "painless", "source": FINISH, "params": finish}},
        ],
    }


def search_pipeline(spec: ClusterSpec, one: Search, ids: Ids) -> Json:
    """The body of a search pipeline."""
    models = {
        field: ids[model_name(spec, key, "queries")]
        for field, key in (("sparse", one.sparse), ("passages.sparse", one.sparse), ("dense", one.dense))
        if key
    }
    requests: list[Json] = []
    if models:
        enricher: Json = {"neural_field_default_id": models}
        if len(set(models.values())) == 1:
            enricher["default_model_id"] = next(iter(models.values()))
        requests.append({"neural_query_enricher": enricher})
    if one.two_phase:
        rule = QueryPruning.parse(one.two_phase)
        kind, value = ("max_ratio", rule.max_ratio) if rule.max_ratio is not None else ("top_k", float(rule.top_k or 0))
        parameters = {
            "prune_type": kind,
            "prune_ratio": value,
            "expansion_rate": EXPANSION_RATE,
            "max_window_size": MAX_WINDOW,
        }
        requests.append({"neural_sparse_two_phase_processor": {"enabled": True, "two_phase_parameter": parameters}})
    body: Json = {"description": description(spec, _said(one))}
    if requests:
        body["request_processors"] = requests
    if one.fusion:
        body |= _fusion(one)
    return body


def _joined(title: str, texts: list[str]) -> Json:
    # Painless knows no \n in a string.
    params = {"title": title, "texts": texts, "between": "\n\n", "into": PASSAGE, "before": BEFORE}
    return {"script": {"lang": "painless", "source": JOIN, "params": params}}


def _refusal(title: str, texts: list[str], rule: str) -> list[Json]:
    if rule == "store":
        return []
    fields = " nor ".join(field for field in (title, *texts) if field)
    message = f"no text: neither {fields} holds a word, so there is nothing to encode"
    return [{"fail": {"if": f"ctx.{PASSAGE} == null", "message": message}}]


def _text_embedding(spec: ClusterSpec, one: Ingest, ids: Ids) -> Json:
    model = ids[model_name(spec, one.dense or "", "documents")]
    return {"text_embedding": {"model_id": model, "field_map": {PASSAGE: "dense"}, "batch_size": one.batch_size}}


def _sparse_encoding(spec: ClusterSpec, one: Ingest, ids: Ids) -> Json:
    model = ids[model_name(spec, one.sparse or "", "documents")]
    fields = {CHUNKS: "passages"} if one.chunks else {PASSAGE: "sparse"}
    body: Json = {"model_id": model, "field_map": fields, "batch_size": one.batch_size}
    return {"sparse_encoding": body | pruning(one.prune)}


def pruning(rule: str) -> Json:
    """A rule as processors and semantic fields take it; nothing for none."""
    if not rule:
        return {}
    kind, _, value = rule.partition(":")
    return {"prune_type": kind, "prune_ratio": float(value)}


def _chunking(chunks: Chunks | None) -> list[Json]:
    if chunks is None:
        return []
    algorithm: Json = {"token_limit": chunks.words, "max_chunk_limit": chunks.most, "tokenizer": "standard"}
    if chunks.overlap:
        algorithm["overlap_rate"] = chunks.overlap
    return [{"text_chunking": {"algorithm": {"fixed_token_length": algorithm}, "field_map": {PASSAGE: CHUNKS}}}]


def _step(chunks: Chunks | None) -> float:
    """Share of a chunk before which the next one cannot begin: of a text that repeats itself a chunk is in many."""
    return 1.0 if chunks is None or not chunks.overlap else (1 - chunks.overlap) / 2


def _fusion(one: Search) -> Json:
    fusion = Fusion.parse(one.fusion)
    if one.weights:
        return replace(fusion, weights=tuple(one.weights)).pipeline()
    body = fusion.pipeline(2)
    for processor in body["phase_results_processors"]:  # equal weights of any number of queries are not said
        processor.get("normalization-processor", {}).get("combination", {}).pop("parameters", None)
    return body


def _said(one: Search) -> str:
    parts = ["encodes query_text"] if one.sparse or one.dense else []
    parts += [f"in two phases ({one.two_phase})"] if one.two_phase else []
    parts += [f"fuses by {one.fusion}"] if one.fusion else []
    return ", ".join(parts)
