"""Journal: what a run has done so far, and how each thing is undone."""

from __future__ import annotations

from collections.abc import Callable

from opensearch_splade.errors import OspladeError


class Journal:
    """Steps of one run, undone in reverse.

    Args:
        tell: Hears of each step.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.done: list[str] = []
        self._tell = tell
        self._undo: list[tuple[str, Callable[[], None]]] = []

    def note(self, what: str, undo: Callable[[], None]) -> None:
        """A step was taken."""
        self.done.append(what)
        self._undo.append((what, undo))
        self._tell(what)

    def roll_back(self) -> list[str]:
        """Undoes all, the last first. Returns what came of each: one that fails does not keep the others from it."""
        told = []
        while self._undo:
            what, undo = self._undo.pop()
            try:
                undo()
            except OspladeError as error:
                told.append(f"not undone: {what} ({error})")
            else:
                told.append(f"undone: {what}")
        return told
