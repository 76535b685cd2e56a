"""Clean: the index that is no longer needed is deleted for good, and the state folder with it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError, TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.migration.cutover import finished, switch_of
from opensearch_splade.migration.switch import aliases_of, uuid_of
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.migration.state import State


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is to be deleted.

    Attributes:
        index: The old index, or its clone, or the new one.
        target: Whether it is the new one.
        uuid: Its own id; empty where it is gone already.
        client: Connected to its cluster.
        documents: It holds so many.
    """

    index: str
    target: bool
    uuid: str
    client: OpenSearch
    documents: int


def cleaning(state: State, client: OpenSearch, source_client: OpenSearch, *, target: bool = False) -> Cleaning:
    """Looks what may be deleted.

    Args:
        state: Of the migration that ends.
        client: Connected to the target's cluster.
        source_client: To the source's.
        target: The new index is to go, not the old one.

    Raises:
        MigrationError: The index serves, or may still have to.
    """
    finished(state, client)
    last = state.last("cut-over", "rolled-back", "cleaned")
    if last and last.step == "cleaned":
        index, target = last.found["index"], last.found["target"]
        where = client if target else source_client
        uuid = uuid_of(where, index)
        return Cleaning(index, target, uuid if uuid == last.found["uuid"] else "", where, 0)
    if state.pending:
        raise MigrationError(
            "a cutover was killed: take `osplade migrate cutover` or `osplade migrate rollback` first."
        )
    is_over = last is not None and last.step == "cut-over"
    if target and is_over:
        raise MigrationError(
            "the new index has taken over and serves: `osplade migrate rollback` before it is deleted."
        )
    if not target and not is_over:
        raise MigrationError(
            "the old index serves, since nothing is cut over: say --target to end this and delete the new index."
        )
    if target and state.record.spec.way == "in-place":
        raise MigrationError("in place there is no new index that could be deleted.")
    if is_over and last and not last.found["quiet"]:
        raise MigrationError(
            "the last writes to the old index were not brought over: take `osplade migrate cutover` again."
        )
    index = state.record.spec.target if target else state.record.source_index
    where = client if target else source_client
    if is_over and last and not uuid_of(client, switch_of(last).new):
        raise MigrationError(f"the new index is gone: {index!r} is all that holds the documents.")
    if serving := sorted(aliases_of(where, index)):
        raise MigrationError(f"{index!r} still serves {', '.join(serving)}: move or delete these aliases first.")
    uuid = uuid_of(where, index)
    if target and uuid and not _is_own(state, client, index, uuid):
        raise MigrationError(f"{index!r} was not made by this migration, so it stays.")
    if not target and uuid != state.record.source_uuid:
        uuid = ""  # gone, or another one
    return Cleaning(index, target, uuid, where, _documents(where, index) if uuid else 0)


def _is_own(state: State, client: OpenSearch, index: str, uuid: str) -> bool:
    if (done := state.last("complete")) and done.found["new_uuid"] == uuid:
        return True
    try:
        meta = IndexMeta.read(client, index)
    except TargetError:
        return False
    return meta.ledger is not None and meta.ledger.name == state.record.ledger_name


def _documents(client: OpenSearch, index: str) -> int:
    with asking(index):
        return int(client.count(index=index)["count"])


def clean(state: State, what: Cleaning, confirmed: str) -> None:
    """Deletes the index and the folder.

    Args:
        state: Of the migration that ends.
        what: From ``cleaning``.
        confirmed: The index' name, as the operator typed it.

    Raises:
        MigrationError: Another name was typed.
        ClusterError: The cluster does not answer or refuses; take the step again.
    """
    if confirmed != what.index:
        raise MigrationError(f"{confirmed!r} is not {what.index!r}: nothing was deleted.")
    with state.locked():
        state.note("cleaned", index=what.index, target=what.target, uuid=what.uuid)
        if what.uuid and uuid_of(what.client, what.index) == what.uuid:
            with asking(what.index):
                what.client.indices.delete(index=what.index)
        shutil.rmtree(state.folder / "ledger", ignore_errors=True)
        for path in state.folder.iterdir():
            if path.name not in {"migration.json", "ledger"}:
                path.unlink()
        (state.folder / "migration.json").unlink()
    state.folder.rmdir()
