"""Beacons on a bus: who is shown what, who is found, and which links are opened."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import attrs
import pytest

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, Link, LinkTransport, State
from berty_core.errors import LinkLost
from berty_core.ids import AccountId
from berty_core.protocol.bus_beacons import BusBeacon, decode_clear, encode_clear
from berty_core.protocol.rendezvous import advert_tag
from berty_core.runtime.bus import on_bus
from berty_core.runtime.bus.on_bus import on_buses
from berty_core.runtime.replica.replica import Points
from berty_core.testing.memory_bus import MemoryBusNetwork, MemoryBusSpec, MemoryBusTransport
from berty_core.testing.memory_transport import MemoryNetwork, MemorySpec

pytestmark = pytest.mark.anyio
NONCE = b"n" * 8
POINT, OTHER = b"p" * 32, b"o" * 32
ACCOUNT = AccountId(b"a" * 32)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beacons come ten times as fast."""
    monkeypatch.setattr(on_bus, "SHORTEST_SHOW", 0.1)


class Host:
    """A node as far as beacons use it: no group is spoken to, since the datagrams are too short for that."""

    logger = logging.getLogger("test")
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    entropy = staticmethod(os.urandom)
    store = hub = cast(Any, None)

    def __init__(self, own: bytes | None = None, wanted: bytes | None = None) -> None:
        self._points = Points({}, own, {wanted: ACCOUNT} if wanted else {})
        self.links: list[Link] = []
        self.hub = self

    replica = None

    async def points(self) -> Points:
        """Where to meet."""
        return self._points

    def accept(self, link: Link) -> None:
        """Keep the link."""
        self.links.append(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """It matters to nobody."""


class Native(MemoryBusTransport):
    """A medium with links of its own, of which it only says who asked for them."""

    async def dial(self, endpoint: Endpoint) -> Link:
        """Nobody is there."""
        await anyio.lowlevel.checkpoint()
        raise LinkLost(f"dialled {endpoint.address}")


@asynccontextmanager
async def running(network: MemoryBusNetwork, host: Host, *, native: bool = False) -> AsyncIterator[LinkTransport]:
    """A transport on the bus, as the connectivity gets it."""
    spec = MemoryBusSpec(network)
    make = Native if native else MemoryBusTransport
    if native:
        spec.traits = attrs.evolve(spec.traits, dials=True, listens=True)
    ((_, made),) = on_buses(cast(Any, host), [(cast(Any, spec), lambda: cast(Any, make(network)))])
    transport = cast(LinkTransport, made())
    async with anyio.create_task_group() as tasks:
        await tasks.start(transport.run, host)
        yield transport
        tasks.cancel_scope.cancel()


def beacon(*points: bytes, nonce: bytes = NONCE) -> Beacon:
    """What the connectivity shows."""
    return Beacon(nonce, tuple(advert_tag(point, nonce) for point in points))


async def found(transport: LinkTransport, count: int) -> EndpointFound:
    """The first event that shows so many tags."""
    with anyio.fail_after(10):
        async with transport.discover() as events:
            async for event in events:
                if isinstance(event, EndpointFound) and event.beacon and len(event.beacon.tags) >= count:
                    return event
    raise AssertionError


async def test_all_tags_come_in_turn() -> None:
    """Where the medium has links, all tags are shown, so many at a time, and the medium's own address is dialled."""
    network = MemoryBusNetwork(mtu=60, source=True)
    tags = beacon(*(bytes((number,)) * 32 for number in range(12)))
    async with running(network, Host(), native=True) as ann, running(network, Host(), native=True) as bob:
        await ann.advertise(tags)
        event = await found(bob, 12)
        assert event.endpoint == Endpoint("bus", "1")
        assert event.beacon is not None and set(event.beacon.tags) == set(tags.tags)
        with pytest.raises(LinkLost, match="dialled 1"):
            await bob.dial(event.endpoint)
    assert all(len(datagram) <= 60 for datagram in network.heard)


async def test_only_the_contact_link_is_shown_elsewhere() -> None:
    """Where links are datagrams of the bus, only who holds the link finds its owner, under a random address."""
    network = MemoryBusNetwork(mtu=60)
    async with (
        running(network, Host(own=POINT)) as ann,
        running(network, Host(wanted=POINT)) as bob,
        running(network, Host(wanted=OTHER)) as eve,
        eve.discover() as of_eve,
    ):
        await ann.advertise(beacon(POINT, b"g" * 32))
        await bob.advertise(beacon(nonce=b"m" * 8))
        event = await found(bob, 1)
        assert event.beacon == beacon(POINT)
        assert len(bytes.fromhex(event.endpoint.address)) == 6
        with anyio.move_on_after(0.3):
            raise AssertionError(await of_eve.receive())


async def test_who_comes_is_told_soon() -> None:
    """A device that asks who is there makes others show themselves again, though they do so rarely by now."""
    network = MemoryBusNetwork(mtu=60)
    async with running(network, Host(own=POINT)) as ann:
        await ann.advertise(beacon(POINT))
        with anyio.fail_after(5):
            while len(network.heard) < 3:
                await anyio.sleep(0.01)
        async with running(network, Host(wanted=POINT)) as bob:
            await bob.advertise(beacon(nonce=b"m" * 8))
            started = len(network.heard)
            await found(bob, 1)
            assert len(network.heard) - started < 6


async def test_who_is_invisible_says_nothing() -> None:
    """Neither a node that hides, nor one that neither takes requests nor has any to make."""
    network = MemoryBusNetwork(mtu=60)
    async with running(network, Host(own=POINT)) as ann, running(network, Host()) as bob:
        await ann.advertise(None)
        await bob.advertise(beacon(b"g" * 32))
        await anyio.sleep(0.3)  # longer than the first beacon takes
    assert not network.heard


async def test_an_address_changes_with_the_beacon() -> None:
    """So that nobody can follow a device from one period to the next."""
    network = MemoryBusNetwork(mtu=60)
    async with running(network, Host(own=POINT)) as ann:
        for nonce in (b"1" * 8, b"2" * 8):
            await ann.advertise(beacon(POINT, nonce=nonce))
            before = len(network.heard)
            with anyio.fail_after(5):
                while len(network.heard) == before:
                    await anyio.sleep(0.01)
    shown = [decode_clear(datagram) for datagram in network.heard]
    assert len({(said.address, said.nonce) for said in shown if isinstance(said, BusBeacon)}) == 2


async def test_floods_of_beacons() -> None:
    """Whoever shows endless devices makes this one remember so many and no more."""
    network = MemoryBusNetwork(mtu=60)
    async with running(network, Host(wanted=POINT)) as bob:
        for number in range(600):
            await cast(Any, bob)._hear(BusBeacon(number.to_bytes(6, "big"), NONCE, beacon(POINT).tags), None)
        assert len(cast(Any, bob)._near) == on_bus.MAX_NEAR
        assert decode_clear(encode_clear(BusBeacon(bytes(6), NONCE, ()))) is not None


def test_other_transports_are_left_alone() -> None:
    """Only those with a bus are wrapped."""
    spec = MemorySpec(MemoryNetwork())
    made = [(cast(Any, spec), lambda: cast(Any, None))]
    assert on_buses(cast(Any, None), made) == made
