"""Waits: how long each step of the pipeline waited for the one before it and for the one after it.

The step that does neither is the bottleneck. How full the channels are does not say so: an encoder that reads a window
ahead empties the channel before it, however slow it is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_SPAN = 5.0
"""Seconds over which is told what happens just now."""


class Wait:
    """Seconds that one thread has waited; as a context it counts. Other threads may read it at any time."""

    def __init__(self) -> None:
        self._state: tuple[float, float] = 0.0, math.inf  # seconds before, and when the present wait began: one value

    def begin(self) -> None:
        """A wait begins; it may be one without an end."""
        self._state = self._state[0], time.monotonic()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before, since = self._state
        self._state = before + time.monotonic() - since, math.inf

    def seconds(self, now: float) -> float:
        """So far, a wait that goes on included."""
        before, since = self._state
        return before + max(0.0, now - since)


@dataclass
class Step:
    """One step of the pipeline as it is told.

    Attributes:
        name: As users know it.
        starved: Waiting for the step before it.
        blocked: Waiting for the step after it.
    """

    name: str
    starved: Wait = field(default_factory=Wait)
    blocked: Wait = field(default_factory=Wait)
    _ended: Wait = field(default_factory=Wait)

    def end(self) -> None:
        """Its work is done."""
        self._ended.begin()

    def idle(self, now: float) -> float:
        """Seconds in which it did nothing."""
        return sum(wait.seconds(now) for wait in (self.starved, self.blocked, self._ended))


class Steps:
    """The steps of a run, in order, and which of them holds up the rest.

    Args:
        names: The last one is worked on by nobody here: the cluster is busy just when the step before it is blocked.
        start: When the run began.
    """

    def __init__(self, names: Sequence[str], start: float) -> None:
        self._steps = {name: Step(name) for name in names}
        *_, self._last_but_one, self._last = self._steps
        self._start = start
        self._samples: deque[tuple[float, dict[str, float]]] = deque([(start, dict.fromkeys(names, 0.0))])

    def __getitem__(self, name: str) -> Step:
        return self._steps[name]

    def busy(self, now: float) -> dict[str, float]:
        """Seconds that each step worked."""
        found = {name: max(0.0, now - self._start - step.idle(now)) for name, step in self._steps.items()}
        found[self._last] = self._steps[self._last_but_one].blocked.seconds(now)
        return found

    def bottleneck(self, now: float) -> str:
        """The step that worked most of the last seconds; the later one of two alike."""
        busy = self.busy(now)
        while len(self._samples) > 1 and self._samples[1][0] <= now - _SPAN:
            self._samples.popleft()
        before = self._samples[0][1]
        if now - self._samples[-1][0] >= _SPAN / 20:
            self._samples.append((now, busy))
        return _most({name: seconds - before[name] for name, seconds in busy.items()})

    def slowest(self, now: float) -> str:
        """The step that worked most of the whole run."""
        return _most(self.busy(now))

    def told(self, now: float) -> dict[str, dict[str, float]]:
        """Seconds by step: ``busy``, ``starved`` and ``blocked``."""
        busy = self.busy(now)
        found = {name: {"busy": round(busy[name], 3)} for name in self._steps}
        for name in list(self._steps)[:-1]:
            found[name]["starved"] = round(self._steps[name].starved.seconds(now), 3)
            found[name]["blocked"] = round(self._steps[name].blocked.seconds(now), 3)
        return found


def _most(busy: dict[str, float]) -> str:
    return max(reversed(busy), key=busy.__getitem__)
