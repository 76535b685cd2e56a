"""Source: the index that is to move, understood from its mapping and settings, or refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import MigrationError, TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

TEXT_TYPES = {"text", "match_only_text", "annotated_text"}
_TITLES = ("title", "name", "headline", "subject")


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """One concrete index.

    Attributes:
        name: Its own, whatever it was asked for by.
        asked_as: The alias or the name that it was asked for by.
        mappings: As the cluster gives them.
        settings: Those below ``index``.
        aliases: Alias to its filter, routing and whether it is written by.
        notes: What of it the new index cannot have, for people.
    """

    name: str
    asked_as: str
    mappings: Json
    settings: Json
    aliases: Mapping[str, Json]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, client: OpenSearch, name: str) -> SourceIndex:
        """Asks the cluster.

        Raises:
            MigrationError: The name stands for several indices or a data stream, or documents cannot be read back.
            TargetError: There is no such index.
            ClusterError: The cluster does not answer or refuses.
        """
        with asking(name):
            found = client.indices.get(index=name)
        if len(found) != 1:
            raise MigrationError(
                f"{name!r} stands for {len(found)} indices ({', '.join(sorted(found))[:200]}): migrate one at a time, "
                "by its own name."
            )
        [(index, about)] = found.items()
        source = cls(index, name, about["mappings"], about["settings"]["index"], about["aliases"])
        source.check()
        return source

    def check(self) -> None:
        """Refuses what cannot be moved without loss.

        Raises:
            MigrationError: Says what and why.
        """
        if self.name.startswith(".ds-"):
            raise MigrationError(
                f"{self.asked_as!r} is a data stream: its documents are only ever appended, and aliases cannot take "
                "its place. Migrate to an index and roll the stream over to it, or encode in its ingest pipeline."
            )
        kept = self.mappings.get("_source", {})
        if kept.get("enabled") is False:
            raise MigrationError(f"index {self.name!r} keeps no _source, so its documents cannot be read back.")
        if left_out := [*kept.get("includes", ()), *kept.get("excludes", ())]:
            raise MigrationError(
                f"index {self.name!r} keeps a part of _source only (includes or excludes: {', '.join(left_out)}): "
                "what is left out would be lost. Migrate from where the documents come from, with `osplade ingest`."
            )
        if self.settings.get("soft_deletes", {}).get("enabled") == "false":
            raise MigrationError(f"index {self.name!r} has no sequence numbers to read it by (soft_deletes is off).")

    @property
    def shards(self) -> int:
        """Primary shards."""
        return int(self.settings["number_of_shards"])

    @property
    def uuid(self) -> str:
        """Its own id, which an index of the same name that is made anew does not have."""
        return str(self.settings["uuid"])

    @property
    def meta(self) -> IndexMeta | None:
        """What it says of itself, if this package made it."""
        try:
            return IndexMeta.from_mappings(self.name, {self.name: {"mappings": self.mappings}})
        except TargetError:
            return None

    @property
    def fields(self) -> dict[str, str]:
        """Field, ``a.b`` for members, to its type; objects themselves and other views of a field are left out."""
        return dict(_fields(self.mappings.get("properties", {})))

    def offered(self, texts: tuple[str, ...] = (), title: str = "") -> tuple[tuple[str, ...], str]:
        """Which fields are encoded: those that were named, else all analyzed ones, and one called as a title is.

        Raises:
            MigrationError: A named field is not there or holds no text, or there is none at all.
        """
        there = [field for field, kind in self.fields.items() if kind in TEXT_TYPES and field not in _ours(self.meta)]
        if wrong := [
            field for field in (*texts, title) if field and self.fields.get(field) not in TEXT_TYPES | {"keyword"}
        ]:
            kind = self.fields.get(wrong[0])
            raise MigrationError(
                f"index {self.name!r}: the field {wrong[0]!r} is {f'of type {kind}' if kind else 'not in the mapping'}"
                f", so it has no text to encode; there are {', '.join(there) or 'none'}."
            )
        if not texts and not title:
            title = next((field for field in _TITLES if field in there), "")
        texts = texts or tuple(field for field in there if field != title)
        if not texts and title:
            return (title,), ""
        if not texts:
            raise MigrationError(f"index {self.name!r} has no analyzed field of text, so there is nothing to encode.")
        return texts, title


def _ours(meta: IndexMeta | None) -> set[str]:
    return {meta.name(field) for field in ("id", "encoded", "hash", "sparse", "dense", "passages")} if meta else set()


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        if members := field.get("properties"):
            yield from _fields(members, f"{prefix}{name}.")
        elif "type" in field:
            yield f"{prefix}{name}", field["type"]
