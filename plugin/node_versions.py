"""The pinned versions and checksums of the local node (``node_versions.json``)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file to fetch.

    Attributes:
        coordinates: ``group:artifact:packaging:version``.
        sha256: Hex digest of the file.
        bytes: Size of the file.
    """

    coordinates: str
    sha256: str
    bytes: int

    @property
    def filename(self) -> str:
        """As the repository names it, e.g. ``opensearch-3.6.0.zip``."""
        _, artifact, packaging, version = self.coordinates.split(":")
        return f"{artifact}-{version}.{packaging}"


@dataclass(frozen=True, slots=True)
class NodeVersions:
    """What makes a node.

    Attributes:
        opensearch: Version of the server, e.g. ``3.6.0``.
        image: The same version as a Docker image.
        oldest_java: Oldest Java that runs it.
        newest_java: Newest Java it was tried with.
        distribution: The server's zip.
        plugins: The plugins' zips, in the order of installation.
        thai_rules: Jars for a Java runtime that cannot split Thai into words.
        ml_commons: Zips of the plugin that runs models in the cluster and calls out to those outside; large, so a node
            has it where it is asked for.
    """

    opensearch: str
    image: str
    oldest_java: int
    newest_java: int
    distribution: PinnedFile
    plugins: tuple[PinnedFile, ...]
    thai_rules: tuple[PinnedFile, ...]
    ml_commons: tuple[PinnedFile, ...] = ()

    def with_ml_commons(self) -> NodeVersions:
        """The same node with ML Commons."""
        return replace(self, plugins=(*self.plugins, *self.ml_commons), ml_commons=())

    @property
    def folder(self) -> str:
        """Name of the installation: another pin is another folder, so an old installation is never taken for it."""
        digests = "".join(zipped.sha256 for zipped in (self.distribution, *self.plugins))
        return f"opensearch-{self.opensearch}-{hashlib.sha256(digests.encode()).hexdigest()[:8]}"


def _load() -> NodeVersions:
    pinned = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    distribution, *plugins = (PinnedFile(**zipped) for zipped in pinned["zips"])
    return NodeVersions(
        opensearch=pinned["opensearch"],
        image=pinned["image"],
        oldest_java=pinned["java"]["oldest"],
        newest_java=pinned["java"]["newest_tried"],
        distribution=distribution,
        plugins=tuple(plugins),
        thai_rules=tuple(PinnedFile(**jar) for jar in pinned["thai_rules"]),
        ml_commons=tuple(PinnedFile(**zipped) for zipped in pinned["ml_commons"]),
    )


VERSIONS = _load()
