"""Links between addresses of a bus: bounded, ended after a while, and closed ones stay closed."""

from __future__ import annotations

import anyio
import pytest

from berty_core.contracts.traits import Traits
from berty_core.contracts.transport import Endpoint, Link
from berty_core.errors import LinkLost, LocalProtocolError, MessageTooLarge
from berty_core.protocol.bus_beacons import LinkDatagram, decode_clear
from berty_core.runtime.bus import links as bus_links
from berty_core.runtime.bus.links import MAX_LINKS, BusLink, BusLinks, link_traits

pytestmark = pytest.mark.anyio
BUS = Traits(stream=False, mtu=233, broadcast=True, dials=False, listens=False, discovers=False)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


class Device:
    """The links of one device, on air that brings everything to everybody."""

    def __init__(self, air: list[Device], address: bytes) -> None:
        self.air = air
        self.now = 0.0
        self.accepted: list[Link] = []
        self.said: list[bytes] = []
        self.links = BusLinks(
            "bus",
            link_traits(BUS),
            say=self.say,
            accept=self.accepted.append,
            entropy=self.entropy,
            monotonic=lambda: self.now,
            life=100.0,
        )
        self.links.addresses = (address,)
        self.count = 0
        air.append(self)

    def entropy(self, count: int) -> bytes:
        """Another address each time."""
        self.count += 1
        return (self.links.addresses[0][:1] + self.count.to_bytes(5, "big"))[:count]

    async def say(self, data: bytes) -> None:
        """All others hear it."""
        self.said.append(data)
        said = decode_clear(data)
        assert isinstance(said, LinkDatagram) and len(data) <= 233
        for other in self.air:
            if other is not self:
                other.links.hear(said)


def devices(count: int = 3) -> list[Device]:
    """So many."""
    air: list[Device] = []
    return [Device(air, bytes((65 + number,)) * 6) for number in range(count)]


def dial(device: Device, other: Device) -> BusLink:
    """Open a link to another's address."""
    return device.links.dial(Endpoint("bus", other.links.addresses[0].hex()))


async def test_two_talk_and_a_third_hears_nothing() -> None:
    """Datagrams pass both ways, one at a time, under addresses of this link."""
    ann, bob, eve = devices()
    link = dial(ann, bob)
    await link.send(b"hello")
    (accepted,) = bob.accepted
    assert await accepted.receive() == b"hello"
    await accepted.send(b"hello yourself")
    assert await link.receive() == b"hello yourself"
    assert (link.initiator, accepted.initiator) == (True, False)
    assert link.traits.mtu == 220 and not link.traits.stream and not link.traits.reliable
    assert not eve.accepted and len(bob.accepted) == 1
    await link.aclose()
    await accepted.aclose()


async def test_errors() -> None:
    """An empty datagram, one that is too long, an address that is none, and a closed link."""
    ann, bob = devices(2)
    link = dial(ann, bob)
    with pytest.raises(LocalProtocolError):
        await link.send(b"")
    with pytest.raises(MessageTooLarge):
        await link.send(bytes(221))
    assert not ann.said
    for address in ("", "zz", "aabb"):
        with pytest.raises(LinkLost):
            ann.links.dial(Endpoint("bus", address))
    await link.aclose()
    await link.aclose()
    with pytest.raises(LinkLost, match="closed here"):
        await link.send(b"late")
    with pytest.raises(LinkLost, match="closed here"):
        await link.receive()


async def test_who_waits_is_told() -> None:
    """Closing ends a receive that waits."""
    ann, bob = devices(2)
    link = dial(ann, bob)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_lost, link)
        await anyio.wait_all_tasks_blocked()
        await link.aclose()


async def _lost(link: BusLink) -> None:
    with pytest.raises(LinkLost):
        await link.receive()


async def test_a_closed_link_stays_closed() -> None:
    """A late datagram of it opens no other one."""
    ann, bob = devices(2)
    link = dial(ann, bob)
    await link.send(b"one")
    await bob.accepted[0].aclose()
    await link.send(b"two")
    assert len(bob.accepted) == 1
    await link.aclose()


async def test_links_end_after_a_while() -> None:
    """Whatever they are used for."""
    ann, bob = devices(2)
    link = dial(ann, bob)
    await link.send(b"one")
    ann.now = bob.now = 101.0
    await dial(ann, bob).aclose()
    with pytest.raises(LinkLost, match="after a while"):
        await link.send(b"two")
    bob.links.end_old()
    assert await _all_lost(bob)


async def _all_lost(device: Device) -> bool:
    for link in device.accepted:
        with pytest.raises(LinkLost):
            while True:
                await link.receive()
    return not device.links._links


async def test_strangers_cannot_exhaust_memory() -> None:
    """So many links, so many datagrams on each, and so many closed ones are remembered."""
    bob = devices(1)[0]
    target = bob.links.addresses[0]
    for number in range(1000):
        bob.links.hear(LinkDatagram(target, number.to_bytes(6, "big"), b"x" * 200))
    assert len(bob.accepted) == len(bob.links._links) == bus_links.MAX_LINKS
    for _ in range(1000):
        bob.links.hear(LinkDatagram(target, bytes(6), b"x" * 200))
    first = bob.accepted[0]
    assert isinstance(first, BusLink)
    assert first._receive.statistics().current_buffer_used == bus_links.WAITING
    bob.links.end_all("the bus is gone")
    assert await _all_lost(bob)
    for number in range(200):
        bob.links.dial(Endpoint("bus", (number.to_bytes(6, "big")).hex())).lose("done")
    assert len(bob.links._closed) == bus_links.MAX_CLOSED


async def test_strangers_leave_room_for_our_own_links() -> None:
    """Who opens all links there may be does not keep this device from dialling: an accepted one gives way."""
    one, two, _ = devices()
    for number in range(MAX_LINKS):
        one.links.hear(LinkDatagram(one.links.addresses[0], bytes([number]) * 6, b"x"))
    assert len(one.accepted) == MAX_LINKS
    ours = [dial(one, two) for _ in range(MAX_LINKS)]
    for link in one.accepted:
        with pytest.raises(LinkLost):
            await link.send(b"late")
    await ours[0].send(b"hello")
    assert await two.accepted[0].receive() == b"hello"
    with pytest.raises(LinkLost):
        dial(one, two)
    one.links.end_all("done")
    two.links.end_all("done")


async def test_an_address_that_is_shown_no_longer() -> None:
    """Who has no address takes no links."""
    ann, bob = devices(2)
    link = dial(ann, bob)
    bob.links.addresses = ()
    await link.send(b"hello")
    assert not bob.accepted
    await link.aclose()
