"""Cluster view: health, nodes, disks and heaps of the cluster that takes the new index, and whether it has room."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearch_splade.ingest.pacing import PaceLimits
from opensearch_splade.migration.finding import Finding, many, note, stop, warn
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}
_WATERMARK = "cluster.routing.allocation.disk.watermark."
BULK_HEAP = PaceLimits().most * PaceLimits().ceiling * 3
"""Bytes of heap that our largest bulk requests take on one node: received, parsed, and as Lucene documents."""


@dataclass(frozen=True, slots=True)
class DataNode:
    """A node that holds shards. All in bytes.

    Attributes:
        name: Its name.
        disk: Of its data.
        free: Of that.
        heap: The most that its heap may have.
        live: Of it in use after the last collection, as far as is known.
    """

    name: str
    disk: int
    free: int
    heap: int
    live: int


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster.

    Attributes:
        name: Its name.
        status: ``green``, ``yellow`` or ``red``.
        shards: Active ones.
        moving: Shards that are being moved or made.
        unassigned: Shards without a node.
        nodes: With data.
        settings: In force, by their whole names.
    """

    name: str
    status: str
    shards: int
    moving: int
    unassigned: int
    nodes: tuple[DataNode, ...]
    settings: Mapping[str, Any]

    @classmethod
    def read(cls, client: OpenSearch) -> ClusterView:
        """Asks the cluster.

        Raises:
            ClusterError: It does not answer or refuses.
        """
        with asking("_all"):
            health = client.cluster.health()
            stats = client.nodes.stats(metric="fs,jvm")
            scopes = client.cluster.get_settings(params={"include_defaults": "true", "flat_settings": "true"})
        settings: Json = {}
        for scope in ("defaults", "persistent", "transient"):
            settings |= scopes.get(scope, {})
        nodes = [_node(one) for one in stats["nodes"].values() if "data" in one.get("roles", ["data"])]
        return cls(
            name=health["cluster_name"],
            status=health["status"],
            shards=health["active_shards"],
            moving=health["relocating_shards"] + health["initializing_shards"],
            unassigned=health["unassigned_shards"],
            nodes=tuple(nodes),
            settings=settings,
        )

    @property
    def free(self) -> int:
        """Bytes that are free on all nodes."""
        return sum(node.free for node in self.nodes)

    def reserve(self, stage: str) -> int:
        """Bytes that must stay free on all nodes before a watermark (``low``, ``high``, ``flood_stage``) is passed."""
        said = str(self.settings.get(f"{_WATERMARK}{stage}", ""))
        return sum(_reserve(said, node.disk) for node in self.nodes)

    @property
    def headroom(self) -> int:
        """Bytes of heap that are free on the node with the least, after its last collection."""
        return min((node.heap - node.live for node in self.nodes), default=0)

    def findings(self) -> Iterator[Finding]:
        """What speaks against a migration just now."""
        if self.status == "red":
            yield stop(
                "the cluster is red: some primary shards are not there", "mend it: GET _cluster/allocation/explain"
            )
        elif self.status == "yellow":
            yield note(f"the cluster is yellow: no node for {many(self.unassigned, 'copy', 'copies')} of shards")
        if self.moving:
            yield warn(f"{many(self.moving, 'shard')} just being moved or made", "wait until the cluster has settled")
        for block in ("read_only", "read_only_allow_delete", "create_index"):
            if str(self.settings.get(f"cluster.blocks.{block}")) == "true":
                yield stop(f"cluster.blocks.{block} is set: no index can be made", "take the block away")
        if str(self.settings.get("cluster.routing.allocation.enable", "all")) in ("none", "new_primaries"):
            yield warn(
                "allocation of shards is turned off, in part at least", "set cluster.routing.allocation.enable: all"
            )
        if self.headroom < BULK_HEAP:
            yield warn(
                f"a node has {self.headroom / 2**20:,.0f} MiB of heap left; our bulk requests may take "
                f"{BULK_HEAP / 2**20:,.0f} MiB of it",
                "give it more heap, or run with --max-docs-per-second while there is little else to do",
            )

    def room_for(self, size: float, high: float, primaries: int, replicas: int) -> Iterator[Finding]:
        """What speaks against an index of so many bytes.

        Args:
            size: Of one copy.
            high: At most.
            primaries: Its primary shards.
            replicas: Copies of each.
        """
        copies = 1 + min(replicas, max(0, len(self.nodes) - 1))
        if replicas > len(self.nodes) - 1:
            yield warn(
                f"{many(replicas, 'replica')} of a shard: {replicas + 1} data nodes are wanted for that and "
                f"{len(self.nodes)} there, so the new index will be yellow",
                f"say --replicas {max(0, len(self.nodes) - 1)}, or add nodes",
            )
        most = int(self.settings.get("cluster.max_shards_per_node", 1000)) * len(self.nodes)
        if self.shards + primaries * (1 + replicas) > most:
            yield stop(
                f"{many(primaries * (1 + replicas), 'shard')} more than the {self.shards:,} there are would pass the "
                f"{most:,} that the cluster takes",
                "say fewer --shards or --replicas, or raise cluster.max_shards_per_node",
            )
        yield from self._disk(size * copies, high * copies)

    def _disk(self, size: float, high: float) -> Iterator[Finding]:
        left, worst = self.free - size, self.free - high
        told = f"the new index needs {size / 1e9:,.2f} GB, at most {high / 1e9:,.2f}, of {self.free / 1e9:,.2f} GB"
        if left < self.reserve("flood_stage"):
            yield stop(
                f"{told}: the flood-stage watermark would be passed, and every index of the node be read-only",
                "make room or add nodes; or say --prune, fewer --replicas, or --way in-place",
            )
        elif worst < self.reserve("high"):
            yield warn(
                f"{told}: the high watermark may be passed, and shards be moved away",
                "make room, or say --prune or fewer --replicas",
            )


def _node(stats: Json) -> DataNode:
    disk, memory = stats["fs"]["total"], stats["jvm"]["mem"]
    old = memory.get("pools", {}).get("old", {})
    live = old.get("last_gc_stats", old).get("used_in_bytes", memory["heap_used_in_bytes"])
    return DataNode(
        stats["name"], disk["total_in_bytes"], disk["available_in_bytes"], memory["heap_max_in_bytes"], live
    )


def _reserve(said: str, disk: int) -> int:
    """A watermark says the share that may be used (``85%``, ``0.85``), or how much must stay free (``10gb``)."""
    if found := re.fullmatch(r"([\d.]+)\s*%", said):
        return int(disk * (1 - float(found[1]) / 100))
    if found := re.fullmatch(r"([\d.]+)\s*([kmgtp]?b)", said.lower()):
        return int(float(found[1]) * _UNITS[found[2]])
    if re.fullmatch(r"0?\.\d+|1(\.0+)?", said):
        return int(disk * (1 - float(said)))
    return 0
