"""List what the standard library says about itself. Run as a program in a process of its own, never imported.

Importing some hundreds of modules leaves marks (signal handlers, terminal settings, registered hooks), so
`pydoc_source` runs this file with ``python -I -S`` and reads its output: one JSON object a line with ``id``,
``kind``, ``module``, ``title`` and ``doc``. It uses nothing but the standard library: without site-packages no
installed package can stand in for a standard module.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Record = dict[str, str]

# Left out: what acts on import (antigravity, this), tests and demonstrations, applications, other names of documented
# modules (posix is os, sre_parse is re), generated code tables, and packages that newer versions no longer have.
EXCLUDED = {
    *("antigravity", "distutils", "encodings", "ensurepip", "genericpath", "idlelib", "lib2to3", "nt", "ntpath"),
    *("nturl2path", "opcode", "posix", "posixpath", "pydoc_data", "sre_compile", "sre_constants", "sre_parse"),
    *("test", "this", "turtledemo"),
}
NOT_API = re.compile(r"(^|\.)(_(?!_future__)|tests?$|test_)")
ADDRESS = re.compile(r"(<[^<>]*?) at 0x[0-9a-fA-F]+>")
LONGEST_SIGNATURE, LONGEST_DEFAULT = 200, 40
DATA_DESCRIPTORS = (property, types.GetSetDescriptorType, types.MemberDescriptorType)


def modules() -> dict[str, types.ModuleType]:
    """Every public module that can be imported here, by name."""
    found: dict[str, types.ModuleType] = {}
    pending = [*sorted(sys.stdlib_module_names, reverse=True), "os.path"]
    while pending:
        name = pending.pop()
        if name in EXCLUDED or NOT_API.search(name):
            continue
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001, S112 - foreign code: winreg on Linux, curses without a library
            continue
        found[name] = module
        pending += [f"{name}.{each.name}" for each in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    return found


def public_names(module: types.ModuleType) -> Iterator[str]:
    """What the module offers: its ``__all__``, or else the names without underscore that it defines itself."""
    if hasattr(module, "__all__"):
        yield from sorted(set(module.__all__))
        return
    own = {module.__name__, f"_{module.__name__}"} | ({"io", "_io"} if module is builtins else set())  # open
    for name, value in sorted(vars(module).items()):
        if not name.startswith("_") and getattr(value, "__module__", None) in own:
            yield name


def offered_by(found: dict[str, types.ModuleType], module_name: str, name: str, value: object) -> str:
    """The outermost package that has the same object under the same name; ``__all__`` does not always list it."""
    parent = module_name.rpartition(".")[0]
    while parent in found and vars(found[parent]).get(name) is value:
        module_name, parent = parent, parent.rpartition(".")[0]
    return module_name


def documented(value: object) -> bool:
    """Whether the object has a docstring of its own (instances otherwise show their class's)."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return bool(value.__doc__)
    doc = getattr(value, "__doc__", None)
    return isinstance(doc, str) and doc != type(value).__doc__ and not inspect.ismodule(value)


def package(value: object) -> str:
    """The top-level package that says to define the object; ``_csv`` is ``csv``."""
    return str(getattr(value, "__module__", None)).lstrip("_").partition(".")[0]


def canonical(found: dict[str, types.ModuleType]) -> dict[str, tuple[str, Any]]:
    """The objects that modules offer, each once under its best name: name to module name and object."""
    best: dict[int, tuple[tuple[Any, ...], str, str, Any]] = {}
    for module_name, module in found.items():
        for name in public_names(module):
            value = getattr(module, name, None)
            if not (inspect.isclass(value) or documented(value)):
                continue
            home = offered_by(found, module_name, name, value)
            full = name if home == "builtins" else f"{home}.{name}"
            rank = (
                home != "builtins",
                getattr(value, "__name__", name) != name,  # OSError, not IOError
                home.partition(".")[0] != package(value),  # json's own, not who imported it
                full.count("."),  # json.JSONDecoder, not json.decoder.JSONDecoder
                full,
            )
            if id(value) not in best or rank < best[id(value)][0]:
                best[id(value)] = (rank, full, home, value)
    return {full: (home, value) for _, full, home, value in best.values()}


def signature(value: object, *, bound: bool = False) -> str:
    """The signature as deterministic text, without annotations; empty where there is none worth showing.

    Args:
        value: A class or routine.
        bound: Whether to leave out the first parameter, ``self`` or ``cls``.
    """
    try:
        found = list(inspect.signature(value).parameters.values())  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - foreign code: annotations and __signature__ can raise anything
        return ""
    if bound and found and (inspect.isfunction(value) or found[0].name in {"self", "cls", "type"}):
        found = found[1:]
    shown = [
        each.replace(annotation=each.empty, default=each.default if plain(each.default) else Ellipsis) for each in found
    ]
    text = str(inspect.Signature(shown)).replace("=Ellipsis", "=...")
    if inspect.isclass(value) and text in {"()", "(*args, **kwargs)", "(*args, **kwds)"}:
        return ""
    return text if len(text) <= LONGEST_SIGNATURE else "(...)"


def plain(default: object) -> bool:
    """Whether the default reads the same in each run and everywhere: no set, address or path, and nothing long."""
    path = isinstance(default, str) and len(default) > 1 and Path(default).is_absolute()
    text = repr(default)
    return not (path or isinstance(default, set | frozenset) or ADDRESS.search(text) or len(text) > LONGEST_DEFAULT)


def members(owner: type, public: dict[int, str]) -> Iterator[tuple[str, str, Any, bool]]:
    """Name, kind, object and boundness of what a class defines, with the private bases that no public base has."""
    seen: set[str] = set()
    others = [base for base in owner.__mro__[1:] if id(base) in public]
    for base in owner.__mro__:
        if base is not owner and (package(base) != package(owner) or any(base in each.__mro__ for each in others)):
            continue
        for name, value in sorted(vars(base).items()):
            inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if name in seen or not isinstance(getattr(inner, "__doc__", None), str):
                continue
            seen.add(name)
            if isinstance(inner, DATA_DESCRIPTORS) and not name.startswith("_"):
                yield name, "attribute", inner, False
            elif isinstance(inner, types.WrapperDescriptorType) or not inspect.isroutine(inner):
                continue  # slots: "Return self<value."
            elif not name.startswith("_") or (name.startswith("__") and len((inner.__doc__ or "").split()) >= 12):
                yield name, "method", inner, not isinstance(value, staticmethod)


def records() -> Iterator[Record]:
    """One record per documented module, object, member and language topic."""
    found = modules()
    objects = canonical(found)
    for name, module in found.items():
        if module.__doc__:
            yield {"id": name, "kind": "module", "module": name, "title": name, "doc": module.__doc__}
    public = {id(value): name for name, (_, value) in objects.items()}
    for name, (module_name, value) in objects.items():
        is_class = inspect.isclass(value)
        kind = "class" if is_class else "function" if inspect.isroutine(value) else "attribute"
        title = name if kind == "attribute" else name + signature(value)
        if isinstance(value.__doc__, str):
            yield {"id": name, "kind": kind, "module": module_name, "title": title, "doc": value.__doc__}
        for part, part_kind, inner, bound in members(value, public) if is_class else ():
            full = f"{name}.{part}"
            title = full + (signature(inner, bound=bound) if part_kind == "method" else "")
            yield {"id": full, "kind": part_kind, "module": module_name, "title": title, "doc": inner.__doc__}
    with contextlib.suppress(ImportError):
        from pydoc_data.topics import topics

        for topic, text in topics.items():
            yield {"id": f"topic:{topic}", "kind": "topic", "module": "", "title": topic, "doc": text}


def main() -> None:
    """Print the records; what imported modules print themselves goes nowhere."""
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # below sys.stdout, so that C code is silenced too
    lines = [json.dumps({**each, "doc": ADDRESS.sub(r"\1>", each["doc"])}) for each in records()]
    with os.fdopen(output, "w", encoding="ascii") as stream:
        stream.write("\n".join(sorted(lines)) + "\n")
    os._exit(0)  # without the exit handlers of modules that were only read


if __name__ == "__main__":
    main()
