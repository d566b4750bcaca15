"""What waits goes out by priority, in time, fairly and within its budget, or is reported."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.errors import LocalProtocolError
from berty_core.protocol.airtime import AirtimeLedger
from berty_core.protocol.pacing import PASSED_OVER, Dropped, PacedQueue, Reason


def drain(queue: PacedQueue[str], now: float = 0.0) -> list[str]:
    """All that may go now."""
    taken = []
    while (item := queue.take(now)) is not None:
        taken.append(item)
    return taken


def test_the_urgent_goes_first_and_the_rest_in_order() -> None:
    """By priority, then by order."""
    queue: PacedQueue[str] = PacedQueue()
    for item, priority in (("c1", 2), ("a1", 0), ("b1", 1), ("a2", 0), ("c2", 2)):
        queue.put(item, 10, 0.0, priority=priority)
    assert drain(queue) == ["a1", "a2", "b1", "c1", "c2"]
    assert queue.size == 0 and queue.timeout(0.0) is None


def test_nothing_waits_for_ever() -> None:
    """While urgent things never end, one that is not goes after every few of them."""
    queue: PacedQueue[str] = PacedQueue()
    queue.put("history", 10, 0.0, priority=2)
    queue.put("repair", 10, 0.0, priority=1)
    taken = []
    for _ in range(4 * PASSED_OVER):
        queue.put("talk", 10, 0.0, priority=0)
        taken.append(queue.take(0.0))
    assert taken.index("repair") == PASSED_OVER
    assert taken.index("history") <= 2 * PASSED_OVER + 2


def test_sources_take_turns() -> None:
    """One that has much to say does not keep another from its turn."""
    queue: PacedQueue[str] = PacedQueue()
    for number in range(3):
        queue.put(f"loud {number}", 10, 0.0, priority=0, source="loud")
    queue.put("quiet", 10, 0.0, priority=0, source="quiet")
    assert drain(queue) == ["loud 0", "quiet", "loud 1", "loud 2"]


def test_where_there_is_no_room_the_loudest_of_the_least_urgent_loses() -> None:
    """Its newest is refused; who is urgent gets room; and it is reported once."""
    queue: PacedQueue[str] = PacedQueue(capacity=40)
    for item, source in (("x1", "x"), ("x2", "x"), ("x3", "x"), ("y1", "y")):
        queue.put(item, 10, 0.0, priority=2, source=source)
    queue.put("y2", 10, 0.0, priority=2, source="y")
    queue.put("a", 10, 0.0, priority=0, source="x")
    assert queue.dropped() == [Dropped("x3", Reason.REFUSED), Dropped("x2", Reason.REFUSED)]
    assert queue.dropped() == []
    assert drain(queue) == ["a", "x1", "y1", "y2"]
    queue.put("large", 41, 0.0, priority=0)
    assert queue.dropped() == [Dropped("large", Reason.REFUSED)]


def test_nothing_goes_out_late() -> None:
    """At its deadline a datagram is dropped and reported, wherever it stands in its queue."""
    queue: PacedQueue[str] = PacedQueue()
    queue.put("keeps", 10, 0.0, priority=0)
    queue.put("late", 10, 0.0, priority=0, deadline=5.0)
    assert queue.timeout(0.0) == 0.0
    assert queue.take(5.0) == "keeps"
    assert queue.take(5.0) is None
    assert queue.dropped() == [Dropped("late", Reason.DEADLINE)]


def test_what_the_budget_will_not_allow_in_time_is_dropped_at_once() -> None:
    """Nobody waits for what cannot come true; what can is waited for."""
    ledger = AirtimeLedger(100.0, 100.0, float)
    queue: PacedQueue[str] = PacedQueue(allowed_at=ledger.allowed_at)
    assert ledger.take(60, 1000.0)
    queue.put("too large", 101, 1000.0, priority=0)
    queue.put("too late", 50, 1000.0, priority=0, deadline=1050.0)
    queue.put("later", 50, 1000.0, priority=0, deadline=1200.0)
    assert queue.take(1000.0) is None
    assert queue.dropped() == [Dropped("too large", Reason.NEVER), Dropped("too late", Reason.NEVER)]
    due = queue.timeout(1000.0)
    assert due is not None and 1100.0 <= due < 1101.0
    assert queue.take(due) == "later"


PUTS = st.tuples(st.integers(1, 60), st.integers(0, 2), st.floats(0.5, 300), st.sampled_from("abc"))


@settings(deadline=None)
@given(st.lists(PUTS | st.floats(0.01, 80), max_size=60))
def test_each_goes_out_once_in_time_or_is_reported_once(steps: list[tuple[int, int, float, str] | float]) -> None:
    """Whatever is put in when: no window exceeds the budget, nothing is late, lost or doubled."""
    ledger = AirtimeLedger(100.0, 100.0, float)
    queue: PacedQueue[int] = PacedQueue(capacity=200, allowed_at=ledger.allowed_at)
    now, put, sent, dropped = 1000.0, {}, [], []
    for step in [*steps, 10_000.0]:
        if isinstance(step, tuple):
            size, priority, patience, source = step
            put[len(put)] = (size, now + patience)
            queue.put(len(put) - 1, size, now, priority=priority, deadline=now + patience, source=source)
        else:
            end = now + step
            while (due := queue.timeout(now)) is not None and due <= end:
                now = max(now, due)
                if (item := queue.take(now)) is not None:
                    assert ledger.take(put[item][0], now)
                    sent.append((item, now))
            now = end
        assert 0 <= queue.size <= 200
        dropped += [one.item for one in queue.dropped()]
    assert sorted([item for item, _ in sent] + dropped) == list(range(len(put)))
    assert all(when < put[item][1] for item, when in sent)
    for _, when in sent:
        assert math.fsum(put[item][0] for item, at in sent if when - 100 < at <= when) <= 100


def test_only_sensible_things_are_put_in() -> None:
    """A priority that there is, and at least a byte."""
    for size, priority in ((0, 0), (1, 3), (1, -1)):
        with pytest.raises(LocalProtocolError):
            PacedQueue().put("x", size, 0.0, priority=priority)


def test_what_nobody_wants_sent_is_taken_out() -> None:
    """It leaves no place behind, and is not reported; what is unknown is no error."""
    queue: PacedQueue[str] = PacedQueue(allowed_at=lambda size, now: 50.0 if size > 10 else now)
    for item, size in (("large", 20), ("small", 1)):
        queue.put(item, size, 0.0, priority=0)
    assert queue.take(0.0) is None and queue.next_at(0.0) == 50.0
    queue.remove("large")
    queue.remove("unknown")
    assert queue.size == 1 and queue.next_at(0.0) == 0.0
    assert queue.take(0.0) == "small"
    assert queue.dropped() == [] and queue.next_at(0.0) is None
