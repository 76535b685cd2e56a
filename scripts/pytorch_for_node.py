"""Puts PyTorch's libraries where ML Commons of a local node looks for them, so that ONNX models can be deployed.

docs/ml-commons.md says why. The node must be stopped; its data folder must exist (it was started once).

    python scripts/pytorch_for_node.py NODE_HOME        # OPENSEARCH_SPLADE_NODE, e.g. ~/.local/share/opensearch-splade
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

GROUP = "ai.djl.pytorch"
JARS = {
    ("pytorch-native-cpu", "2.5.1", "linux-x86_64"): (
        "9c4f35fb64cb3fba34340b432c648e1bea044adeee554b473d5882499b16f0a4",
        {
            f"pytorch/cpu/linux-x86_64/{name}": name
            for name in ("libc10.so", "libgomp-98b21ff3.so.1", "libtorch.so", "libtorch_cpu.so")
        },
    ),
    ("pytorch-jni", "2.5.1-0.32.0", ""): (
        "342bde24382eef06e93a2461fd8f293e5c2c6c72caca7d66019d0a9447d96265",
        # The engine in ML Commons 3.6 is 0.31.1, whose own binding is not on Maven Central.
        {"jnilib/linux-x86_64/cpu/libdjl_torch.so": "0.31.1-libdjl_torch.so"},
    ),
}
"""Artifact, version, classifier: sha256, and which entry becomes which file."""


def fetch(artifact: str, version: str, classifier: str, digest: str, folder: Path) -> Path:
    """One jar, checked."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(
        PythonResolver(), repo_cache=folder, remote_repos=GlobalSettings.load().repositories or None, timeout=120
    )
    wanted = context.project(GROUP, artifact).at_version(version).artifact(classifier=classifier, packaging="jar")
    path: Path = wanted.resolve()
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        sys.exit(f"{path.name} is not the file that was pinned: try again, or look at the mirror")
    return path


def main() -> None:
    """Fetches and places."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = Path(sys.argv[1]) / "data"
    if not data.is_dir():
        sys.exit(f"{data} does not exist: start the node once with `osplade node start --ml-commons`, and stop it")
    target = data / "ml_cache" / "pytorch" / "2.5.1-cpu-precxx11-linux-x86_64"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for (artifact, version, classifier), (digest, files) in JARS.items():
            print(f"fetching {artifact} {version} ...")
            with zipfile.ZipFile(fetch(artifact, version, classifier, digest, Path(scratch))) as jar:
                for entry, name in files.items():
                    with jar.open(entry) as source, (target / name).open("wb") as out:
                        shutil.copyfileobj(source, out)
    # The node may run as another user than who places the files.
    owner = data.stat()
    if os.geteuid() == 0:
        for path in (data / "ml_cache", target.parent, target, *target.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
    print(f"placed in {target}; start the node")


if __name__ == "__main__":
    main()
