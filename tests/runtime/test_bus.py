"""Nodes that share nothing but a bus: real nodes and stores, and a medium that loses, repeats and reorders."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from berty_core.contracts.transport import State, TransportHost
from berty_core.protocol.airtime import AirtimeLedger
from berty_core.runtime.node import Node
from berty_core.runtime.why import why_message, why_peer
from berty_core.testing.memory_bus import MemoryBusNetwork, Weather
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import becomes, do, group_of, has, node_on, nodes_on, see, texts, until

pytestmark = pytest.mark.anyio
BAD = Weather(loss=0.2, duplicate=0.1, reorder=0.2, half_duplex=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


async def test_three_on_a_bad_bus(tmp_path: Path) -> None:
    """All come to the same texts, each shown once, and who wrote them sees where they are."""
    bus = MemoryBusNetwork(weather=BAD, seed=1)
    async with nodes_on(bus, tmp_path, "Ann", "Bob", "Eve") as nodes:
        await group_of(*nodes)
        wanted = []
        for number in range(4):
            for node in nodes:
                wanted.append(f"{node.replica.own_name()} {number}")
                cid = await node.send("group", wanted[-1])
        for node in nodes:
            await has(node, "group", *wanted)
        await until(lambda: same_order(nodes), "all have one order")
        assert Counter(await texts(nodes[0], "group")) == Counter(wanted)
        await becomes(nodes[2], "group", cid, "acknowledged")
        assert not any(node.sessions for node in nodes)
    assert all(len(datagram) <= 233 for datagram in bus.heard)


async def same_order(nodes: list[Node]) -> bool:
    """Whether all nodes show the same texts in the same order."""
    shown = [await texts(node, "group") for node in nodes]
    return all(one == shown[0] for one in shown)


async def test_a_text_is_sent_then_held(tmp_path: Path) -> None:
    """On the air it counts as sent; held only once a device signed that it has it, without an entry."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob", acknowledge="never") as (ann, bob):
        await group_of(ann, bob)
        bus.cut()
        cid = await ann.send("group", "hello")
        assert (await see(ann, ann.actions.message_state, "group", str(cid)))["state"] == "stored"
        bus.mend()
        await becomes(ann, "group", cid, "sent", "held")
        await becomes(ann, "group", cid, "held")
        assert await texts(bob, "group") == ["hello"]


async def test_who_was_away_catches_up(tmp_path: Path) -> None:
    """What was written meanwhile is asked for and comes, in the order in which it was written."""
    bus = MemoryBusNetwork(weather=Weather(loss=0.1), seed=2)
    async with node_on(bus, tmp_path / "Ann") as ann:
        async with node_on(bus, tmp_path / "Bob") as bob:
            await group_of(ann, bob)
        wanted = [str(number) for number in range(80)]
        for text in wanted:
            await ann.send("group", text)
        async with node_on(bus, tmp_path / "Bob") as bob:
            await has(bob, "group", *wanted)
            assert await texts(bob, "group") == wanted


async def test_a_gateway(tmp_path: Path) -> None:
    """Who is on a bus and on another network brings each side what the other wrote."""
    bus, network = MemoryBusNetwork(), MemoryNetwork()
    async with (
        node_on(bus, tmp_path / "Ann") as ann,
        node_on(network, tmp_path / "Bob", bus) as bob,
        node_on(network, tmp_path / "Eve") as eve,
    ):
        await group_of(ann, bob, eve)
        await ann.send("group", "from the bus")
        await eve.send("group", "from the network")
        for node in (ann, bob, eve):
            await has(node, "group", "from the bus", "from the network")
        assert not ann.sessions and len(eve.sessions) == 1


async def test_a_bus_with_topics(tmp_path: Path) -> None:
    """Each group has its own topic, which says nothing to others."""
    bus = MemoryBusNetwork(topics=True)
    async with nodes_on(bus, tmp_path, "Ann", "Bob") as (ann, bob):
        group = await group_of(ann, bob)
        await ann.send("group", "hello")
        await has(bob, "group", "hello")
        assert not any(bytes(group)[:8] in datagram for datagram in bus.heard)


async def test_strangers_on_the_bus(tmp_path: Path) -> None:
    """Two groups share the air: neither reads the other, and noise and replays change nothing."""
    bus = MemoryBusNetwork()
    async with (
        nodes_on(bus, tmp_path / "one", "Ann", "Bob") as (ann, bob),
        nodes_on(bus, tmp_path / "other", "Eve", "Dan") as (eve, dan),
    ):
        group = await group_of(ann, bob)
        await group_of(eve, dan)
        await ann.send("group", "hello")
        await has(bob, "group", "hello")
        await eve.send("group", "another")
        await has(dan, "group", "another")
        hub = bob.hub.buses[0]
        before = await see(bob, lambda: [len(log) for log in bob.replica.groups[group].logs.values()])
        repeated = hub.repeated
        recorded = list(bus.heard)
        await do(bob, hub.receive, [*recorded, *(bytes(range(n)) for n in range(233))], bob.monotonic())
        assert hub.repeated > repeated
        assert await see(bob, lambda: [len(log) for log in bob.replica.groups[group].logs.values()]) == before
        assert await texts(bob, "group") == ["hello"] and await texts(dan, "group") == ["another"]
        assert hub.foreign and not hub.refused


async def test_airtime_is_kept(tmp_path: Path) -> None:
    """Where airtime is limited nothing is said beyond it, a text waits until it may, and comes."""
    ledgers: list[AirtimeLedger] = []

    def budget(host: TransportHost) -> AirtimeLedger:
        ledgers.append(AirtimeLedger(2000.0, 2.0, float, monotonic=time.monotonic))
        return ledgers[-1]

    bus = MemoryBusNetwork(budget=budget)
    async with nodes_on(bus, tmp_path, "Ann", "Bob") as (ann, bob):
        await group_of(ann, bob)
        for number in range(10):
            await ann.send("group", str(number))
        await has(bob, "group", *map(str, range(10)))
    assert len(ledgers) == 2
    assert sum(map(len, bus.heard)) > 2000


async def test_a_bus_that_is_too_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where datagrams cannot carry a confirmation the transport runs, and says that it carries no groups."""
    bus = MemoryBusNetwork(mtu=60)
    async with node_on(bus, tmp_path / "Ann") as ann:
        assert ann.connectivity is not None
        running = ann.connectivity.transports[0]

        async def told() -> bool:
            return running.state is State.ACTIVE and "carries no groups" in caplog.text

        await until(told)
        assert not bus.heard


async def test_why_tells_of_the_bus(tmp_path: Path) -> None:
    """A message that went over a bus says so for each device, and what happens next is said too."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob", acknowledge="never") as (ann, bob):
        await group_of(ann, bob)
        cid = await ann.send("group", "hello")
        await becomes(ann, "group", cid, "held")
        (device,) = (await why_message(ann, str(cid)))["devices"]
        assert [one["transport"] for one in device["tried"]] == [bus.name]
        assert f"said on {bus.name}, where 1 of this group were heard" in (await why_peer(ann, "group"))["next"]
        bus.cut()
        (device,) = (await why_message(ann, str(await ann.send("group", "anybody?"))))["devices"]
        assert (device["state"], device["tried"]) == ("stored", [])
        assert device["next"].startswith(f"on {bus.name}: it ")
