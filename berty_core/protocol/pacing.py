"""What waits to be sent where not everything can go at once: by priority, in time, fairly, within a budget.

Invariant: nothing goes out after its deadline or beyond the budget, everything that does not go out is reported once,
and nothing waits for ever behind what is more urgent.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs

from ..errors import LocalProtocolError

PASSED_OVER = 8  # as many more urgent ones go before a waiting one of the next class does

Item = TypeVar("Item")
AllowedAt = Callable[[int, float], float]


class Reason(enum.Enum):
    """Why something did not go out."""

    DEADLINE = "it is too late"
    NEVER = "the budget never allows so much, or not in time"
    REFUSED = "too much waits already"


@attrs.frozen
class Dropped(Generic[Item]):
    """Something that will not go out."""

    item: Item
    reason: Reason


@attrs.frozen(eq=False)
class _Waiting(Generic[Item]):
    item: Item
    size: int
    source: Hashable
    deadline: float


class _Class(Generic[Item]):
    """All of one priority: each source in turn, and each source's own in order."""

    def __init__(self) -> None:
        self.sources: OrderedDict[Hashable, deque[_Waiting[Item]]] = OrderedDict()
        self.passed_over = 0

    def head(self) -> _Waiting[Item]:
        """What goes next."""
        return next(iter(self.sources.values()))[0]

    def push(self, waiting: _Waiting[Item]) -> None:
        """Add at the end of its source."""
        self.sources.setdefault(waiting.source, deque()).append(waiting)

    def pop(self) -> None:
        """The head is gone; another source is next."""
        source, queue = self.sources.popitem(last=False)
        queue.popleft()
        if queue:
            self.sources[source] = queue

    def drop_newest(self, source: Hashable) -> _Waiting[Item]:
        """Take back what a source added last."""
        queue = self.sources[source]
        waiting = queue.pop()
        if not queue:
            del self.sources[source]
        return waiting

    def withdraw(self, item: Item) -> _Waiting[Item] | None:
        """Take out one, wherever it waits."""
        for source, queue in self.sources.items():
            for waiting in queue:
                if waiting.item is item:
                    queue.remove(waiting)
                    if not queue:
                        del self.sources[source]
                    return waiting
        return None

    def drop_late(self, now: float) -> list[_Waiting[Item]]:
        """Take out what has passed its deadline."""
        late = [one for queue in self.sources.values() for one in queue if one.deadline <= now]
        if late:
            kept = {source: [one for one in queue if one.deadline > now] for source, queue in self.sources.items()}
            self.sources = OrderedDict((source, deque(queue)) for source, queue in kept.items() if queue)
        return late


class PacedQueue(Generic[Item]):
    """A bounded queue of datagrams, by priority (the smaller the sooner); sizes in bytes, times as the budget's.

    `allowed_at(size, now)` is the budget's: when a datagram may go. Ask `take` at `timeout()`, or after a `put`.
    """

    def __init__(self, *, classes: int = 3, capacity: int = 65536, allowed_at: AllowedAt = lambda _, now: now) -> None:
        self.size = 0
        self._capacity = capacity
        self._allowed_at = allowed_at
        self._classes: list[_Class[Item]] = [_Class() for _ in range(classes)]
        self._dropped: list[Dropped[Item]] = []

    def put(
        self,
        item: Item,
        size: int,
        now: float,
        *,
        priority: int,
        deadline: float = float("inf"),
        source: Hashable = None,
    ) -> None:
        """Add a datagram of one of many `source`s.

        Where there is no room, the source that has most of what is least urgent loses its newest, which may be this.
        """
        if not 0 <= priority < len(self._classes) or not size > 0:
            raise LocalProtocolError(f"a datagram of {size} bytes, priority {priority}")
        self._classes[priority].push(_Waiting(item, size, source, deadline))
        self.size += size
        self._drop_late(now)
        while self.size > self._capacity:
            self._refuse_one()

    def _refuse_one(self) -> None:
        loser = next(one for one in reversed(self._classes) if one.sources)
        most = max(loser.sources, key=lambda source: sum(one.size for one in loser.sources[source]))
        self._drop(loser.drop_newest(most), Reason.REFUSED)

    def _drop(self, waiting: _Waiting[Item], reason: Reason) -> None:
        self.size -= waiting.size
        self._dropped.append(Dropped(waiting.item, reason))

    def _drop_late(self, now: float) -> None:
        for one in self._classes:
            for waiting in one.drop_late(now):
                self._drop(waiting, Reason.DEADLINE)

    def remove(self, item: Item) -> None:
        """Take out a datagram that nobody wants sent any more; nothing is reported, and an unknown one is no error."""
        for one in self._classes:
            if (waiting := one.withdraw(item)) is not None:
                self.size -= waiting.size
                return

    def dropped(self) -> list[Dropped[Item]]:
        """What will not go out, since the last time this was asked."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def take(self, now: float) -> Item | None:
        """The datagram to send now, if there is one that may go; the budget is not charged here."""
        self._drop_late(now)
        while (chosen := self._next()) is not None:
            waiting = chosen.head()
            allowed = self._allowed_at(waiting.size, now)
            if allowed >= waiting.deadline:
                chosen.pop()
                self._drop(waiting, Reason.NEVER)
                continue
            if allowed > now:
                return None
            chosen.pop()
            self.size -= waiting.size
            self._count(chosen)
            return waiting.item
        return None

    def _next(self) -> _Class[Item] | None:
        """The most urgent class, or one that was passed over too often."""
        full = [one for one in self._classes if one.sources]
        patient = [one for one in full if one.passed_over >= PASSED_OVER]
        return next(iter(patient or full), None)

    def _count(self, chosen: _Class[Item]) -> None:
        chosen.passed_over = 0
        for one in self._classes[self._classes.index(chosen) + 1 :]:
            one.passed_over = one.passed_over + 1 if one.sources else 0

    def next_at(self, now: float) -> float | None:
        """When the next one may go; None: nothing waits."""
        chosen = self._next()
        return None if chosen is None else max(now, self._allowed_at(chosen.head().size, now))

    def timeout(self, now: float) -> float | None:
        """When to call `take` again; None: nothing waits."""
        at = self.next_at(now)
        if at is None:
            return None
        deadlines = (one.deadline for each in self._classes for queue in each.sources.values() for one in queue)
        return max(now, min(at, *deadlines, float("inf")))
