"""What is known of a local node between two commands: one small file in the node's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from opensearch_splade.plugin.node_places import default_home
from opensearch_splade.plugin.node_process import started_at


@dataclass(frozen=True, slots=True)
class LocalNode:
    """A local node that was started.

    Attributes:
        home: Folder of its state, configuration, logs and data.
        pid: Process id.
        started: When that process began (see ``node_process.started_at``).
        url: Where it listens, e.g. ``http://127.0.0.1:9200``.
        version: OpenSearch's version.
    """

    home: Path
    pid: int
    started: str
    url: str
    version: str

    @property
    def data(self) -> Path:
        """Folder of the indices."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the process printed since it was started."""
        return self.home / "node.log"

    @property
    def is_alive(self) -> bool:
        """Whether the very process still runs; a reused pid is not taken for it."""
        return started_at(self.pid) == self.started


def state_file(home: Path) -> Path:
    """The file of :class:`LocalNode`."""
    return home / "state.json"


def save(node: LocalNode) -> None:
    """Replace the state file in one step."""
    target = state_file(node.home)
    scratch = target.with_suffix(".tmp")
    scratch.write_text(json.dumps(asdict(node) | {"home": str(node.home)}, indent=1) + "\n", encoding="utf-8")
    scratch.replace(target)


def running_node(home: Path | None = None) -> LocalNode | None:
    """The node whose process runs now, be it ready or still starting; None where none does.

    Args:
        home: The node's folder; the user's own by default.
    """
    try:
        saved = json.loads(state_file(home or default_home()).read_text(encoding="utf-8"))
        node = LocalNode(**saved | {"home": Path(saved["home"])})
    except (OSError, ValueError, TypeError, KeyError):
        # No file, or not one of ours: no node that we could speak of.
        return None
    return node if node.is_alive else None
