"""What is otherwise: two JSON bodies compared, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opensearch_splade.types import Json

NOTHING = object()
"""Where there is no value at all; JSON's null is one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that is otherwise.

    Attributes:
        path: Names from the outermost on, with dots between them, as people write them.
        parts: The same names one by one, since a name may hold a dot.
        found: What stands there; ``NOTHING`` if nothing does.
        wanted: What should; ``NOTHING`` if nothing should.
    """

    parts: tuple[str, ...]
    found: Any
    wanted: Any

    @property
    def path(self) -> str:
        """For people."""
        return ".".join(self.parts)

    def __str__(self) -> str:
        return f"{self.path}: {self.values}"

    @property
    def values(self) -> str:
        """What changes, without where."""
        if isinstance(self.found, list) and isinstance(self.wanted, list):
            signs = [f"+ {one}" for one in self.wanted if one not in self.found]
            signs += [f"- {one}" for one in self.found if one not in self.wanted]
            return _shown(", ".join(signs) or "another order")
        return f"{_shown(self.found)} -> {_shown(self.wanted)}"

    def to_json(self) -> Json:
        """For machines; what is not there has no key."""
        values = {"found": self.found, "wanted": self.wanted}
        return {"path": self.path, **{name: value for name, value in values.items() if value is not NOTHING}}


def differences(found: Any, wanted: Any, *, whole: bool = True, parts: tuple[str, ...] = ()) -> Iterator[Difference]:
    """All places where two bodies differ.

    Args:
        found: What the cluster has.
        wanted: What is declared.
        whole: Whether more than is wanted is a difference too.
        parts: Where both stand.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = [*wanted, *(name for name in found if whole and name not in wanted)]
        for name in names:
            pair = found.get(name, NOTHING), wanted.get(name, NOTHING)
            yield from differences(*pair, whole=whole, parts=(*parts, name))
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for place, pair in enumerate(zip(found, wanted, strict=True)):
            yield from differences(*pair, whole=whole, parts=(*parts, str(place)))
    elif not _same(found, wanted):
        yield Difference(parts, found, wanted)


def flat(settings: Json, prefix: str = "") -> dict[str, str | list[str]]:
    """Settings as the cluster gives them flat: full name to text."""
    found: dict[str, str | list[str]] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = [_text(one) for one in value] if isinstance(value, list) else _text(value)
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) != isinstance(wanted, list):  # the server makes a list of `copy_to: text`
        one, other = (found, wanted) if isinstance(found, list) else (wanted, found)
        return bool(one == [other])
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _shown(value: Any) -> str:
    if value is NOTHING:
        return "(nothing)"
    first, *more = str(value).splitlines() or [""]
    return first if len(first) <= 200 and not more else f"{first[:200]}…"
