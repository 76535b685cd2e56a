"""Order: which step may come after which, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError

if TYPE_CHECKING:
    from opensearch_splade.migration.state import State, StepTaken


def may_begin(state: State) -> None:
    """Before documents are brought over.

    Raises:
        MigrationError: The new index has taken over, or the migration was ended.
    """
    last, new = state.last("cut-over", "rolled-back", "cleaned"), state.record.spec.target
    if state.pending:
        raise MigrationError(
            "a cutover was begun and ended nowhere: take `osplade migrate cutover` again, or take it back with "
            "`osplade migrate rollback`."
        )
    if last and last.step == "cut-over":
        raise MigrationError(
            f"{new!r} has taken over since {_when(last)}, so what the old index holds is of the past. To encode what "
            f"was written to {new!r} since, run `osplade migrate run --way in-place --source {new} --target {new} "
            f"--state {new}-in-place`; to go back, `osplade migrate rollback`."
        )
    if last and last.step == "cleaned":
        raise MigrationError("this migration was ended: take `osplade migrate clean` again, or name another --state.")


def may_cut_over(state: State, *, without_verify: bool) -> None:
    """Before names are led to the new index.

    Raises:
        MigrationError: It lacks documents, or nobody looked whether it does, or it has taken over.
    """
    if not state.last("begun"):
        raise MigrationError("nothing was brought over yet: take `osplade migrate run` first.")
    if not state.last("caught-up"):
        raise MigrationError("the old index was not brought over to its end: let `osplade migrate run` finish first.")
    if (done := state.last("cut-over", "rolled-back", "cleaned")) and done.step != "rolled-back":
        raise MigrationError(
            f"this migration was cut over already, {_when(done)}: go back with `osplade migrate rollback`, or end it "
            "with `osplade migrate clean`."
        )
    proved = state.last("begun", "rolled-back", "verified")
    if not without_verify and (proved is None or proved.step != "verified"):
        since = "since the rollback" if state.last("rolled-back") else "yet"
        raise MigrationError(
            f"nothing proves {since} that the new index holds the same documents: take `osplade migrate verify` first, "
            "or say --without-verify."
        )
    if not without_verify and proved and not proved.found.get("clean"):
        raise MigrationError(
            "the last `osplade migrate verify` found differences: mend them, run and verify again, or say "
            "--without-verify."
        )


def may_roll_back(state: State) -> StepTaken:
    """Before names are led back.

    Returns:
        The cutover.

    Raises:
        MigrationError: There was none, or it was rolled back.
    """
    done = state.last("cut-over", "rolled-back", "cleaned")
    if done is None:
        raise MigrationError("nothing was cut over, so there is nothing to roll back: the old index serves as ever.")
    if done.step == "cleaned":
        raise MigrationError("this migration was ended, so there is no way back: take `osplade migrate clean` again.")
    if done.step == "rolled-back":
        raise MigrationError(
            f"this migration was rolled back already, {_when(done)}: the old index serves. To try again, take "
            "`osplade migrate run`, verify, cutover."
        )
    return done


def _when(step: StepTaken) -> str:
    return f"{step.at:%Y-%m-%d %H:%M} UTC"
