"""The bus in memory keeps the contract of a bus, and is as bad as it is told to be."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio.abc import ObjectReceiveStream

from berty_core.contracts.bus import Bus, Datagram, Endpoint, Priority
from berty_core.contracts.transport import State
from berty_core.errors import BudgetSpent, DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge
from berty_core.protocol.airtime import AirtimeLedger
from berty_core.testing.memory_bus import ROOM, MemoryBusNetwork, MemoryBusTransport, Weather

pytestmark = pytest.mark.anyio
Heard = ObjectReceiveStream[Datagram]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


class Host:
    """A node as far as a bus uses it."""

    logger = logging.getLogger("test")
    now = staticmethod(time.time)

    def __init__(self) -> None:
        self.states: list[State] = []

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Keep the state."""
        self.states.append(state)


@asynccontextmanager
async def buses(network: MemoryBusNetwork, count: int) -> AsyncIterator[list[Bus]]:
    """The buses of so many transports that run."""
    async with anyio.create_task_group() as tasks:
        transports = [MemoryBusTransport(network) for _ in range(count)]
        for transport in transports:
            await tasks.start(transport.run, Host())
        yield [await transport.bus() for transport in transports]
        tasks.cancel_scope.cancel()


async def say(bus: Bus, *words: bytes, topic: bytes | None = None, deadline: float | None = None) -> None:
    """Publish each of these."""
    for word in words:
        await bus.publish(word, topic=topic, priority=Priority.INTERACTIVE, deadline=deadline)


async def take(heard: Heard, count: int) -> list[bytes]:
    """The next so many datagrams."""
    return [(await heard.receive()).data for _ in range(count)]


def taken(heard: Heard) -> list[bytes]:
    """All that is there now."""
    found = []
    while True:
        try:
            found.append(heard.receive_nowait().data)  # type: ignore[attr-defined]
        except anyio.WouldBlock:
            return found


async def test_everybody_else_hears() -> None:
    """What one publishes comes to all others in order, and never back."""
    async with buses(MemoryBusNetwork(), 3) as (a, b, c), AsyncExitStack() as stack:
        mine, theirs, third = [await stack.enter_async_context(bus.subscribe(None)) for bus in (a, b, c)]
        await say(a, b"one", b"two")
        await say(b, b"three")
        assert await take(theirs, 2) == [b"one", b"two"]
        assert await take(third, 3) == [b"one", b"two", b"three"]
        assert await take(mine, 1) == [b"three"] and not taken(mine)


async def test_topics_are_told_apart() -> None:
    """A subscription hears its topic alone, and a bus with topics wants one."""
    async with (
        buses(MemoryBusNetwork(topics=True), 2) as (a, b),
        b.subscribe(b"x") as x,
        b.subscribe(b"y") as y,
    ):
        await say(a, b"for x", topic=b"x")
        assert await take(x, 1) == [b"for x"] and not taken(y)
        with pytest.raises(LocalProtocolError):
            await say(a, b"for nobody")
        with pytest.raises(LocalProtocolError):
            await say(a, b"too long a topic", topic=bytes(65))


async def test_limits_are_kept() -> None:
    """What is too long or too old is not sent, nor what is empty."""
    network = MemoryBusNetwork(mtu=20)
    async with buses(network, 1) as (a,):
        with pytest.raises(MessageTooLarge):
            await say(a, bytes(21))
        with pytest.raises(DeadlinePassed):
            await say(a, b"old", deadline=time.time() - 1)
        with pytest.raises(LocalProtocolError):
            await say(a, b"")
        await say(a, bytes(20), deadline=time.time() + 60)
    assert network.heard == [bytes(20)]


async def test_a_slow_listener_misses_the_oldest() -> None:
    """A subscription keeps so much and no more."""
    async with buses(MemoryBusNetwork(), 2) as (a, b), b.subscribe(None) as heard:
        await say(a, *(number.to_bytes(2, "big") for number in range(ROOM + 10)))
        assert taken(heard) == [number.to_bytes(2, "big") for number in range(10, ROOM + 10)]


async def test_chance_follows_the_seed() -> None:
    """The same seed loses and repeats the same datagrams, another one others."""

    async def run(seed: int) -> list[bytes]:
        network = MemoryBusNetwork(weather=Weather(loss=0.3, duplicate=0.3), seed=seed)
        async with buses(network, 2) as (a, b), b.subscribe(None) as heard:
            await say(a, *(bytes((number,)) for number in range(100)))
            return taken(heard)

    first, again, other = await run(1), await run(1), await run(2)
    assert first == again != other
    assert 40 < len(set(first)) < 90 and len(first) > len(set(first))


async def test_order_is_lost_where_it_is_told_to_be() -> None:
    """All come, not in the order in which they went."""
    sent = [bytes((number,)) for number in range(50)]
    network = MemoryBusNetwork(weather=Weather(reorder=0.5))
    async with buses(network, 2) as (a, b), b.subscribe(None) as heard:
        await say(a, *sent)
        came = await take(heard, 50)
    assert sorted(came) == sent != came


async def test_who_sends_does_not_hear() -> None:
    """Two that start at the same moment are both lost; one after the other is heard."""
    network = MemoryBusNetwork(weather=Weather(half_duplex=True, noticed_after=10), bitrate=200)
    async with buses(network, 3) as (a, b, c), c.subscribe(None) as heard:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say, a, b"both")
            tasks.start_soon(say, b, b"both")
        assert not taken(heard) and not network.heard
        await say(a, b"first")
        await say(b, b"second")
        assert await take(heard, 2) == [b"first", b"second"]


async def test_silence_is_waited_for() -> None:
    """Who wants to send while another one does waits, and both are heard."""
    network = MemoryBusNetwork(weather=Weather(half_duplex=True, noticed_after=0), bitrate=20_000)
    async with buses(network, 3) as (a, b, c), c.subscribe(None) as heard, anyio.create_task_group() as tasks:
        tasks.start_soon(say, a, bytes(100))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(say, b, b"later")
        assert await take(heard, 2) == [bytes(100), b"later"]


async def test_a_medium_that_is_cut() -> None:
    """Nothing can be published until it is mended, and subscriptions live on."""
    network = MemoryBusNetwork()
    async with buses(network, 2) as (a, b), b.subscribe(None) as heard:
        network.cut()
        with pytest.raises(LinkLost):
            await say(a, b"lost")
        network.mend()
        await say(a, b"heard")
        assert await take(heard, 1) == [b"heard"]


async def test_range_and_source() -> None:
    """Who is out of range hears nothing, and the source is told where the medium tells it."""
    network = MemoryBusNetwork(source=True, hears=lambda sender, listener: abs(sender - listener) == 1)
    async with buses(network, 3) as (a, b, c), b.subscribe(None) as near, c.subscribe(None) as far:
        await say(a, b"hello")
        assert await near.receive() == Datagram(b"hello", Endpoint("bus", "1"))
        assert not taken(far)


async def test_a_transport_that_stops() -> None:
    """Subscriptions end, and its calls say that the medium is gone."""
    network = MemoryBusNetwork()
    transport = MemoryBusTransport(network)
    async with anyio.create_task_group() as tasks:
        await tasks.start(transport.run, Host())
        bus = await transport.bus()
        async with bus.subscribe(None) as heard:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), pytest.raises(anyio.EndOfStream):
                await anyio.wait_all_tasks_blocked()
                await heard.receive()
    with pytest.raises(LinkLost):
        await transport.bus()
    with pytest.raises(LinkLost):
        await say(bus, b"late")
    with pytest.raises(LocalProtocolError):
        await transport.run(Host())  # type: ignore[arg-type]


async def test_the_budget_is_kept() -> None:
    """What the budget does not allow is not sent."""
    network = MemoryBusNetwork(budget=lambda host: AirtimeLedger(5.0, 3600.0, float))
    async with buses(network, 1) as (a,):
        assert network.traits.budgeted
        await say(a, b"one")
        with pytest.raises(BudgetSpent):
            await say(a, b"two")
    assert network.heard == [b"one"]
