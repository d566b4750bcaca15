"""The known endpoints and their subscribers."""

from __future__ import annotations

import anyio
import pytest
from berty_mdns.directory import Directory, Entry

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost

pytestmark = pytest.mark.anyio
ONE, TWO = Beacon(bytes(8), ()), Beacon(b"12345678", ())


def entry(beacon: Beacon = ONE, until: float = 100.0) -> Entry:
    return Entry(beacon, (("192.0.2.1", 1),), until)


async def test_a_subscriber_hears_what_is_known_and_then_each_change():
    """Known endpoints come first; a changed beacon is told, the same one again is not."""
    directory = Directory("mdns")
    directory.put("a", entry())
    async with directory.subscribe() as events:
        assert EndpointFound(Endpoint("mdns", "a"), ONE) == await events.receive()
        directory.put("a", entry(until=200.0))
        directory.put("a", entry(TWO))
        assert EndpointFound(Endpoint("mdns", "a"), TWO) == await events.receive()
        directory.drop("a")
        directory.drop("a")
        assert EndpointLost(Endpoint("mdns", "a")) == await events.receive()
        directory.close()
        with pytest.raises(anyio.EndOfStream):
            await events.receive()


async def test_what_comes_and_goes_unread_is_not_kept():
    """A subscriber that reads nothing costs no memory for endpoints that are gone, and loses none that matter."""
    directory = Directory("mdns")
    async with directory.subscribe() as events:
        directory.put("old", entry())
        await events.receive()
        for number in range(5000):
            directory.put(str(number), entry())
            directory.drop(str(number))
        directory.drop("old")

        assert len(events._waiting) == 1
        assert EndpointLost(Endpoint("mdns", "old")) == await events.receive()


async def test_newcomers_beyond_the_limit_wait():
    """A full directory keeps those it has and changes them."""
    directory = Directory("mdns", limit=2)

    assert [directory.put(name, entry()) for name in "abc"] == [True, True, False]
    assert directory.put("a", entry(TWO))
    directory.drop("b")
    assert directory.put("c", entry())


async def test_a_waiting_subscriber_is_woken():
    """A subscriber that waits hears of a change that comes later."""
    directory = Directory("mdns")
    async with directory.subscribe() as events:
        with anyio.fail_after(1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(events.receive)
                await anyio.wait_all_tasks_blocked()
                directory.put("a", entry())


async def test_doubt_shortens_belief():
    """After doubt, an endpoint is due at the new time unless it was due earlier."""
    directory = Directory("mdns")
    directory.put("a", entry(until=3.0))
    directory.put("b", entry(until=100.0))
    directory.doubt_all(10.0)

    assert directory.due(2.0) == []
    assert directory.due(3.0) == ["a"]
    assert directory.due(10.0) == ["a", "b"]
