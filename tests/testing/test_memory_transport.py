"""The network in memory keeps the transport contract, and breaks links exactly where a test asks for it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ObjectReceiveStream

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost, Link, State
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError
from berty_core.testing.memory_pipe import ROOM
from berty_core.testing.memory_transport import MemoryLink, MemoryNetwork, MemoryTransport

pytestmark = pytest.mark.anyio
BEACON = Beacon(b"n" * 8, (b"t" * 8,))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


class Host:
    """A node that keeps what it is given."""

    def __init__(self) -> None:
        self.logger = logging.getLogger("test")
        self.entropy: Callable[[int], bytes] = os.urandom
        self.links: list[Link] = []
        self.states: list[State] = []

    def accept(self, link: Link) -> None:
        """Keep the link."""
        self.links.append(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Keep the state."""
        self.states.append(state)


@asynccontextmanager
async def running(network: MemoryNetwork) -> AsyncIterator[tuple[MemoryTransport, Host]]:
    """A transport that runs."""
    transport, host = MemoryTransport(network), Host()
    async with anyio.create_task_group() as tasks:
        await tasks.start(transport.run, host)
        yield transport, host
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def pair(network: MemoryNetwork | None = None) -> AsyncIterator[tuple[MemoryLink, Link]]:
    """The two ends of a link."""
    network = network or MemoryNetwork()
    async with running(network) as (one, _), running(network) as (other, host):
        await other.advertise(BEACON)
        assert other.endpoint is not None
        dialled = await one.dial(other.endpoint)
        yield dialled, host.links[0]


async def take(stream: ObjectReceiveStream[EndpointFound | EndpointLost]) -> EndpointFound | EndpointLost:
    """The next event, which must be there already."""
    with anyio.fail_after(1):
        return await stream.receive()


async def test_who_shows_itself_is_found_by_the_others_alone() -> None:
    """First what is there, then each change; a new beacon is a new address, and the old one says goodbye."""
    network = MemoryNetwork()
    async with running(network) as (one, _), running(network) as (other, host):
        assert host.states == [State.ACTIVE]
        await other.advertise(BEACON)
        async with one.discover() as found, other.discover() as nothing:
            first = await take(found)
            assert isinstance(first, EndpointFound)
            assert first.beacon == BEACON
            await other.advertise(Beacon(b"m" * 8, ()))
            assert await take(found) == EndpointLost(first.endpoint)
            second = await take(found)
            assert isinstance(second, EndpointFound)
            assert second.endpoint != first.endpoint
            await other.advertise(None)
            assert await take(found) == EndpointLost(second.endpoint)
            with anyio.move_on_after(0.05):
                raise AssertionError(await nothing.receive())
            with pytest.raises(LinkLost):
                await one.dial(second.endpoint)


async def test_bytes_pass_both_ways_and_end_in_good_order() -> None:
    """Boundaries mean nothing; what was sent before the end arrives before it."""
    async with pair(MemoryNetwork(chunk=3)) as (one, other):
        assert (one.initiator, other.initiator) == (True, False)
        await other.send(b"ho")
        assert await one.receive() == b"ho"
        await one.send(b"hello")
        await one.aclose()
        await one.aclose()
        assert [await other.receive(), await other.receive()] == [b"hel", b"lo"]
        with pytest.raises(EndOfStream):
            await other.receive()
        with pytest.raises(LinkLost):
            await other.send(b"x")
        for use in (one.receive(), one.send(b"x")):
            with pytest.raises(LinkLost):
                await use


async def test_a_sender_waits_for_room_and_a_close_wakes_it() -> None:
    """Back-pressure; whoever waits when its end is closed gets LinkLost."""
    async with pair() as (one, other):
        lost: list[str] = []

        async def expect_loss(use: Callable[[], object]) -> None:
            with pytest.raises(LinkLost):
                await use()  # type: ignore[misc]
            lost.append("x")

        await one.send(b"x" * ROOM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_loss, lambda: one.send(b"more"))
            tasks.start_soon(expect_loss, one.receive)
            await anyio.wait_all_tasks_blocked()
            assert lost == []
            await one.aclose()
        assert len(lost) == 2
        assert await other.receive() == b"x" * ROOM


async def test_a_link_is_lost_in_the_middle_of_what_is_sent() -> None:
    """So many bytes arrive, and then both ends find it lost."""
    async with pair() as (one, other):
        one.lose_after(5)
        with pytest.raises(LinkLost):
            await one.send(b"123456789")
        assert await other.receive() == b"12345"
        for use in (other.receive(), other.send(b"x"), one.receive(), one.send(b"x")):
            with pytest.raises(LinkLost):
                await use
        assert not one.is_open


async def test_a_stalled_link_delivers_nothing_until_it_goes_on() -> None:
    """Bytes wait, and arrive afterwards; the other direction is not stalled."""
    async with pair() as (one, other):
        one.stall()
        await one.send(b"late")
        with anyio.move_on_after(0.05) as waiting:
            await other.receive()
        assert waiting.cancelled_caught
        await other.send(b"soon")
        assert await one.receive() == b"soon"
        one.resume()
        assert await other.receive() == b"late"


async def test_latency_slows_each_piece() -> None:
    """Three pieces take three times as long as one."""
    async with pair(MemoryNetwork(chunk=1, latency=0.02)) as (one, other):
        await one.send(b"abc")
        start = anyio.current_time()
        assert b"".join([await other.receive() for _ in range(3)]) == b"abc"
        assert anyio.current_time() - start >= 0.05


async def test_the_medium_goes_and_comes() -> None:
    """A cut loses links and sight of everybody; afterwards all are found again."""
    network = MemoryNetwork()
    async with running(network) as (one, _), running(network) as (other, host):
        await other.advertise(BEACON)
        async with one.discover() as found:
            endpoint = (await take(found)).endpoint
            link = await one.dial(endpoint)
            assert network.live == [link]
            network.cut()
            assert await take(found) == EndpointLost(endpoint)
            for end in (link, host.links[0]):
                with pytest.raises(LinkLost):
                    await end.receive()
            with pytest.raises(LinkLost):
                await one.dial(endpoint)
            network.mend()
            assert await take(found) == EndpointFound(endpoint, BEACON)
            assert network.live == []


async def test_what_a_stopped_transport_leaves() -> None:
    """It is seen no more, its links are lost, and it is not run twice."""
    network = MemoryNetwork()
    async with running(network) as (one, _), one.discover() as found:
        async with running(network) as (other, host):
            await other.advertise(BEACON)
            endpoint = (await take(found)).endpoint
            link = await one.dial(endpoint)
        assert await take(found) == EndpointLost(endpoint)
        with pytest.raises(LinkLost):
            await link.receive()
        with pytest.raises(LocalProtocolError):
            await other.run(host)
        with pytest.raises(LinkLost):
            await other.dial(Endpoint("memory", "1"))
