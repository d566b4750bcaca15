"""A datagram link becomes a stream: exact bytes, back-pressure, a good end, and errors that are the link's."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from berty_core.contracts.transport import Endpoint, Link
from berty_core.errors import EndOfStream, LinkLost
from berty_core.protocol.arq.stream import ReliableStream
from berty_core.protocol.fragments import Fragments
from berty_core.runtime.sessions.datagram_stream import DatagramStream, as_stream
from berty_core.testing.memory_datagrams import TRAITS, MemoryDatagrams
from berty_core.testing.memory_transport import MemoryNetwork

pytestmark = pytest.mark.anyio
BAD = {"loss": 0.2, "duplication": 0.2, "reorder": 0.2}
SAFE = attrs.evolve(TRAITS, reliable=True, ordered=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


class Clock:
    """What a stream may use of its node."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = anyio.current_time
        self.entropy: Callable[[int], bytes] = os.urandom


@asynccontextmanager
async def streams(network: MemoryNetwork | None = None, **options: Any) -> AsyncIterator[tuple[Link, Link]]:
    """The two ends of a link over a poor medium, as streams."""
    network = network or MemoryDatagrams(**options)
    one, other = network._open(Endpoint(network.name, "1"))
    async with anyio.create_task_group() as tasks:
        yield as_stream(one, Clock(), tasks), as_stream(other, Clock(), tasks)
        tasks.cancel_scope.cancel()


async def read_all(link: Link) -> bytes:
    """Everything up to the good end."""
    data = bytearray()
    with pytest.raises(EndOfStream):
        while True:
            data += await link.receive()
    return bytes(data)


@pytest.mark.parametrize("mtu", [20, 233, 65507])
async def test_both_ways_at_once_over_a_bad_medium(mtu: int) -> None:
    """Bytes arrive exactly, and then the end."""
    contents = [random.Random(number).randbytes(8000) for number in range(2)]
    async with streams(traits=attrs.evolve(TRAITS, mtu=mtu), **BAD) as ends, anyio.create_task_group() as tasks:
        got = [bytearray(), bytearray()]

        async def listen(number: int) -> None:
            while len(got[number]) < 8000:
                got[number] += await ends[number].receive()

        for number in range(2):
            tasks.start_soon(listen, number)
            tasks.start_soon(ends[number].send, contents[number])
    assert got == [contents[1], contents[0]]


@pytest.mark.parametrize("options", [BAD, {"traits": SAFE}, {}], ids=["bad", "safe", "good"])
async def test_a_good_end(options: dict[str, Any]) -> None:
    """What was sent before the end arrives before it; the end is seen once all is read, and nothing can be sent."""
    content = random.Random(1).randbytes(5000)
    async with streams(**options) as (one, other), anyio.create_task_group() as tasks:

        async def talk() -> None:
            await one.send(content)
            await one.aclose()
            await one.aclose()

        tasks.start_soon(talk)
        assert await read_all(other) == content
        with pytest.raises(LinkLost):
            await other.send(b"x")
        with pytest.raises(EndOfStream):
            await other.receive()
        for use in (one.send(b"x"), one.receive()):
            with pytest.raises(LinkLost):
                await use
        await other.aclose()


async def test_traits_choose_the_machine() -> None:
    """A stream stays as it is; datagrams that are never lost are only cut; others are acknowledged."""
    async with streams() as (poor, _), streams(traits=SAFE) as (safe, _), streams(MemoryNetwork()) as (stream, _):
        assert isinstance(poor, DatagramStream) and isinstance(poor._machine, ReliableStream)
        assert isinstance(safe, DatagramStream) and isinstance(safe._machine, Fragments)
        assert not isinstance(stream, DatagramStream)
        for link in (poor, safe, stream):
            assert link.traits.stream and link.traits.reliable and link.traits.ordered and link.traits.mtu == 0


@pytest.mark.parametrize("options", [{"traits": SAFE}, {}], ids=["safe", "good"])
async def test_a_reader_that_waits_stops_the_writer(options: dict[str, Any]) -> None:
    """Back-pressure, and no more is held than the buffers say; then all of it arrives."""
    size = 1_000_000
    async with streams(**options) as (one, other), anyio.create_task_group() as tasks:
        sent = 0

        async def talk() -> None:
            nonlocal sent
            for _ in range(size // 1000):
                await one.send(bytes(1000))
                sent += 1000
            await one.aclose()

        tasks.start_soon(talk)
        before = -1
        while sent != before:
            before = sent
            await anyio.sleep(0.05)
        assert 0 < sent < 400_000
        assert len(await read_all(other)) == size


async def test_closing_wakes_who_waits() -> None:
    """Whoever sends or receives gets LinkLost."""
    async with streams(loss=1.0, tells_end=False) as (one, _), anyio.create_task_group() as tasks:
        lost: list[str] = []

        async def use(action: Callable[[], Any]) -> None:
            try:
                await action()
            except LinkLost as error:
                lost.append(str(error))

        tasks.start_soon(use, one.receive)
        tasks.start_soon(use, lambda: one.send(bytes(1_000_000)))
        await anyio.wait_all_tasks_blocked()
        await one.aclose()
        with anyio.fail_after(5):
            while len(lost) < 2:
                await anyio.sleep(0.001)
        assert set(lost) == {"the link was closed here"}


async def test_a_cut_is_a_lost_link() -> None:
    """When the medium breaks, both ends know, after what came in time is read."""
    network = MemoryDatagrams()
    async with streams(network) as (one, other):
        await one.send(b"hello")
        assert await other.receive() == b"hello"
        one._link.lose()  # type: ignore[attr-defined]
        for end in (one, other):
            with pytest.raises(LinkLost, match="the link broke"):
                await end.receive()
            with pytest.raises(LinkLost):
                await end.send(b"x")


async def test_the_two_kinds_do_not_mix() -> None:
    """An end that takes the link for a better or worse one than the other does is refused in words."""
    network = MemoryDatagrams()
    one, other = network._open(Endpoint(network.name, "1"))
    other.traits = SAFE
    async with anyio.create_task_group() as tasks:
        poor, safe = as_stream(one, Clock(), tasks), as_stream(other, Clock(), tasks)
        await poor.send(b"x")
        with pytest.raises(LinkLost, match="does not take this link for one that never loses"):
            await safe.receive()
        tasks.cancel_scope.cancel()
    one, other = network._open(Endpoint(network.name, "2"))
    one.traits = SAFE
    async with anyio.create_task_group() as tasks:
        safe, poor = as_stream(one, Clock(), tasks), as_stream(other, Clock(), tasks)
        await safe.send(b"x")
        with pytest.raises(LinkLost, match="takes this link for one that never loses"):
            await poor.receive()
        tasks.cancel_scope.cancel()


@attrs.define
class BadDriver:
    """A link whose driver raises what it should not, and hands up what no medium carries."""

    traits = TRAITS
    remote = Endpoint("bad", "1")
    initiator = False
    closed: int = 0
    given: list[Any] = attrs.field(factory=list)

    async def send(self, data: bytes) -> None:
        """Take nothing."""
        raise ZeroDivisionError

    async def receive(self) -> bytes:
        """Something, then an error."""
        await anyio.sleep(0)  # noqa: ASYNC115  a driver's own doing
        if not self.given:
            raise KeyError("what is this")
        return self.given.pop()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Not even that."""
        self.closed += 1
        raise ValueError


async def test_a_driver_that_raises_costs_its_link_alone() -> None:
    """Whatever a driver raises or hands up, the link is lost in words, and closed."""
    driver = BadDriver(given=[b"", bytes(100_000), b"\xff" * 5])
    async with anyio.create_task_group() as tasks:
        link = as_stream(driver, Clock(), tasks)
        with pytest.raises(LinkLost, match="the driver failed: KeyError"):
            await link.receive()
        await link.aclose()
    assert driver.closed == 1
