"""A driver's bus, looked at before it is used, as `guarded_link` does it for links.

Invariant: no call of it waits for ever or raises anything but what the bus contract names, what is handed up is a
datagram of 1 to mtu bytes and not more of them than can be taken in, and all that passes counts for the quotas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import attrs

from ...contracts.bus import Bus, Datagram, Priority
from ...contracts.traits import Traits
from ...errors import BertyError, BudgetSpent, LinkLost, MessageTooLarge, TransportError
from .guarded_link import LinkKeeper, endpoint_fault
from .severable import LeftBehind, within

PUBLISH_LIMIT = 30.0  # seconds, and at least so many units, in which a medium has to take a datagram
PUBLISH_UNITS = 64
SUBSCRIBE_LIMIT = 10.0  # seconds in which a subscription has to begin
HEARD_AT_ONCE, HEARD_A_SECOND = 4096, 2000.0  # datagrams that one topic may hand up
FLOOD_TOLD = 60.0  # seconds between two words about it: it may be the fault of others on the air
ENDED_GRACE = 1.0  # seconds after which a subscription that ended was not ended with its transport
INNER = 0.6  # of the time to stop: what runs within a transport has to be left behind before it is


class BusKeeper(LinkKeeper, Protocol):
    """Whoever is told what passes on a bus, and what its driver did wrong."""

    def broke(self, words: str) -> None:
        """The driver cannot be used any more: it is stopped and started again."""

    def free_at(self) -> float:
        """When something may be sent, if nothing is until then (Unix seconds)."""

    def is_limited(self) -> bool:
        """Whether a person set quotas."""


class Unkept:
    """Where nobody keeps count."""

    def fault(self, words: str) -> None:
        """Nobody is told."""

    def broke(self, words: str) -> None:
        """Nobody is told."""

    def passed(self, sent: int, received: int) -> None:
        """Nothing is counted."""

    def may_pass(self) -> str:
        """It may."""
        return ""

    def free_at(self) -> float:
        """Always."""
        return 0.0

    def is_limited(self) -> bool:
        """Nobody did."""
        return False


def bus_fault(bus: object) -> str:
    """What is wrong with a bus that a driver gave; empty if nothing is."""
    missing = [name for name in ("publish", "subscribe") if not callable(getattr(bus, name, None))]
    if missing:
        return f"it gave a bus without {missing[0]}()"
    traits = getattr(bus, "traits", None)
    if not isinstance(traits, Traits) or traits.stream:
        return "it gave a bus without traits of a medium of datagrams"
    return ""


class GuardedBus:
    """A bus that was looked at before (`bus_fault`). `unit` (seconds) is what a full datagram takes on it."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        keeper: BusKeeper,
        monotonic: Callable[[], float],
        *,
        unit: float,
    ) -> None:
        self.traits = bus.traits
        self.is_dear = bus.traits.budgeted or bus.traits.metered or keeper.is_limited()  # better spared
        self.said = self.bytes_said = self.heard = self.bytes_heard = self.flooded = 0
        self._name = name
        self._bus = bus
        self._keeper = keeper
        self._monotonic = monotonic
        self._limit = max(PUBLISH_LIMIT, PUBLISH_UNITS * unit)
        self._listeners: dict[bytes | None, list[object]] = {}
        self._flood_told = -math.inf

    # -- speaking ------------------------------------------------------------------------------

    def refusal(self) -> str:
        """Why nothing may be said now, in words; empty: it may."""
        return self._keeper.may_pass()

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Put one datagram on the air; BudgetSpent also where a quota is used up. Others as in the contract."""
        if reason := self.refusal():
            raise BudgetSpent(reason)
        try:
            await within(self._limit, self._put(data, topic, priority, deadline), INNER)
        except (TimeoutError, LeftBehind) as error:
            words = f"publish() did not end within {self._limit:g} s"
            self._keeper.broke(words)
            raise LinkLost(f"its driver failed: {words}") from error
        self.said += 1
        self.bytes_said += len(data)
        self._keeper.passed(len(data), 0)

    async def _put(self, data: bytes, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        try:
            await self._bus.publish(data, topic=topic, priority=priority, deadline=deadline)
        except MessageTooLarge:
            if len(data) <= self.traits.mtu:
                self._keeper.fault(f"publish() refused {len(data)} bytes, its limit is {self.traits.mtu}")
            raise
        except BudgetSpent:
            if not self.traits.budgeted:
                self._keeper.fault("publish() says that a budget is spent, and its traits tell of none")
            raise
        except TransportError:
            raise
        except (BertyError, OSError) as error:
            raise LinkLost(str(error) or type(error).__name__) from error
        except Exception as error:  # a driver may raise anything; it is named
            words = f"publish() raised {type(error).__name__}: {error}"
            self._keeper.fault(words)
            raise LinkLost(f"its driver failed: {words}") from error

    # -- listening -----------------------------------------------------------------------------

    async def listen(self, topic: bytes | None, hear: Callable[[Datagram], None]) -> None:
        """Hand on what is heard, until cancelled; a driver that ends this by itself is started again."""
        me, began = object(), anyio.Event()
        listeners = self._listeners.setdefault(topic, [])
        listeners.append(me)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._see_it_begin, began)
                words = await self._listen(topic, _Listener(self, listeners, me, hear), began)
                tasks.cancel_scope.cancel()
            await anyio.sleep(ENDED_GRACE)
            self._keeper.broke(words)
        finally:
            listeners.remove(me)

    async def _see_it_begin(self, began: anyio.Event) -> None:
        with anyio.move_on_after(SUBSCRIBE_LIMIT):
            await began.wait()
            return
        self._keeper.broke(f"subscribe() did not begin within {SUBSCRIBE_LIMIT:g} s")

    async def _listen(self, topic: bytes | None, listener: _Listener, began: anyio.Event) -> str:
        """Why it ended."""
        try:
            await within(math.inf, self._take_in(topic, listener, began), INNER)
        except Exception as error:  # a driver may raise anything; it is named
            return f"subscribe() raised {type(error).__name__}: {error}"
        return "a subscription to its bus ended by itself"

    async def _take_in(self, topic: bytes | None, listener: _Listener, began: anyio.Event) -> None:
        async with self._bus.subscribe(topic) as heard:
            began.set()
            async for datagram in heard:
                listener.take(datagram)
                await anyio.lowlevel.checkpoint()  # a driver that never waits must not hold up the node

    def look_at(self, datagram: Any) -> Datagram | None:
        """What may be used of a datagram that was handed up."""
        if words := self._objection(datagram):
            self._keeper.fault(words)
            return None
        source = datagram.source
        if source is not None and (words := endpoint_fault(source, self._name)):
            self._keeper.fault(words)
            source = None
        return Datagram(bytes(datagram.data), source)

    def _objection(self, datagram: object) -> str:
        if not isinstance(datagram, Datagram):
            return f"its bus gave {type(datagram).__name__} in place of a datagram"
        data: object = datagram.data
        if not isinstance(data, bytes | bytearray | memoryview):
            return f"its bus gave a datagram of {type(data).__name__} in place of bytes"
        if not len(data):
            return "its bus gave an empty datagram"
        return (
            f"its bus gave {len(data)} bytes at once, its limit is {self.traits.mtu}"
            if len(data) > self.traits.mtu
            else ""
        )

    def count_heard(self, size: int) -> None:
        """Something was heard."""
        self.heard += 1
        self.bytes_heard += size
        self._keeper.passed(0, size)

    def tell_flood(self) -> None:
        """There is more than can be taken in."""
        self.flooded += 1
        if (now := self._monotonic()) - self._flood_told >= FLOOD_TOLD:
            self._flood_told = now
            self._keeper.fault(f"its bus hands up more than {HEARD_A_SECOND:g} datagrams a second: the rest is dropped")

    def now(self) -> float:
        """The monotonic clock."""
        return self._monotonic()


@attrs.define(eq=False)
class _Listener:
    """One subscription; of those to one topic only the first counts what it hears."""

    bus: GuardedBus
    listeners: list[object]
    me: object
    hear: Callable[[Datagram], None]
    left: float = HEARD_AT_ONCE
    at: float = -math.inf

    def take(self, datagram: object) -> None:
        """Hand on one datagram, if there are not too many."""
        now = self.bus.now()
        self.left, self.at = min(HEARD_AT_ONCE, self.left + (now - self.at) * HEARD_A_SECOND) - 1, now
        first = self.listeners[0] is self.me
        if self.left < 0:
            self.left = 0.0
            if first:
                self.bus.tell_flood()
            return
        looked_at = self.bus.look_at(datagram)
        if looked_at is None:
            return
        if first:
            self.bus.count_heard(len(looked_at.data))
        self.hear(looked_at)
