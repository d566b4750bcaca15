"""Rules 140 to 159: the network goes and is back, the device sleeps and wakes, transports share a process."""

from __future__ import annotations

import anyio

from ..contracts.transport import Network
from ..errors import EndOfStream, LinkLost
from .bus_life_rules import BusLifeRules
from .bus_rules import Member
from .conditions import CUTS, LINKS
from .hosts import OFFLINE, ONLINE
from .rules import expect, rule
from .stage import Running
from .talk import WAIT, Pair, say

RESTARTS = 4
WEATHER = (
    OFFLINE,
    ONLINE,
    Network(online="no", interfaces=frozenset(), kind="none", bluetooth="no", battery=0.01, foreground=False),
    Network(online="yes", interfaces=frozenset({"eth9"}), kind="cellular", metered="yes", bluetooth="unknown"),
    Network(),
    ONLINE,
)


class InterruptionRules(BusLifeRules):
    """Checks of what goes on although something stopped for a while."""

    @rule(140, needs=(70, 50))
    async def test_interruption_restart(self) -> None:
        """Suspend and resume is an end and another transport: made from the same configuration it is reached again,
        each time.
        """
        async with self.stage() as stage:
            one = await stage.start(0)
            for _ in range(RESTARTS):
                other = await stage.start(1)
                await self.reach(one, other)
                await stage.stop(other)

    @rule(141, needs=(140,))
    async def test_interruption_network_changes(self) -> None:
        """A change of the network, whatever it is, ends nothing: when it is over the other device is reached again."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            for network in WEATHER:
                for running in (one, other):
                    running.device.surroundings.change(network)
                await anyio.sleep(0.01 * self.patience)
            one.check()
            await self.reach(one, other)

    @rule(142, needs=(141,), when=(CUTS,))
    async def test_interruption_cut_and_mended(self) -> None:
        """A medium that goes is no error of `run`, and when it is back the other device is reached again."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            await self.reach(one, other)
            await self.cut()
            await anyio.sleep(0.05 * self.patience)
            one.check()
            other.check()
            await self.mend()
            await self.reach(one, other)

    @rule(143, needs=(142,), when=(CUTS, LINKS))
    async def test_interruption_links_after_cut(self) -> None:
        """On a link whose medium has gone, `send` and `receive` wait or give LinkLost, and nothing else; `aclose`
        returns.
        """
        async with self.stage() as stage:
            one, other = await stage.start_all()
            pair = await self.connect(one, other)
            await self.cut()
            for link in (pair.near, pair.far):
                with anyio.move_on_after(0.2 * self.patience):
                    try:
                        await link.send(b"is anybody there?")
                        await link.receive()
                    except (LinkLost, EndOfStream):
                        pass
                await self.soon(link.aclose(), "`aclose` did not return")
            await self.mend()

    async def reach(self, one: Running, other: Running) -> None:
        """Say something over a link, and over the bus, of what there is."""
        traits = self.traits
        if (traits.dials and traits.listens) or traits.autoconnects:
            pair: Pair = await self._linked(one, other)
            await say(pair.near, pair.far, b"are you there?", self.patience)
            await pair.near.aclose()
            await pair.far.aclose()
        if traits.broadcast:
            members = [Member(await r.broadcast.bus(), r.device) for r in (one, other)]
            data = b"everybody"
            async with self.subscribed(members[1]) as events, self.publishing(members[0], data):
                await self.hear(events, data)

    async def _linked(self, one: Running, other: Running) -> Pair:
        """A link; where the medium has just come back, the first attempts may be lost."""
        with anyio.move_on_after(WAIT * self.patience):
            while True:
                try:
                    return await self.connect(one, other)
                except LinkLost:
                    await anyio.sleep(0.02)
        expect(False, "no link came up")
        raise AssertionError
