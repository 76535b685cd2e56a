"""The ten minutes of docs/migrate.md, block by block, as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.plugin.launcher import RunningNode

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "migrate.md"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[tuple[str, str]]:
    """Language and text of the tutorial's blocks, with an index name of this test's own."""
    tutorial = PAGE.read_text(encoding="utf-8").split("## Ten minutes")[1].split("\n## ")[0]
    return [(kind, text.replace("handbook", name)) for kind, text in _BLOCK.findall(tutorial)]


def test_every_block_does_what_it_says(node: RunningNode, client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """From BM25 to hybrid, switched, undone, switched again, and the old index gone; each command ends well."""
    name = f"{index_name}-handbook"
    found = blocks(name)
    assert len(found) == 8
    place = str(Path(sys.executable).parent)
    told = {**os.environ, "OPENSEARCH_URL": node.url, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    said = ""
    for kind, text in found:
        command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        said += done.stdout
    assert list(client.indices.get_alias(name=name)) == [f"{name}-v2"]
    assert not client.indices.exists(index=f"{name}-v1")
    meta = IndexMeta.read(client, name)
    assert None not in (meta.sparse, meta.kept)
    assert client.get(index=name, id="ours")["_source"]["sparse"]
    assert (tmp_path / "compare.html").stat().st_size > 1000
    assert "0 there already" in said
