"""Contact requests over a bus that has no links: beacons, links between random addresses, and real sessions on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from berty_core.protocol.bus_beacons import BusBeacon, LinkDatagram, decode_clear
from berty_core.testing.memory_bus import MemoryBusNetwork, Weather

from .nodes import ask, becomes, befriend, contact_state, do, group_of, has, nodes_on, texts

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


def beacons(bus: MemoryBusNetwork) -> list[BusBeacon]:
    """All that were heard."""
    return [said for datagram in bus.heard if isinstance(said := decode_clear(datagram), BusBeacon)]


def opened(bus: MemoryBusNetwork) -> list[LinkDatagram]:
    """Datagrams of links. One sealed datagram in 256 looks like one by chance, but is for no address of a beacon."""
    addresses = {beacon.address for beacon in beacons(bus)}
    said = [decode_clear(datagram) for datagram in bus.heard]
    return [link for link in said if isinstance(link, LinkDatagram) and link.target in addresses]


async def test_strangers_become_contacts(tmp_path: Path) -> None:
    """A request by a link that is for it alone, its acceptance, and texts both ways by groupcast."""
    bus = MemoryBusNetwork(weather=Weather(loss=0.1, duplicate=0.05), seed=3)
    async with nodes_on(bus, tmp_path, "Ann", "Bob") as (ann, bob):
        await ask(bob, ann)
        assert await contact_state(ann, "Bob") == "received"
        await do(ann, ann.actions.contact_accept, "Bob")
        cid = await bob.send("Ann", "hello")
        await has(ann, "Bob", "hello")
        await becomes(bob, "Ann", cid, "held", "acknowledged")
        await ann.send("Bob", "hello yourself")
        await has(bob, "Ann", "hello", "hello yourself")
        assert await texts(ann, "Bob") == await texts(bob, "Ann")
    assert opened(bus)
    assert all(len(beacon.tags) <= 1 for beacon in beacons(bus)), "no group is shown"


async def test_groups_need_no_links(tmp_path: Path) -> None:
    """Members of a group who hear each other open no link for it."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob") as (ann, bob):
        await group_of(ann, bob)
        await ann.send("group", "hello")
        await has(bob, "group", "hello")
        assert not ann.sessions and not bob.sessions
    assert not opened(bus)


async def test_a_third_hears_and_does_nothing(tmp_path: Path) -> None:
    """Who hears a link of others takes no part in it."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob", "Eve") as (ann, bob, eve):
        await befriend(bob, ann)
        assert not eve.sessions
