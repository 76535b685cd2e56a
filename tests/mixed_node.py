"""A node with both the security plugin and ML Commons, of parts that were not released together.

No security plugin of OpenSearch 3.6 is published as a plain archive, and the pair of ``secured_node`` lacks what
neural-search needs. So the plugin of 3.4 is made to load into 3.6: its descriptor is changed, and jars go that the
distribution has too. **A doctored mix.** It proves the names of permissions and what our client does with refusals;
what it does says nothing about any release of the security plugin.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from secured_node import Installed, SecuredNode, secured_node

from opensearch_splade.plugin import node
from opensearch_splade.plugin.node_files import fetched, installation, require_safe
from opensearch_splade.plugin.node_java import find_java
from opensearch_splade.plugin.node_places import cache_dir, exclusive, make_folder, open_to_all
from opensearch_splade.plugin.node_versions import VERSIONS, PinnedFile

_SECURITY = PinnedFile(
    "org.opensearch.plugin:opensearch-security:zip:3.4.0.0",
    "fc164c084979f7f793d295b6bca56bf8bee76dafb762adef9f14fa872e0a7596",
    49263978,
)
_WHOLE = VERSIONS.with_ml_commons()
_MIXED = replace(_WHOLE, plugins=(*_WHOLE.plugins, _SECURITY))
_CHANGED = {
    "opensearch.version=3.4.0": f"opensearch.version={VERSIONS.opensearch}",
    "optional=true,rule-framework": "optional=true,rule-framework;optional=true",
}
"""In the descriptor. The server loads a plugin of its own version alone, and has no rule-framework."""
_TWICE = ("bc-fips", "bcpkix-fips", "bcutil-fips")
"""Jars that the distribution has in other versions."""


@contextmanager
def mixed_node(home: Path, files: Path) -> Iterator[SecuredNode]:
    """A running node, stopped and its data deleted in the end; the test is skipped where none can be had.

    Args:
        home: A folder that every user can reach.
        files: A folder for the certificates.
    """
    with secured_node(home, files, _installed) as running:
        yield running


def _installed() -> Installed:
    java = find_java()
    whole = installation(java, node.QUIET, _WHOLE)
    target = cache_dir() / _MIXED.folder
    with exclusive(cache_dir() / "install.lock"):
        if not target.exists():
            zipped = fetched(_SECURITY, make_folder(cache_dir() / "downloads"), node.QUIET)
            with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
                made = Path(scratch, "made")
                shutil.copytree(whole, made, copy_function=os.link, symlinks=True)  # half a gigabyte not written twice
                _add(zipped, made)
                made.rename(target)
    return Installed(_MIXED, target, java)


def _add(zipped: Path, server: Path) -> None:
    """What OpenSearch's own installer does, which would refuse this one."""
    plugin = server / "plugins" / "opensearch-security"
    with zipfile.ZipFile(zipped) as archive:
        require_safe(archive)
        archive.extractall(plugin)
    for jar in (jar for name in _TWICE for jar in plugin.glob(f"{name}-*.jar")):
        jar.unlink()
    descriptor = plugin / "plugin-descriptor.properties"
    text = descriptor.read_text("utf-8")
    for before, after in _CHANGED.items():
        assert before in text
        text = text.replace(before, after)
    descriptor.write_text(text, "utf-8")
    open_to_all(plugin)
    shutil.move(plugin / "config", server / "config" / "opensearch-security")
