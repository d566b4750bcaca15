"""Rules 40 to 49: who is found, how often, and when somebody is lost."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from ..contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost
from .conditions import BEACONS, DISCOVERS
from .meeting import MOST_TAGS, TransportChecks
from .rules import equal, expect, rule
from .stage import CancelledAt, Running
from .talk import WAIT

Event = EndpointFound | EndpointLost
QUIET = 0.1  # seconds, times the patience, in which something that must not come would come
CHANGES = 20


class DiscoveryRules(TransportChecks):
    """Checks of `discover` and `advertise`."""

    @rule(40, needs=(22,), when=(BEACONS,))
    async def test_discovery_found(self) -> None:
        """A device that shows a beacon is found by others, with that beacon: its nonce and all of its tags."""
        async with self.running() as (one, other):
            async with one.links.discover() as events:
                for beacon in (self.beacon(), self.beacon(MOST_TAGS)):
                    await self.show(other, beacon)
                    await self.find(events, beacon)

    @rule(41, needs=(40,), when=(BEACONS,))
    async def test_discovery_late_listener(self) -> None:
        """Who begins to listen is told first what is there already."""
        async with self.running() as (one, other):
            await self.meet(one, other)
            async with one.links.discover() as first, one.links.discover() as second:
                events = [await self.soon(stream.receive(), "what was known is not told") for stream in (first, second)]
                equal(events[0], events[1])

    @rule(42, needs=(40,), when=(BEACONS,))
    async def test_discovery_found_once(self) -> None:
        """An endpoint is reported once, and again only with another beacon, or after it was lost."""
        async with self.running() as (one, other), self.listening(one) as heard:
            await self._show_and_find(other, heard, self.beacon())
            await anyio.sleep(QUIET * self.patience)
            await self._show_and_find(other, heard, self.beacon())
            known: dict[Endpoint, Beacon | None] = {}
            for event in heard:
                if isinstance(event, EndpointLost):
                    expect(event.endpoint in known, f"{event.endpoint.address!r} was lost without being known")
                    del known[event.endpoint]
                    continue
                again = known.get(event.endpoint, "") == event.beacon
                expect(not again, f"{event.endpoint.address!r} was reported twice, with the same beacon")
                known[event.endpoint] = event.beacon

    @rule(43, needs=(40,), when=(BEACONS,))
    async def test_discovery_not_itself(self) -> None:
        """A transport never reports itself."""
        async with self.running() as (one, other), self.listening(one) as heard, self.listening(other) as heard_there:
            own = self.beacon()
            await self._show_and_find(one, heard_there, own)
            await self._show_and_find(other, heard, self.beacon())
            await anyio.sleep(QUIET * self.patience)
            expect(not any(isinstance(e, EndpointFound) and e.beacon == own for e in heard), "it found its own beacon")

    @rule(44, needs=(22, 40), when=(DISCOVERS,))
    async def test_discovery_endpoints(self) -> None:
        """An endpoint names this transport, and its address is a printable text of 1 to 1024 characters."""
        async with self.running() as (one, other):
            endpoint = await self.meet(one, other)
            equal(self.spec.name, endpoint.transport)
            address = endpoint.address
            expect(
                isinstance(address, str) and 0 < len(address) <= 1024 and address.isprintable(), f"it is {address!r}"
            )

    @rule(45, needs=(40,), when=(BEACONS,))
    async def test_discovery_new_beacon(self) -> None:
        """With each new nonce a device is found at another endpoint, and the earlier is lost: nobody can follow it."""
        async with self.running() as (one, other), one.links.discover() as events:
            endpoint = await self._shown(other, events)
            beacon = self.beacon()
            await self.show(other, beacon)
            lost = found = None
            with anyio.move_on_after(self._lost_after() * self.patience):
                while lost is None or found is None:
                    event = await events.receive()
                    if event == EndpointLost(endpoint):
                        lost = event
                    elif isinstance(event, EndpointFound) and event.beacon == beacon:
                        found = event
            expect(found is not None, "the new beacon was not found")
            expect(found is not None and found.endpoint != endpoint, "the endpoint is the same as before")
            expect(lost is not None, "the earlier endpoint was not reported lost")

    @rule(46, needs=(40,), when=(BEACONS,))
    async def test_discovery_invisible(self) -> None:
        """After `advertise(None)` a device is lost, and who begins to listen is not told of it."""
        async with self.running() as (one, other):
            async with one.links.discover() as events:
                endpoint = await self._shown(other, events)
                await self.show(other, None)
                await self.lose(events, endpoint, self._lost_after())
            async with self.listening(one) as heard:
                await anyio.sleep(QUIET * self.patience)
                expect(endpoint not in [event.endpoint for event in heard], "it is still told to new listeners")

    @rule(47, needs=(40,), when=(BEACONS,))
    async def test_discovery_lost_at_stop(self) -> None:
        """A device whose transport stops is reported lost, within `lost_after` at the latest."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            async with one.links.discover() as events:
                endpoint = await self._shown(other, events)
                await stage.stop(other)
                await self.lose(events, endpoint, self._lost_after())

    @rule(48, needs=(45,), when=(BEACONS,))
    async def test_discovery_bounded(self) -> None:
        """What waits for a listener who does not read is bounded, and leads to what is there: the newest is kept."""
        async with self.running() as (one, other), one.links.discover() as events:
            for _ in range(CHANGES):
                beacon = self.beacon()
                await self.show(other, beacon)
            statistics = getattr(events, "statistics", None)
            room = math.inf if statistics is None else statistics().max_buffer_size
            expect(statistics is None or room < math.inf, "its stream keeps any number of events")
            await self.find(events, beacon)

    @rule(49, needs=(40,), when=(BEACONS,))
    async def test_discovery_cancelled_advertise(self) -> None:
        """`advertise` may be cancelled at any await; the next one counts as if nothing had been."""
        async with self.running() as (one, other):
            for position in range(1, 8):
                operation = CancelledAt(other.links.advertise(self.beacon()), position)
                await self.soon(operation.run(), "a cancelled `advertise` did not return")
                if not operation.cancelled:
                    break
            await self.meet(one, other)

    # What the checks do

    @asynccontextmanager
    async def listening(self, running: Running) -> AsyncIterator[list[Event]]:
        """All events from now on, as a list that grows."""
        heard: list[Event] = []

        async def listen(events: Any) -> None:
            async for event in events:
                heard.append(event)

        async with running.links.discover() as events, anyio.create_task_group() as tasks:
            tasks.start_soon(listen, events)
            yield heard
            tasks.cancel_scope.cancel()

    async def _show_and_find(self, shown: Running, heard: list[Event], beacon: Beacon) -> None:
        await self.show(shown, beacon)
        with anyio.move_on_after(self.patience * (WAIT + self.traits.latency)):
            while not any(isinstance(event, EndpointFound) and event.beacon == beacon for event in heard):
                await anyio.sleep(0.002)
            return
        raise AssertionError("a beacon was not found")

    async def _shown(self, running: Running, events: Any) -> Endpoint:
        """Show a beacon, and find it."""
        beacon = self.beacon()
        await self.show(running, beacon)
        return await self.find(events, beacon)

    def _lost_after(self) -> float:
        return max(WAIT, self.traits.lost_after)
