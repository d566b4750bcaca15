"""Rules 60 to 69: a bus and the transport that it belongs to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .bus_rules import BusRules, Member, ends
from .conditions import BUS
from .life_rules import ended
from .meeting import TransportChecks
from .rules import expect, rule
from .talk import WAIT, lost


class BusLifeRules(TransportChecks, BusRules):
    """Checks of `bus`."""

    @asynccontextmanager
    async def buses(self, count: int = 2) -> AsyncIterator[list[Member]]:
        """The buses of so many devices that run."""
        async with self.running(count) as all_running:
            yield [Member(await self.soon(r.broadcast.bus(), "`bus` did not return"), r.device) for r in all_running]

    @rule(60, needs=(22,), when=(BUS,))
    async def test_bus_same_bus(self) -> None:
        """`bus` gives the same bus each time, whose traits say that it carries datagrams."""
        async with self.running(1) as (one,):
            bus = await one.broadcast.bus()
            expect(await one.broadcast.bus() is bus, "it gave another one")
            expect(bus.traits.broadcast and not bus.traits.stream, "its traits are those of no bus")

    @rule(61, needs=(50,), when=(BUS,))
    async def test_bus_stopped(self) -> None:
        """When the transport has stopped, subscriptions end, and `bus` and `publish` are LinkLost."""
        async with self.stage() as stage:
            one = await stage.start(0)
            member = Member(await one.broadcast.bus(), one.device)
            async with self.subscribed(member) as events:
                await stage.stop(one)
                await stage.within(WAIT, "a subscription went on", lambda: ended(events))
            await ends(one.broadcast.bus)
            await lost(lambda: self.publish(member, b"late"), "publishing on a stopped transport", self.patience)

    @rule(62, needs=(50,), when=(BUS,))
    async def test_bus_others_hear_on(self) -> None:
        """When one device leaves the bus, the others go on."""
        async with self.stage(3) as stage:
            one, other, third = await stage.start_all(3)
            members = [Member(await r.broadcast.bus(), r.device) for r in (one, other)]
            async with self.subscribed(members[1]) as events:
                await stage.stop(third)
                async with self.publishing(members[0], b"still here"):
                    await self.hear(events, b"still here")
