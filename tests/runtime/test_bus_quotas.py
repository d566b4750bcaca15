"""What a person allows a transport holds for its bus too: it counts, it is refused with a reason, restarts included."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import attrs
import pytest

from berty_core.codec.cid import Cid
from berty_core.contracts.transport import State
from berty_core.protocol.ranking import Policy
from berty_core.runtime.bus.on_bus import OnBus
from berty_core.runtime.drivers import airtime_queue
from berty_core.runtime.drivers.running import RunningTransport
from berty_core.runtime.node import Node
from berty_core.testing.memory_bus import MemoryBusNetwork

from .nodes import becomes, group_of, has, node_on, nodes_on, state_of, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


def bus_of(node: Node) -> RunningTransport:
    """The one transport of a node."""
    assert node.connectivity is not None
    (running,) = node.connectivity.transports
    return running


async def listens(bus: MemoryBusNetwork) -> bool:
    """Whether the transport that came last has both subscriptions."""
    return len(bus._transports[-1].subscriptions) == 2


async def is_out_or_spent(node: Node, cid: Cid) -> bool:
    """Whether a message was said, or cannot be."""
    return bool(bus_of(node).may_pass()) or await state_of(node, "group", cid) != "stored"


async def is_spent(node: Node) -> None:
    """Wait until a node may not speak any more."""

    async def spent() -> bool:
        return bool(bus_of(node).may_pass())

    await until(spent, "the quota is used up")


async def test_datagrams_count_and_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a message; with the last of them nothing is said, also after a restart, until they are a day old."""
    monkeypatch.setattr(airtime_queue, "LONGEST_LOOK", 0.02)
    bus = MemoryBusNetwork()
    home = tmp_path / "Ann"
    async with node_on(bus, tmp_path / "Bob", acknowledge="never") as bob:
        async with node_on(bus, home, transports={"bus": Policy(messages_per_day=100_000)}) as ann:
            await group_of(ann, bob)
            await bob.send("group", "Ann can read what Bob writes")
            await has(ann, "group", "Ann can read what Bob writes")
            heard = len(bus.heard)
            used = bus_of(ann).usage.view()["messages"]["used"]
            assert 0 < used < heard
        limit = int(used) + 60
        few = {"bus": Policy(messages_per_day=limit)}
        async with node_on(bus, home, transports=few, acknowledge="never") as ann:
            while not bus_of(ann).may_pass():
                cid = await ann.send("group", "a little more")
                await until(partial(is_out_or_spent, ann, cid))
            assert bus_of(ann).may_pass() == f"the quota of bus is used up ({limit} messages a day)"
            assert bus_of(ann).usage.view()["messages"]["used"] == limit
        async with node_on(bus, home, transports=few, acknowledge="never") as ann:
            assert bus_of(ann).may_pass()
            cid = await ann.send("group", "too much")
            await until(lambda: listens(bus), "Ann listens to groups and beacons")
            await bob.send("group", "what others say is heard all the same")
            await has(ann, "group", "what others say is heard all the same")
            assert await state_of(ann, "group", cid) == "stored"
            assert bus_of(ann).usage.view()["messages"]["used"] == limit
            bus_of(ann).usage._now = lambda: time.time() + 100_000
            await becomes(ann, "group", cid, "held")


@pytest.mark.parametrize("policy", [Policy(bytes_per_day=3000), Policy(airtime_per_hour=0.02)])
async def test_bytes_and_airtime(policy: Policy, tmp_path: Path) -> None:
    """The same for bytes, which count both ways and once each, and for time on the air."""
    bus = MemoryBusNetwork()
    async with (
        node_on(bus, tmp_path / "Bob") as bob,
        node_on(bus, tmp_path / "Ann", transports={"bus": policy}) as ann,
    ):
        view = await ann.store.write(ann.actions.group_new, "group")
        assert view
        for number in range(40):
            await ann.send("group", str(number))
        await is_spent(ann)
        said = len(bus.heard)
        ((what, amount),) = bus_of(ann).usage.view().items()
        transport: object = bus_of(ann).transport
        assert isinstance(transport, OnBus) and transport.guarded is not None
        own = transport.guarded.bytes_said * 8 / bus.traits.bitrate
        expected = {"bytes": sum(map(len, bus.heard)), "airtime": own}[what]
        assert amount["limit"] <= amount["used"] == pytest.approx(expected, rel=0.01)
        cid = await ann.send("group", "too much")
        for number in range(3):
            await bob.send(bob.replica.account.group.id, str(number))
        assert await state_of(ann, "group", cid) == "stored"
        assert len(bus.heard) - said < 20


async def test_a_bus_that_costs_money(tmp_path: Path) -> None:
    """It costs by listening alone, so it rests where its settings forbid that, and says so."""
    bus = MemoryBusNetwork()
    bus.traits = attrs.evolve(bus.traits, metered=True)
    async with node_on(bus, tmp_path / "Ann", transports={"bus": Policy(metered="never")}) as ann:

        async def rests() -> bool:
            return bus_of(ann).state is State.PAUSED

        await until(rests)
        assert bus_of(ann).reasons == ("it costs money, which its settings forbid (metered)",)
        assert not bus.heard


async def test_a_bus_that_rests(tmp_path: Path) -> None:
    """In the background nothing is said on it; in the foreground it is there again, and what was written comes."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob", transports={"bus": Policy(when="foreground")}) as (ann, bob):
        await group_of(ann, bob)
        ann.set_foreground(False)

        async def rests() -> bool:
            return bus_of(ann).state is State.PAUSED

        await until(rests)
        cid = await ann.send("group", "later")
        assert await state_of(ann, "group", cid) == "stored"
        ann.set_foreground(True)
        await has(bob, "group", "later")
