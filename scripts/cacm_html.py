"""CACM as Anserini has it, ``cacm.tar.gz`` of HTML files, to a folder that `osplade ingest` reads.

    python scripts/cacm_html.py cacm.tar.gz data/cacm-html

What the HTML has and the usual JSON lines have not are tables of citations, three numbers a line, which count as words.
"""

from __future__ import annotations

import html
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

_TAG = re.compile(r"<[^>]+>")


def documents(archive: Path) -> Iterator[dict[str, str]]:
    """Each HTML file of an archive as a document without title, by its name."""
    with tarfile.open(archive) as files:
        for member in files:
            found = files.extractfile(member) if member.name.endswith(".html") else None
            if found:
                text = _TAG.sub(" ", html.unescape(found.read().decode(errors="replace")))
                yield {"_id": Path(member.name).stem, "text": " ".join(text.split())}


def main() -> None:
    """Writes ``corpus.jsonl``."""
    archive, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(document) for document in documents(archive)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} documents in {folder}")


if __name__ == "__main__":
    main()
