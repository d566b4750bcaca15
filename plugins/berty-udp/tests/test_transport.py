"""The decisions of the transport over a driver in memory: which addresses, whose datagrams, whose links."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest
from berty_udp.addresses import endpoint
from berty_udp.config import UdpConfig
from berty_udp.seam import Address, LocalAddress
from berty_udp.transport import UdpTransport

from berty_core.contracts.transport import Network, State
from berty_core.errors import LinkLost, TransportError
from berty_core.runtime.surroundings.surroundings import Surroundings

from .conftest import RecordingHost, until

pytestmark = pytest.mark.anyio
WIFI = LocalAddress("wlan0", 2, "192.0.2.1", 4)
CABLE = LocalAddress("eth0", 3, "198.51.100.1", 4)
STRANGER = ("192.0.2.77", 5000)


class FakeSocket:
    """What a test puts in arrives; what is sent is kept."""

    def __init__(self, local: Address) -> None:
        self.local = local
        self.sent: list[tuple[bytes, Address | None]] = []
        self.closed = False
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self._news = anyio.Event()

    def put(self, data: bytes, source: Address) -> None:
        """A datagram arrives."""
        self._arrived.append((data, source))
        self._tell()

    async def send(self, data: bytes, to: Address | None = None) -> None:
        """Keep it."""
        self.sent.append((data, to))

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for what arrives."""
        while not self._arrived:
            if self.closed:
                raise LinkLost("closed")
            await self._news.wait()
        return self._arrived.popleft()

    async def aclose(self) -> None:
        """Whoever waits finds out."""
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


@attrs.define
class FakeDriver:
    """A machine whose addresses the test decides; `refusals` sockets cannot be opened."""

    present: list[LocalAddress] = attrs.field(factory=lambda: [WIFI])
    refusals: int = 0
    speaking: list[FakeSocket] = attrs.field(factory=list)
    hearing: list[tuple[FakeSocket, Sequence[LocalAddress]]] = attrs.field(factory=list)
    connected: list[FakeSocket] = attrs.field(factory=list)

    def addresses(self) -> Sequence[LocalAddress]:
        """Those that are there now."""
        return tuple(self.present)

    async def speak(self, address: LocalAddress, hops: int) -> FakeSocket:
        """Open a socket on one address."""
        if self.refusals:
            self.refusals -= 1
            raise TransportError("cannot open a UDP socket: no room")
        self.speaking.append(FakeSocket((address.ip, 40_000 + len(self.speaking))))
        return self.speaking[-1]

    async def hear(self, group: str, port: int, addresses: Sequence[LocalAddress]) -> FakeSocket:
        """Open an ear."""
        self.hearing.append((FakeSocket((group, port)), tuple(addresses)))
        return self.hearing[-1][0]

    async def connect(self, to: Address, hops: int) -> FakeSocket:
        """Open a socket to somebody, from the first address that is there."""
        self.connected.append(FakeSocket((self.present[0].ip, 50_000 + len(self.connected))))
        return self.connected[-1]


class ChangingHost(RecordingHost):
    """A node that is told of changes of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.surroundings = Surroundings()
        self.network_changes = self.surroundings.changes
        self._count = 0

    def changed(self) -> None:
        """The network is another one now."""
        self._count += 1
        self.surroundings.change(Network(interfaces=frozenset({str(self._count)})))


@asynccontextmanager
async def running(driver: FakeDriver, **settings: int) -> AsyncIterator[tuple[UdpTransport, ChangingHost]]:
    """Run a transport over a driver while the block does; everything that was opened is closed afterwards."""
    transport, host = UdpTransport(UdpConfig(**settings), driver), ChangingHost()
    async with anyio.create_task_group() as tasks:
        await tasks.start(transport.run, host)
        yield transport, host
        tasks.cancel_scope.cancel()
    assert all(each.closed for each in [*driver.speaking, *driver.connected, *(ear for ear, _ in driver.hearing)])


async def linked(transport: UdpTransport, host: ChangingHost, driver: FakeDriver) -> None:
    """A link that a stranger opened, and one to them."""
    driver.hearing[-1][0].put(b"here", STRANGER)
    await until(lambda: STRANGER in transport._heard)
    await transport.dial(endpoint(STRANGER))
    driver.speaking[-1].put(b"hello", STRANGER)
    await until(lambda: host.links)


async def test_an_address_that_comes_is_used() -> None:
    """A cable is plugged in: there is a socket on it, and the group is heard there too; links that live stay."""
    driver = FakeDriver()
    async with running(driver) as (transport, host):
        await linked(transport, host, driver)
        driver.present.append(CABLE)
        host.changed()
        await until(lambda: len(driver.speaking) == 2)
        await until(lambda: len(driver.hearing) == 2)
        assert driver.hearing[0][0].closed
        assert driver.hearing[1][1] == (WIFI, CABLE)
        assert not any(link.lost_because for link in [*host.links, *transport._dialled])  # type: ignore[attr-defined]
        assert host.states[-1][0] is State.ACTIVE


async def test_an_address_that_goes_ends_its_links() -> None:
    """The Wi-Fi goes: links over it are lost at once with the reason, and the transport says that it cannot be used."""
    driver = FakeDriver()
    async with running(driver) as (transport, host):
        await linked(transport, host, driver)
        dialled = next(iter(transport._dialled))
        driver.present.clear()
        host.changed()
        await until(lambda: host.states[-1][0] is State.UNAVAILABLE)
        assert host.states[-1][1] == ("no network interface has an address",)
        assert await host.links[0].receive() == b"hello"
        for link in (host.links[0], dialled):
            with pytest.raises(LinkLost, match="the network that it went over is gone"):
                await link.receive()
        with pytest.raises(LinkLost, match="there is no network"):
            await transport.dial(endpoint(STRANGER))
        driver.present.append(CABLE)
        host.changed()
        await until(lambda: host.states[-1][0] is State.ACTIVE)
        assert driver.hearing[-1][1] == (CABLE,)


async def test_another_address_leaves_links_alone() -> None:
    """The cable goes, and what runs over the Wi-Fi stays."""
    driver = FakeDriver(present=[CABLE, WIFI])
    async with running(driver) as (transport, host):
        await linked(transport, host, driver)
        driver.present.remove(CABLE)
        host.changed()
        await until(lambda: driver.speaking[0].closed)
        await host.links[0].send(b"still there")
        assert driver.speaking[1].sent == [(b"still there", STRANGER)]


async def test_a_socket_that_cannot_be_opened_is_tried_again() -> None:
    """The reason is told, and the next change mends it."""
    driver = FakeDriver(refusals=1)
    async with running(driver) as (_, host):
        assert host.states[-1] == (State.UNAVAILABLE, ("cannot open a UDP socket: no room",))
        host.changed()
        await until(lambda: host.states[-1] == (State.ACTIVE, ()))


async def test_what_is_not_handed_up() -> None:
    """Own datagrams that come back, empty ones and those above the mtu: on the bus and on links."""
    driver = FakeDriver()
    async with running(driver, mtu=100) as (transport, host):
        async with (await transport.bus()).subscribe(None) as heard:
            ear, own = driver.hearing[0][0], driver.speaking[0]
            for data, source in ((b"own", own.local), (b"", STRANGER), (bytes(101), STRANGER), (b"theirs", STRANGER)):
                ear.put(data, source)
            with anyio.fail_after(10):
                datagram = await heard.receive()
        assert (datagram.data, datagram.source) == (b"theirs", endpoint(STRANGER))
        for data in (b"", bytes(101)):
            own.put(data, ("192.0.2.78", 1))
        own.put(bytes(100), STRANGER)
        await until(lambda: host.links)
        assert [link.remote for link in host.links] == [endpoint(STRANGER)]
        assert await host.links[0].receive() == bytes(100)
