"""Index traps: what in an index' own mapping and settings needs care when it moves. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.finding import Finding, few, many, note, stop, warn
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.migration.target import afterwards
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.types import Capabilities, Json

_FIELDS_LIMIT = 1000
_SERVER_SIDE = "it holds for the new index too, from cutover on"


def index_traps(source: SourceIndex, spec: MigrationSpec, body: Json) -> Iterator[Finding]:
    """Everything that can be seen without asking anybody.

    Args:
        source: The old index.
        spec: What is to become of it.
        body: Of the new index.
    """
    yield from _blocks(source, spec)
    yield from _kinds(source)
    yield from _pipelines(source, spec)
    yield from _settings(source, spec)
    yield from _limit(body)
    if not source.aliases and spec.way != "in-place":
        yield warn(
            f"no alias stands for {source.name!r}: a cutover moves an alias, and whoever asks by the index' own name "
            "will not be moved",
            "let applications ask an alias before cutover",
        )
    if spec.is_elsewhere:
        yield note(
            f"the source is on another cluster ({spec.source_url}): until cutover it is only read; plugins, "
            "pipelines and templates there are not brought over"
        )
        yield from map(note, source.notes)


def names(kept: KeptMeta | None) -> Iterator[Finding]:
    """Fields of ours that are called otherwise."""
    if kept and kept.names:
        told = ", ".join(f"{ours} is {theirs}" for ours, theirs in sorted(kept.names.items()))
        yield note(f"documents have fields that are called like ours, so ours are renamed: {told}")


def language(encoder: SparseEncoder, capabilities: Capabilities, kept: KeptMeta | None) -> Iterator[Finding]:
    """The bundle's features against what the server takes."""
    if dotted := sorted(name for name in encoder.token_ids if "<dot>" in name):
        yield note(
            f"names of features hold no dots, so {many(len(dotted), 'token')} of the bundle are stored as "
            f"{', '.join(dotted)}: mind it in queries written by hand"
        )
    fields = len(kept.spoken) if kept else 2
    longest, most = encoder.bundle.manifest.max_length, capabilities.max_clause_count
    if longest * (1 + fields) > most:
        yield note(
            f"a question may have {longest} tokens, asked in {1 + fields} fields; the server takes {most:,} clauses, "
            f"about {most // (1 + fields)} tokens. The rest, weakest first, is left out of it",
            "for longer ones raise indices.query.bool.max_clause_count",
        )


def unreadable(source: SourceIndex) -> Iterator[Finding]:
    """Why no document can be read."""
    if source.settings.get("verified_before_close") == "true":
        yield stop(f"index {source.name!r} is closed, so it cannot be read", f"open it: POST {source.name}/_open")
    if "read" in _blocks_of(source):
        yield stop(
            f"index {source.name!r} has blocks.read, so it cannot be read",
            f"take the block away: PUT {source.name}/_settings",
        )


def _blocks_of(source: SourceIndex) -> set[str]:
    blocks = flat(source.settings.get("blocks", {}))
    return {name for name, value in blocks.items() if str(value) == "true"}


def _blocks(source: SourceIndex, spec: MigrationSpec) -> Iterator[Finding]:
    found = _blocks_of(source)
    if "read_only_allow_delete" in found:
        yield stop(
            f"index {source.name!r} is read-only because a disk was nearly full (read_only_allow_delete)", "make room"
        )
    if writes := sorted(found & {"write", "read_only", "metadata"}):
        told = f"index {source.name!r} has blocks.{', blocks.'.join(writes)}"
        if spec.way == "in-place":
            yield stop(f"{told}: vectors cannot be added to it", "take the block away, or take way copy")
        else:
            yield note(f"{told}: the new index is made without")


def _kinds(source: SourceIndex) -> Iterator[Finding]:
    kinds: dict[str, list[str]] = {}
    for path, field in _all_fields(source.mappings.get("properties", {})):
        kinds.setdefault(str(field.get("type", "object")), []).append(path)
    if nested := kinds.get("nested"):
        yield note(f"nested fields ({few(nested)}): what they hold has no vectors of its own, the document has one")
    if join := kinds.get("join"):
        yield note(
            f"a join field ({few(join)}): parents and children keep their routing; each gets a vector of its own"
        )
    if stored := kinds.get("percolator"):
        yield warn(
            f"a percolator field ({few(stored)}): its stored queries are copied and parsed by the new mapping",
            "try some of them on the new index before cutover",
        )
    if semantic := kinds.get("semantic"):
        yield warn(
            f"a semantic field ({few(semantic)}) calls a model at every write, while copying too",
            "say --drop for it if it is to be replaced",
        )
    if templates := source.mappings.get("dynamic_templates"):
        told = many(len(templates), "dynamic template")
        yield note(f"{told} kept; our fields are mapped by name, so none applies to them")
    if source.mappings.get("_routing", {}).get("required") in (True, "true"):
        yield note("routing is required: each document keeps its own")


def _settings(source: SourceIndex, spec: MigrationSpec) -> Iterator[Finding]:
    said = flat(source.settings)
    if fields := said.get("sort.field"):
        told = ", ".join(fields) if isinstance(fields, list) else fields
        if dropped := sorted(set(fields if isinstance(fields, list) else [fields]) & set(spec.drop)):
            yield stop(f"the index is sorted by {dropped[0]!r}, which is to be dropped", "keep that field")
        else:
            yield note(f"the index is sorted by {told}: so will the new one be, which makes writing slower")
    if pinned := sorted(name for name in said if name.startswith("routing.allocation.")):
        yield warn(f"{few(pinned)}: shards are bound to nodes, and those of the new index will not be", "set it there")
    if said.get("store.type") == "remote_snapshot":
        yield stop("the index is a searchable snapshot: a new index cannot be made like it", "restore it first")
    if lives := sorted(name for name in said if "index_state_management" in name or name.startswith("lifecycle.")):
        yield warn(
            f"{few(lives)}: the new index has the setting too", "see whether it is to be rolled over like the old one"
        )
    if spec.shards and "routing_partition_size" in said and spec.shards <= int(said["routing_partition_size"]):
        yield stop("routing_partition_size must be less than the number of shards", "say more --shards")


def _pipelines(source: SourceIndex, spec: MigrationSpec) -> Iterator[Finding]:
    in_place = spec.way == "in-place"
    for name, value in afterwards(source.settings).items():
        told = f"{name} is {value!r}: "
        if in_place and name == "index.final_pipeline":
            told += "it runs at every write, so once more when vectors are added"
            yield warn(told, "see that running twice does no harm, or take it away meanwhile")
            continue
        if name.startswith("index.search"):
            told += "it works on whatever is asked, so on osplade's questions too"
        else:
            told += "it does not run meanwhile, since documents come as it left them"
        yield note(told if in_place else f"{told}; {_SERVER_SIDE}")


def _limit(body: Json) -> Iterator[Finding]:
    limit = int(flat(body["settings"]["index"]).get("mapping.total_fields.limit", _FIELDS_LIMIT))
    count = sum(1 for _ in _all_fields(body["mappings"].get("properties", {})))
    if count > limit:
        yield stop(
            f"the new mapping has {count:,} fields and index.mapping.total_fields.limit is {limit:,}",
            "raise the limit of the old index (the new one takes it over), or say --drop for fields",
        )
    elif count > 0.9 * limit:
        yield warn(f"the new mapping has {count:,} fields of {limit:,} that total_fields.limit allows", "raise it soon")


def _all_fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """As the limit counts them: objects, members and other views too."""
    for name, field in properties.items():
        yield f"{prefix}{name}", field
        for inner in ("properties", "fields"):
            yield from _all_fields(field.get(inner, {}), f"{prefix}{name}.")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their whole names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
