"""Everything that one transport sends, in turn: its bus and all its links share one budget, and the bus its quota too.

Invariant: nothing goes before the budget allows it, a driver that refuses is asked again later, and who gives up leaves
no turn behind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol

import anyio
import attrs

from ...contracts.bus import Budget, Priority
from ...errors import BudgetSpent, LinkLost
from ...protocol.pacing import PacedQueue, Reason

MAX_WAITING = 1024  # datagrams of full size
LONGEST_LOOK = 5.0  # seconds until a budget is asked again: a clock may be set, a quota may change
LONGEST_WAIT = 3600.0  # seconds of waiting for airtime that sessions bear
HOLD = 1.0  # seconds, besides four airtimes, that a driver may take for one datagram before others go as well
PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds after a driver refused what its budget allows
WORTH_TELLING = 1.0  # seconds of waiting below which nobody is told
TELL_EVERY = 60.0


@attrs.define(eq=False)
class Turn:
    """A place in the queue for one datagram; `changed` is called once: it may go, or it never will."""

    size: int
    priority: Priority
    source: Hashable
    changed: Callable[[Turn], None]
    deadline: float = math.inf  # Unix seconds
    may_go: bool = False
    dropped: Reason | None = None


class Quota(Protocol):
    """What a person allows a transport, beside its budget: a `RunningTransport`."""

    def may_pass(self) -> str:
        """Why nothing may be sent, in words; empty: it may."""

    def free_at(self) -> float:
        """When something may be sent again (Unix seconds)."""

    def passed(self, sent: int, received: int) -> None:
        """Bytes went through."""


class _NoQuota:
    """Everything may pass."""

    def may_pass(self) -> str:
        return ""

    def free_at(self) -> float:
        return 0.0

    def passed(self, sent: int, received: int) -> None:
        return


class AirtimeQueue:
    """The turns of one transport, for one start of it. Times are Unix seconds where nothing else is said.

    `budget` gives the transport's budget once it runs, None: there is none. `tell` is told of long waits, in words.
    """

    def __init__(
        self,
        *,
        mtu: int,
        now: Callable[[], float],
        budget: Callable[[], Budget | None] = lambda: None,
        quota: Quota | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._queue: PacedQueue[Turn] = PacedQueue(capacity=MAX_WAITING * max(mtu, 1), allowed_at=self._allowed_at)
        self._now = now
        self._budget = budget
        self._tell = tell
        self._told_until = -math.inf
        self._going: Turn | None = None
        self._going_until = 0.0  # by the event loop's clock
        self._not_before = -math.inf
        self._pause = 0.0
        self.quota: Quota = quota or _NoQuota()

    # -- what is known ---------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._queue.size

    @property
    def longest_wait(self) -> float:
        """Seconds for which the budget may keep a datagram here, and probably also at the other end."""
        budget = self._budget()
        return min(budget.window, LONGEST_WAIT) if budget is not None else 0.0

    @property
    def waits_until(self) -> float | None:
        """When the next may go, if something waits for that."""
        now = self._now()
        at = None if self._is_going else self._queue.next_at(now)
        return at if at is not None and at > now else None

    def words(self) -> str:
        """How long it is waited, and what for; empty: it is not, or not for long."""
        until = self.waits_until
        if until is None or until < self._now() + WORTH_TELLING:
            return ""
        reason = self.quota.may_pass() or "for airtime"
        return f"waits until {time.strftime('%H:%M:%S', time.localtime(until))} {reason}"

    @property
    def due_in(self) -> float:
        """Seconds after which to call `serve`, unless something changes before that."""
        if self._is_going:
            return max(self._going_until - anyio.current_time(), 0.001)
        now = self._now()
        due = self._queue.timeout(now)
        return math.inf if due is None else min(max(due - now, 0.001), LONGEST_LOOK)

    @property
    def _is_going(self) -> bool:
        return self._going is not None and anyio.current_time() < self._going_until

    def _allowed_at(self, size: int, now: float) -> float:
        budget = self._budget()
        at = max(now, self._not_before if self._not_before < now + 2 * LONGEST_PAUSE else now)
        if budget is not None:
            at = max(at, budget.allowed_at(size, now))
        return max(at, self.quota.free_at()) if self.quota.may_pass() else at

    # -- turns -----------------------------------------------------------------------------------

    def ask(self, turn: Turn) -> None:
        """Queue for a turn; it may come at once."""
        now = self._now()
        self._queue.put(turn, turn.size, now, priority=turn.priority, deadline=turn.deadline, source=turn.source)
        self.serve()

    def leave(self, turn: Turn) -> None:
        """It is sent, or will not be: let the next one go."""
        if self._going is turn:
            self._going = None
        elif not turn.may_go and turn.dropped is None:
            self._queue.remove(turn)
        self.serve()

    def refused(self) -> None:
        """The driver says that its budget is spent, whatever that budget says: wait, longer each time."""
        self._pause = min(max(2 * self._pause, PAUSE), LONGEST_PAUSE)
        self._not_before = self._now() + self._pause

    def went(self) -> None:
        """The driver took a datagram."""
        self._pause = 0.0

    def serve(self) -> None:
        """Let the next one go, if it may."""
        if self._is_going:
            return
        turn = self._queue.take(self._now())
        self._going = turn
        for one in self._queue.dropped():
            one.item.dropped = one.reason
            one.item.changed(one.item)
        if turn is None:
            self._tell_of_wait()
            return
        budget = self._budget()
        airtime = budget.airtime(turn.size) if budget is not None else 0.0
        self._going_until = anyio.current_time() + HOLD + 4 * airtime
        turn.may_go = True
        turn.changed(turn)

    def _tell_of_wait(self) -> None:
        now = self._now()
        if now >= self._told_until and (words := self.words()):
            self._told_until = max(now + TELL_EVERY, self.waits_until or now)
            self._tell(words)

    # -- one after the other ---------------------------------------------------------------------

    async def send(self, put: Callable[[], Awaitable[object]], size: int, priority: Priority, source: Hashable) -> None:
        """Call `put` when it may be, and again where the driver refuses. LinkLost also where a quota is used up."""
        while True:
            changed = anyio.Event()
            turn = Turn(size, priority, source, lambda _, changed=changed: changed.set())  # type: ignore[misc]
            try:
                self.ask(turn)
                await self._until_it_may_go(turn, changed)
                await put()
            except BudgetSpent:
                self.refused()
            else:
                self.went()
                return
            finally:
                self.leave(turn)

    async def _until_it_may_go(self, turn: Turn, changed: anyio.Event) -> None:
        while not turn.may_go:
            if turn.dropped is not None:
                raise LinkLost(f"a datagram of {turn.size} bytes did not go out: {turn.dropped.value}")
            if reason := self.quota.may_pass():
                raise LinkLost(reason)
            with anyio.move_on_after(self.due_in):
                await changed.wait()
            self.serve()
