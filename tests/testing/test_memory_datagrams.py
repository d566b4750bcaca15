"""The poor medium in memory loses, repeats and reorders exactly as its seed says, and breaks where a test asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from berty_core.contracts.transport import Link
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError, MessageTooLarge
from berty_core.testing.memory_datagrams import ROOM, TRAITS, MemoryDatagrams
from berty_core.testing.memory_transport import MemoryLink

from .test_memory_transport import pair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


@asynccontextmanager
async def link_over(**options: Any) -> AsyncIterator[tuple[MemoryLink, Link]]:
    """The two ends of a link over such a medium."""
    async with pair(MemoryDatagrams(**options)) as ends:
        yield ends


async def arrivals(seed: int, **options: Any) -> list[bytes]:
    """What comes of two hundred numbered datagrams, all of which are sent before the end."""
    got: list[bytes] = []
    async with link_over(seed=seed, **options) as (one, other), anyio.create_task_group() as tasks:

        async def listen() -> None:
            with pytest.raises(EndOfStream):
                while True:
                    got.append(await other.receive())

        tasks.start_soon(listen)
        for number in range(200):
            await one.send(bytes([number]))
        await one.aclose()
    return got


async def test_a_good_medium_keeps_boundaries_and_order() -> None:
    """Without faults every datagram comes once, whole and in order, both ways."""
    async with link_over() as (one, other):
        for size in (1, 2, 233):
            await one.send(bytes(size))
            await other.send(bytes(size))
        assert [len(await other.receive()) for _ in range(3)] == [1, 2, 233]
        assert [len(await one.receive()) for _ in range(3)] == [1, 2, 233]


async def test_the_seed_decides_what_is_lost_and_repeated() -> None:
    """The same seed gives the same fate, another one another."""
    faults = {"loss": 0.3, "duplication": 0.2}
    first, second, third = [await arrivals(seed, **faults) for seed in (1, 1, 2)]
    assert first == second
    assert first != third
    assert 100 < len(set(first)) < 180
    assert len(first) > len(set(first))
    assert first == sorted(first)


async def test_reordered_datagrams_all_arrive() -> None:
    """Reordering loses nothing."""
    got = await arrivals(3, reorder=0.5)
    assert got != sorted(got)
    assert sorted(got) == [bytes([number]) for number in range(200)]


async def test_what_does_not_fit_is_refused_and_promises_are_kept() -> None:
    """A datagram has 1 to mtu bytes; traits that promise what the medium breaks are refused."""
    async with link_over() as (one, _):
        with pytest.raises(MessageTooLarge):
            await one.send(bytes(234))
        with pytest.raises(LocalProtocolError):
            await one.send(b"")
    good = attrs.evolve(TRAITS, reliable=True, ordered=True)
    for fault in ("loss", "reorder", "duplication"):
        with pytest.raises(LocalProtocolError):
            MemoryDatagrams(traits=good, **{fault: 0.1})  # type: ignore[arg-type]


async def test_a_sender_waits_for_room_and_a_close_wakes_it() -> None:
    """Back-pressure; whoever waits when its end is closed gets LinkLost."""
    async with link_over() as (one, _), anyio.create_task_group() as tasks:
        woken = anyio.Event()

        async def fill() -> None:
            with pytest.raises(LinkLost):
                while True:
                    await one.send(b"x")
            woken.set()

        tasks.start_soon(fill)
        while one.outgoing.sent < ROOM:  # type: ignore[attr-defined]
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        await one.aclose()
        with anyio.fail_after(5):
            await woken.wait()


async def test_a_medium_that_tells_nobody() -> None:
    """Without `tells_end` the other end hears nothing, and what it sends goes nowhere."""
    async with link_over(tells_end=False) as (one, other):
        await one.send(b"last")
        await one.aclose()
        assert await other.receive() == b"last"
        for _ in range(2 * ROOM):
            await other.send(b"?")
        with anyio.move_on_after(0.01) as scope:
            await other.receive()
        assert scope.cancelled_caught
        with pytest.raises(LinkLost):
            await one.receive()


async def test_a_path_is_cut_on_purpose() -> None:
    """What was under way arrives, then both ends find the link lost; the medium comes back."""
    network = MemoryDatagrams()
    async with pair(network) as (one, other):
        await one.send(b"x")
        network.cut()
        assert await other.receive() == b"x"
        for end in (one, other):
            with pytest.raises(LinkLost):
                await end.receive()
            with pytest.raises(LinkLost):
                await end.send(b"x")
        assert not network.live


async def test_a_stalled_link_delivers_later() -> None:
    """Nothing comes while it is stalled, and all of it afterwards."""
    async with link_over() as (one, other):
        one.stall()
        await one.send(b"x")
        with anyio.move_on_after(0.01) as scope:
            await other.receive()
        assert scope.cancelled_caught
        one.resume()
        assert await other.receive() == b"x"
