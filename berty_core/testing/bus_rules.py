"""Rules 50 to 59: what a bus owes: everybody hears everything once it is said, but nobody itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import attrs

from ..contracts.transport import Bus, Datagram, Priority, Traits
from ..errors import BudgetSpent, DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge
from .conditions import BUS, NO_BUDGET, TOPICS
from .conformance import Verdict
from .hosts import Device
from .link_rules import LOOKS_LIKE_FRAMING
from .rules import NotApplicable, Suite, equal, expect, rule
from .stage import CancelledAt
from .talk import WAIT, noise, pieces, repeating

TOPIC = b"topic"
LIKE_TOPICS = (b"t", b"topi", b"topic2", b"topic\x00", b"\x00", b"\xff" * 64)
FLOOD, MOST_KEPT = 3000, 2048
AWAITS = 8
HOUR = 3600.0 * 1.01


@attrs.frozen
class Member:
    """One device on a bus, and its clock."""

    bus: Bus
    device: Device


class BusRules(Suite):
    """Checks of a bus; `buses` gives those of several devices."""

    verdict: Verdict

    @property
    def traits(self) -> Traits:
        """What the bus promises."""
        raise NotImplementedError

    def buses(self, count: int = 2) -> AbstractAsyncContextManager[list[Member]]:
        """The bus as so many devices see it."""
        raise NotImplementedError

    @rule(50, needs=(22,), when=(BUS,))
    async def test_bus_heard(self) -> None:
        """What one device publishes the others hear, and each subscription of each of them."""
        async with self.buses() as (one, other):
            async with self.subscribed(other) as first, self.subscribed(other) as second:
                data = noise(20)
                async with self.publishing(one, data):
                    await self.hear(first, data)
                    await self.hear(second, data)

    @rule(51, needs=(50,), when=(BUS,))
    async def test_bus_sizes(self) -> None:
        """A datagram of any size from 1 byte to the mtu, and of any bytes, is heard whole and unchanged."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            mtu = one.bus.traits.mtu
            samples = [piece for data in LOOKS_LIKE_FRAMING for piece in pieces(data, [mtu])]
            samples += [noise(size, "size") for size in sorted({1, 2, mtu // 2, mtu - 1, mtu})]
            for data in samples:
                async with self.publishing(one, data):
                    await self.hear(events, data)

    @rule(52, needs=(50,), when=(BUS,))
    async def test_bus_too_large(self) -> None:
        """A datagram above the mtu is MessageTooLarge, and nothing of it is sent."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            mtu = one.bus.traits.mtu
            for size in (mtu + 1, 2 * mtu, mtu + 70_000):
                await self._refused(one, noise(size), MessageTooLarge, f"{size} bytes where the mtu is {mtu}")
            after = noise(20, "after")
            async with self.publishing(one, after):
                heard = await self.hear(events, after)
            equal([], [len(data) for data in heard])

    @rule(53, needs=(50,), when=(BUS,))
    async def test_bus_no_echo(self) -> None:
        """Nobody hears what it published itself."""
        async with self.buses() as (one, other):
            async with self.subscribed(one) as own, self.subscribed(other) as events:
                data, answer = noise(20, "own"), noise(20, "answer")
                async with self.publishing(one, data):
                    await self.hear(events, data)
                async with self.publishing(other, answer):
                    heard = await self.hear(own, answer)
                expect(data not in heard, "it heard its own datagram")

    @rule(54, needs=(50,), when=(BUS,))
    async def test_bus_nothing_invented(self) -> None:
        """What is heard was published: nothing is joined, cut, or made up; a reliable bus brings each once."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            sent = [n.to_bytes(2, "big") + noise(18, n) for n in range(20 if self._is_slow(one) else 100)]
            for data in sent:
                await self.publish(one, data)
            last = noise(20, "last")
            async with self.publishing(one, last):
                heard = await self.hear(events, last)
            expect(set(heard) <= {*sent, last}, "something was heard that nobody published")
            if one.bus.traits.reliable and one.bus.traits.ordered:
                equal([data[:2].hex() for data in sent], [data[:2].hex() for data in heard])

    @rule(55, needs=(50,), when=(BUS, TOPICS))
    async def test_bus_topics(self) -> None:
        """Who subscribes to a topic hears that topic alone, whatever bytes the others are made of."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            for topic in LIKE_TOPICS:
                async with self.subscribed(other, topic) as there:
                    async with self.publishing(one, noise(20, topic), topic):
                        await self.hear(there, noise(20, topic))
            data = noise(20, "right")
            async with self.publishing(one, data):
                heard = await self.hear(events, data)
            equal([], [other_topic for other_topic in LIKE_TOPICS if noise(20, other_topic) in heard])

    @rule(56, needs=(50,), when=(BUS,))
    async def test_bus_deadline(self) -> None:
        """What is published after its deadline is DeadlinePassed, and nothing is sent."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            late = noise(20, "late")
            await self._refused(one, late, DeadlinePassed, "a datagram that was too old", one.device.now() - 10)
            data = noise(20, "in time")
            async with self.publishing(one, data, deadline=one.device.now() + 3600):
                heard = await self.hear(events, data)
            expect(late not in heard, "it was sent although its deadline had passed")

    @rule(57, needs=(50,), when=(BUS, NO_BUDGET))
    async def test_bus_slow_listener(self) -> None:
        """A listener who does not read costs a bounded amount of memory and misses the oldest; the others hear on."""
        async with self.buses() as (one, other):
            if self._is_slow(one):
                raise NotApplicable("no bitrate for 3000 datagrams")
            async with self.subscribed(other) as idle, self.subscribed(other) as busy:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._drain, busy)
                    for n in range(FLOOD):
                        await self.publish(one, n.to_bytes(4, "big"))
                        if n % 50 == 0:
                            await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                last = noise(20, "last")
                async with self.publishing(one, last):
                    await self.hear(busy, last)
                    heard = await self.hear(idle, last)
                expect(len(heard) <= MOST_KEPT, f"{len(heard)} datagrams waited for one that did not read")

    @rule(58, needs=(50,), when=(BUS,))
    async def test_bus_cancelled(self) -> None:
        """`publish` may be cancelled at any await; the bus goes on."""
        async with self.buses() as (one, other), self.subscribed(other) as events:
            for position in range(1, AWAITS):
                operation = CancelledAt(self.publish(one, noise(20, position)), position)
                await operation.run()
                if not operation.cancelled:
                    break
            data = noise(20, "after")
            async with self.publishing(one, data):
                await self.hear(events, data)

    @rule(59, needs=(50,), when=(BUS,))
    async def test_bus_refusals(self) -> None:
        """An empty datagram, and a topic where there are none or none where there are, is a LocalProtocolError."""
        async with self.buses() as (one, _):
            await self._refused(one, b"", LocalProtocolError, "an empty datagram")
            topic = None if one.bus.traits.topics else TOPIC
            try:
                await one.bus.publish(b"x", topic=topic, priority=Priority.REPAIR, deadline=None)
            except LocalProtocolError:
                return
            raise AssertionError(f"`publish` took the topic {topic!r}")

    # What the checks do

    def subscribed(self, member: Member, topic: bytes = TOPIC) -> AbstractAsyncContextManager[Any]:
        """Subscribe, to a topic where there are topics."""
        return member.bus.subscribe(topic if member.bus.traits.topics else None)

    async def publish(self, member: Member, data: bytes, topic: bytes = TOPIC, deadline: float | None = None) -> None:
        """Publish once; where the airtime is used up, an hour passes by the clock of the device, or the check ends."""
        shown = topic if member.bus.traits.topics else None
        try:
            await member.bus.publish(data, topic=shown, priority=Priority.INTERACTIVE, deadline=deadline)
        except BudgetSpent as error:
            if not self.traits.budgeted:
                raise
            self.let_pass(member.device, HOUR, error)
            later = None if deadline is None else deadline + HOUR
            await member.bus.publish(data, topic=shown, priority=Priority.INTERACTIVE, deadline=later)

    def let_pass(self, device: Device, seconds: float, error: Exception | None = None) -> None:
        """Let time pass at once: not where the air is real, since the limits of airtime are law there."""
        if self.level == "hardware":
            raise NotApplicable("no clock to move on hardware") from error
        device.passed += seconds

    @asynccontextmanager
    async def publishing(
        self, member: Member, data: bytes, topic: bytes = TOPIC, deadline: float | None = None
    ) -> AsyncIterator[None]:
        """Publish once, or again and again where the medium loses things."""

        async def once() -> None:
            await self.publish(member, data, topic, deadline)

        async with repeating(once, self.patience, reliable=member.bus.traits.reliable):
            yield

    async def hear(self, events: Any, wanted: bytes) -> list[bytes]:
        """Read until a datagram comes; returns those before it."""
        before: list[bytes] = []
        airtime = len(wanted) * 8 / self.traits.bitrate
        with anyio.move_on_after((WAIT + self.traits.latency) * self.patience + 10 * airtime):
            while True:
                datagram = await events.receive()
                expect(isinstance(datagram, Datagram), f"{datagram!r} is no Datagram")
                if datagram.data == wanted:
                    return before
                before.append(datagram.data)
        raise AssertionError(f"a datagram of {len(wanted)} bytes was not heard; {len(before)} others were")

    async def _refused(
        self, member: Member, data: bytes, error: type[Exception], what: str, deadline: float | None = None
    ) -> None:
        try:
            await self.publish(member, data, deadline=deadline)
        except error:
            return
        raise AssertionError(f"`publish` took {what}")

    async def _drain(self, events: Any) -> None:
        while True:
            await events.receive()

    def _is_slow(self, member: Member) -> bool:
        traits = member.bus.traits
        return traits.bitrate < 1_000_000 or traits.half_duplex


async def ends(operation: Callable[[], Awaitable[object]]) -> None:
    """Expect LinkLost, where the medium has gone."""
    try:
        await operation()
    except LinkLost:
        return
    raise AssertionError("`bus` was given although the transport has stopped")
