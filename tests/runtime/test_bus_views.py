"""What a node tells of its buses: who speaks there, what was said and heard, and what became of a message."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from berty_core.cli.node import bus_lines
from berty_core.cli.why import _print_message, _print_peer
from berty_core.protocol.ranking import Policy
from berty_core.runtime.node import Node
from berty_core.runtime.status import status
from berty_core.runtime.why import why_message, why_peer
from berty_core.testing.memory_bus import MemoryBusNetwork

from .nodes import Json, becomes, do, group_of, node_on, nodes_on, state_of, until

pytestmark = pytest.mark.anyio


async def bus_of(node: Node) -> Json:
    """What status tells of the one bus."""
    (transport,) = (await status(node))["transports"]
    view: Json = transport["bus"]
    return view


async def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Groups, members heard, datagrams both ways and what was not taken, as values and as text."""
    bus = MemoryBusNetwork()
    async with nodes_on(bus, tmp_path, "Ann", "Bob", acknowledge="never") as (ann, bob):
        group = await group_of(ann, bob)
        await becomes(ann, "group", await ann.send("group", "hello"), "held")
        hub = ann.hub.buses[0]
        await do(ann, hub.receive, [*bus.heard, b"noise"], ann.monotonic())
        view = await bus_of(ann)
        told = {one["name"]: one for one in view["groups"]}["group"]
        assert (told["id"], told["members"]) == (str(group), 1)
        assert [one["name"] for one in told["devices"]] == ["Bob"]
        assert abs(told["devices"][0]["at"] - time.time()) < 60
        heard, said = view["heard"], view["said"]
        assert heard and said and view["bytes_heard"] > heard and view["bytes_said"] > said
        assert view["repeated"] and view["foreign"] and not view["refused"] and not view["silent"]
        lines = bus_lines("bus", view)
        assert lines[0].startswith(f"bus: {said} datagrams said ({view['bytes_said']} bytes), {heard} heard")
        assert any("group, 1 member heard in the last hour; confirmed by Bob at " in line for line in lines)


async def test_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A message that nobody confirmed: when it was said, how often the others were asked, and when they are next."""
    bus = MemoryBusNetwork()
    async with node_on(bus, tmp_path / "Ann", acknowledge="never") as ann:
        async with node_on(bus, tmp_path / "Bob", acknowledge="never") as bob:
            await group_of(ann, bob)
            await becomes(ann, "group", await ann.send("group", "hello"), "held")
        cid = await ann.send("group", "anybody there?")
        await becomes(ann, "group", cid, "sent")

        async def asked() -> bool:
            (told,) = (await why_message(ann, str(cid)))["buses"]
            return 0 < told["questions"] < 4 and told["next_question"] is not None

        await until(asked)
        view = await why_message(ann, str(cid))
        (told,) = view["buses"]
        assert told["transport"] == "bus" and abs(told["said"] - time.time()) < 60
        assert "nobody confirmed it" in told["next"]
        (device,) = view["devices"]
        assert device["state"] == "sent" and device["next"].startswith("on bus: nobody confirmed it")
        _print_message(view)
        assert "On the bus bus: said at " in capsys.readouterr().out
        peer = await why_peer(ann, "group")
        assert [(one["transport"], one["members"]) for one in peer["buses"]] == [("bus", 1)]
        assert peer["next"].startswith("what is written is said on bus, where 1 of this group")
        _print_peer(peer)
        assert "On the bus bus: 1 member heard in the last hour, Bob confirmed something" in capsys.readouterr().out
        async with node_on(bus, tmp_path / "Bob", acknowledge="never"):
            await becomes(ann, "group", cid, "held")
            (told,) = (await why_message(ann, str(cid)))["buses"]
            assert told["next"].startswith("somebody has it")


async def test_what_a_quota_holds_back(tmp_path: Path) -> None:
    """A message that may not be said waits, and the reason is told everywhere."""
    bus = MemoryBusNetwork()
    async with node_on(bus, tmp_path / "Ann", transports={"bus": Policy(messages_per_day=1)}) as ann:
        await ann.store.write(ann.actions.group_new, "group")
        cid = await ann.send("group", "hello")
        words = "the quota of bus is used up (1 messages a day)"

        async def spent() -> bool:
            return bool((await bus_of(ann))["silent"] == words)

        await until(spent)
        assert await state_of(ann, "group", cid) == "stored"
        (told,) = (await why_message(ann, str(cid)))["buses"]
        assert told["said"] is None and told["next"] == f"nothing is said there now: {words}"
        peer = await why_peer(ann, "group")
        assert peer["buses"][0]["silent"] == words
        assert (await bus_of(ann))["waiting"]
        assert f"bus: nothing is said now: {words}" in bus_lines("bus", await bus_of(ann))


async def test_a_closed_group_is_not_listened_to(tmp_path: Path) -> None:
    """Its topic is unsubscribed, those of the others stay."""
    bus = MemoryBusNetwork(topics=True)
    async with node_on(bus, tmp_path / "Ann") as ann:
        (transport,) = bus._transports

        def topics() -> set[bytes | None]:
            return {one.topic for one in transport.subscriptions}

        async def count(number: int) -> bool:
            return len(topics()) == number

        await until(lambda: count(2), "the account's and the one for beacons")
        before = topics()
        await ann.store.write(ann.actions.group_new, "group")
        await until(lambda: count(3), "the group's too")
        await ann.store.write(ann.actions.group_leave, "group")
        await until(lambda: count(2), "the group's no more")
        assert topics() == before
