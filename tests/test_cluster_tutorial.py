"""The five minutes of docs/cluster.md, block by block, as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_cleanup import alone
from provisioned import Encoder

from opensearch_splade.plugin.launcher import RunningNode

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cluster.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_block_does_what_it_says(
    ml_client: OpenSearch, node: RunningNode, encoder: Encoder, index_name: str, tmp_path: Path
) -> None:
    """Each command ends well, the animal is found, and nothing is left; the encoder runs already."""
    tutorial = PAGE.read_text(encoding="utf-8").split("## Five minutes")[1].split("\n## ")[0]
    serve, *blocks = _BLOCK.findall(tutorial)
    assert serve == "osplade serve splade-tiny --port 9229 &\n"
    assert len(blocks) == 3
    place = str(Path(sys.executable).parent)
    told = {**os.environ, "OPENSEARCH_URL": node.url, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    said = ""
    with alone():
        for block in blocks:
            text = block.replace("handbook", index_name).replace("9229", str(encoder.port))
            command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (text, done.stdout, done.stderr)
            said += done.stdout
    assert "0 changes; 2 models give what their bundles give" in said
    assert said.index('"_id":"1"') < said.index("= index")
    assert not ml_client.indices.exists(index=index_name)
