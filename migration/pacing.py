"""Pace of reading: so many documents a second at most, and fewer while users' searches suffer.

The old index counts its searches, and ours apart from others'. What users' take while we read is held against what they
take while we do not. When they take too long the rate is halved; when they are well again it grows step by step, as TCP
does. What they take without us changes with the hour, so where the least rate does not help, reading stops for a moment
to look at them alone: if they are as slow then, it is not us.

``Throttle`` is pure arithmetic; ``Pacer`` brings the clock and asks the cluster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from opensearch_splade.migration.history import OURS
from opensearch_splade.types import Document, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

LEAST = 10.0
"""Documents a second that are read in any case: a migration must end."""
LOOK = 3.0
"""Seconds from one look at users' searches to the next."""
LONGEST = 30.0
"""Seconds over which few searches are gathered until there are enough."""
ENOUGH = 20
"""Searches whose mean says something; half as many while we do not read."""
_GLANCE = 0.5
_SETTLE = 3.0
"""Seconds after which what was read before a pause is written."""
_STEP = 0.05
"""Of the full rate, by which the rate grows at each good look."""
_FULL = 1.25
"""Of the fastest that was ever read: from there on nothing is held back."""
_STUCK = 10
"""Looks at the least rate, all of them bad, after which reading stops to see whether it is us."""
_DRIFT = 0.1
_SLACK = 0.01  # seconds: shorter sleeps are saved up


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches of users.

    Attributes:
        count: How many; a search counts once for each shard that it asks.
        ms: Milliseconds that they took together.
    """

    count: int = 0
    ms: float = 0.0

    @property
    def mean(self) -> float:
        """Milliseconds of one."""
        return self.ms / self.count if self.count else 0.0

    def since(self, before: Searches) -> Searches:
        """What came after; nothing where the counts began anew, as they do when a shard moves."""
        count, ms = self.count - before.count, self.ms - before.ms
        return Searches(count, ms) if count > 0 and ms >= 0 else Searches()


class Window(NamedTuple):
    """From one look to the next.

    Attributes:
        seconds: Its length.
        read: Documents that we read.
        users: What users searched.
    """

    seconds: float
    read: int
    users: Searches


@dataclass
class Throttle:
    """How fast may be read, by what was seen.

    Attributes:
        most: Documents a second at most.
        worst: Users' searches may take so many times as long as without us; ``None`` looks away.
        rate: Documents a second that may be read now.
        baseline: Milliseconds of a user's search while we do not read; ``None`` as long as it is not known.
        mean: The same while we read, at the last look; ``None`` where there were too few.
        alone: Whether reading should stop, so that the next window shows users' searches without us.
    """

    most: float = math.inf
    worst: float | None = 1.5
    rate: float = field(init=False)
    baseline: float | None = None
    mean: float | None = None
    alone: bool = field(init=False)
    _full: float = 0.0
    _settling: bool = False
    _stuck: int = 0

    def __post_init__(self) -> None:
        self.rate, self.alone = self.most, self.worst is not None

    @property
    def is_slowed(self) -> bool:
        """Whether users hold us back."""
        return self.rate < self.most

    def judge(self, window: Window) -> None:
        """A window is over."""
        if self.worst is None:
            return
        users, alone = window.users, self.alone
        self.alone = False
        if users.count < (ENOUGH // 2 if alone else ENOUGH):
            self.mean = None
            self._raise()
        elif alone:
            self.baseline, self._stuck = users.mean, 0
        elif self.baseline is None:
            self.alone = True
        elif self._settling:
            self._settling = False  # of this window a part was read at the rate before
        else:
            self._compare(users.mean, self.baseline, self.worst, window)

    def _compare(self, mean: float, baseline: float, worst: float, window: Window) -> None:
        self.mean = mean
        if mean > worst * baseline:
            self._lower(window.read / window.seconds)
            return
        if mean < baseline:  # it was measured in a bad moment
            self.baseline = baseline + _DRIFT * (mean - baseline)
        self._stuck = 0
        self._raise()

    def _lower(self, read: float) -> None:
        least = min(LEAST, self.most)
        if self.rate <= least:
            self._stuck += 1
            self.alone = self._stuck >= _STUCK
            return
        self._full = max(self._full, read)
        self.rate, self._settling = max(least, min(self.rate, read) / 2), True

    def _raise(self) -> None:
        if self.is_slowed:
            self.rate = min(self.most, self.rate + max(1.0, _STEP * self._full))
            if self.rate > _FULL * self._full:
                self.rate = self.most


class Pacer:
    """The pace of one process: hands documents on as fast as is allowed.

    Args:
        ask: All searches of users so far; ``None`` if the cluster does not say.
        throttle: How fast.
        clock: In seconds.
        sleep: For seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Searches | None],
        throttle: Throttle,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.throttle = throttle
        self._ask_cluster, self._clock, self._sleep = ask, clock, sleep
        self._seen = Searches()
        self._begun, self._looked, self._next = clock(), -math.inf, -math.inf
        self._read = 0
        self._is_blind = False

    @property
    def said(self) -> str:
        """What holds reading back just now; empty if nothing does."""
        throttle = self.throttle
        if self._is_blind:
            return "does not see users' searches"
        if not throttle.is_slowed:
            return ""
        why = f": users' searches take {throttle.mean:.1f} ms, {throttle.baseline:.1f} without us"
        return f"slowed down to {throttle.rate:.0f}/s" + (why if throttle.mean and throttle.baseline else "")

    def __call__(self, documents: Iterator[Document]) -> Iterator[Document]:
        """The same documents, each in its time."""
        for document in documents:
            self._look()
            self._wait()
            self._read += 1
            yield document

    def _wait(self) -> None:
        if self.throttle.rate == math.inf:
            return
        now = self._clock()
        if (ahead := self._next - now) > _SLACK:
            self._sleep(ahead)
        self._next = max(self._next, now) + 1 / self.throttle.rate

    def _look(self) -> None:
        if self.throttle.worst is None:
            return
        if self._looked == -math.inf:
            self._look_alone()
        now = self._clock()
        if now - self._looked < LOOK:
            return
        self._looked = now
        users, seconds = self._ask().since(self._seen), now - self._begun
        if 0 < users.count < ENOUGH and seconds < LONGEST:
            return
        self.throttle.judge(Window(seconds, self._read, users))
        if self.throttle.alone:
            self._sleep(_SETTLE)
            self._look_alone()
        else:
            self._begin()

    def _look_alone(self) -> None:
        """Looks at users' searches while nothing is read, as long as it takes; a moment if there are none."""
        self._begin()
        self._sleep(_GLANCE)
        users = self._ask().since(self._seen)
        while 0 < users.count < ENOUGH and self._clock() - self._begun < LONGEST:
            self._sleep(LOOK)
            users = self._ask().since(self._seen)
        self.throttle.judge(Window(self._clock() - self._begun, 0, users))
        self._begin()

    def _begin(self) -> None:
        self._seen, self._begun, self._read = self._ask(), self._clock(), 0
        self._looked = self._begun

    def _ask(self) -> Searches:
        found = self._ask_cluster()
        self._is_blind = found is None
        return found or self._seen


def pacer(client: OpenSearch, index: str, most: float | None, worst: float | None) -> Pacer:
    """The pace for an index that users search.

    Args:
        client: Connected to its cluster.
        index: The concrete index.
        most: Documents a second at most; ``None`` for any number.
        worst: See ``Throttle``.
    """
    return Pacer(lambda: users_searches(client, index), Throttle(most or math.inf, worst))


def unhindered() -> Pacer:
    """As fast as it goes."""
    return Pacer(lambda: None, Throttle(worst=None))


def users_searches(client: OpenSearch, index: str) -> Searches | None:
    """All searches of an index that were not ours, with the fetching of what they found; ``None`` if it is not said."""
    from opensearchpy.exceptions import OpenSearchException

    try:
        answer = client.indices.stats(index=index, metric="search", params={"groups": OURS})
        search = answer["_all"]["total"]["search"]
    except (OpenSearchException, KeyError):
        return None
    ours: Json = search.get("groups", {}).get(OURS, {})
    return Searches(_of("query_total", search, ours), _took(search, ours))


def _took(search: Json, ours: Json) -> float:
    return float(sum(_of(f"{phase}_time_in_millis", search, ours) for phase in ("query", "fetch")))


def _of(name: str, search: Json, ours: Json) -> int:
    return int(search[name]) - int(ours.get(name, 0))
