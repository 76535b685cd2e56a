"""Pace: how large the next bulk request is and how many may be on their way, learnt from how the last ones went.

Size: such that a request takes a target time. Number: one more is tried now and then and kept only if more bytes a
second are acknowledged then; a refusal halves it, as TCP does, and one crowd of refusals counts once. By Little's law
the bytes a second follow from one request's latency, its size and how many are on their way, so there is no need to
know how many the cluster works on at once, nor a latency without load to compare with.

Pure arithmetic: the caller brings the clock, and the lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_WORTH_MORE = 1.05
"""One request more must bring so much."""
_WORTH_LESS = 0.98
"""One request less must leave so much."""
_ROUND = 3
"""Requests of each place, and of one more, that are looked at together."""
_SETTLED = 20.0
"""Seconds between a trial that did not pay and the next one, which goes the other way."""
_RECOVERY = 2.0
"""Seconds after a refusal before more are tried again."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Between what a pace moves.

    Attributes:
        target: Seconds that a request should take.
        floor: Least size in bytes.
        ceiling: Largest size in bytes.
        most: Requests on their way at most.
    """

    target: float = 1.0
    floor: int = 250_000
    ceiling: int = 8_000_000
    most: int = 8


@dataclass
class Pace:
    """The present size and number, and what is known of them.

    Attributes:
        limits: Between what both move.
        size: Bytes of the next request.
        number: Requests that may be on their way.
    """

    limits: PaceLimits = PaceLimits()
    size: int = 1_000_000
    number: int = 2
    _round: list[tuple[int, float]] = field(default_factory=list)
    _before: tuple[int, float] | None = None  # number and bytes a second that a trial is compared with
    _step: int = 1
    _next_trial: float = -math.inf
    _changed: float = -math.inf
    _lowered: float = -math.inf
    _ceiling: float = math.inf

    def succeeded(self, size: int, seconds: float, *, flying: int, begun: float, now: float) -> None:
        """A request was acknowledged.

        Args:
            size: Its bytes.
            seconds: From its sending to its answer.
            flying: Requests on their way when it was answered, itself included.
            begun: When it was sent.
            now: When it was answered.
        """
        seconds = max(seconds, 1e-6)
        self._resize(size, seconds)
        # Where the number is not what limits, it says nothing; nor does a request of the time before.
        if flying >= self.number and begun >= self._changed:
            self._round.append((size, seconds))
            if len(self._round) >= _ROUND * (self.number + 1):
                sizes, times = map(sum, zip(*self._round, strict=True))
                self._round = []
                self._judge(self.number * sizes / times, now)

    def refused(self, *, begun: float, now: float, timed_out: bool = False) -> None:
        """The cluster was too busy for a request, or lost it."""
        if begun < self._lowered:
            return  # sent before the last decrease: of the same crowd
        if timed_out or self.number == 1:
            self.size = self._clamped(self.size / 2)
        self._lowered = now
        self._before, self._step, self._next_trial = None, 1, now + _RECOVERY
        self._set(max(1, self.number // 2), now)

    def too_large(self, size: int) -> None:
        """The cluster takes no request of so many bytes, whatever its load."""
        self._ceiling = max(1, min(self._ceiling, size // 2))
        self.size = self._clamped(self.size)

    def _resize(self, size: int, seconds: float) -> None:
        if size * 2 < self.size and seconds < self.limits.target:
            return  # of a small request's time much is the same for any size
        wanted = min(max(size * self.limits.target / seconds, self.size / 4), self.size * 4)
        self.size = self._clamped(math.sqrt(self.size * wanted))

    def _clamped(self, size: float) -> int:
        ceiling = min(self.limits.ceiling, self._ceiling)
        return int(min(max(size, self.limits.floor), ceiling))

    def _judge(self, rate: float, now: float) -> None:
        """What comes of a round at the present number."""
        if self._before is None:
            if now >= self._next_trial:
                self._try(rate, now)
            return
        number, before = self._before
        if rate >= before * (_WORTH_MORE if self.number > number else _WORTH_LESS):
            self._try(rate, now)
        else:
            self._set(number, now)
            self._settle(now)

    def _try(self, rate: float, now: float) -> None:
        if not 1 <= self.number + self._step <= self.limits.most:
            self._settle(now)
            return
        self._before = self.number, rate
        self._set(self.number + self._step, now)

    def _settle(self, now: float) -> None:
        self._before, self._step, self._next_trial = None, -self._step, now + _SETTLED

    def _set(self, number: int, now: float) -> None:
        self.number, self._changed, self._round = number, now, []
