"""Devices that meet by a session and on a bus: where the bus is dear, what sessions bring to all is not said there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from berty_core.protocol.airtime import AirtimeLedger
from berty_core.protocol.ranking import Policy
from berty_core.runtime.bus import hub as bus_hub
from berty_core.runtime.node import Node
from berty_core.runtime.why import why_message
from berty_core.testing.memory_bus import MemoryBusNetwork
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import becomes, group_of, has, no_session, node_on, one_session_each, until

Pair = tuple[Node, Node, MemoryNetwork]
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions get half a second."""
    monkeypatch.setattr(bus_hub, "GRACE", 0.5)


def dear() -> MemoryBusNetwork:
    """A bus with a limit of airtime that nobody here comes near to."""
    return MemoryBusNetwork(budget=lambda _: AirtimeLedger(1e9, 3600.0, float, monotonic=time.monotonic))


@asynccontextmanager
async def pair(
    bus: MemoryBusNetwork, directory: Path, **config: object
) -> AsyncIterator[tuple[Node, Node, MemoryNetwork]]:
    """Ann and Bob, in a group, with a session over wifi and a bus."""
    wifi = MemoryNetwork("wifi")
    async with (
        node_on(wifi, directory / "Ann", bus, **config) as ann,
        node_on(wifi, directory / "Bob", bus, **config) as bob,
    ):
        group = await group_of(ann, bob)
        await one_session_each(ann, bob)

        async def in_step() -> bool:
            return all(node.hub.met_elsewhere(group, "bus") for node in (ann, bob))

        await until(in_step, "the session carries the group")
        yield ann, bob, wifi


async def was_said(node: Node, cid: object) -> bool:
    """Whether a message went on the air of the bus."""
    (told,) = (await why_message(node, str(cid)))["buses"]
    return told["said"] is not None


async def test_a_dear_bus_is_spared(tmp_path: Path) -> None:
    """What the session brought and the other device confirmed is not said; without the session it is."""
    async with pair(dear(), tmp_path) as (ann, bob, wifi):
        hub = ann.hub.buses[0]
        spared = hub.spared
        cid = await ann.send("group", "by wifi")
        await becomes(ann, "group", cid, "held", "acknowledged")

        async def decided() -> bool:
            return hub.spared > spared

        await until(decided)
        assert not await was_said(ann, cid)
        (told,) = (await why_message(ann, str(cid)))["buses"]
        assert told["next"] == "it need not be said there: all others have it"
        wifi.cut()
        await no_session(ann, bob)
        cid = await ann.send("group", "by radio")
        await has(bob, "group", "by radio")
        await until(partial(was_said, ann, cid))


async def test_a_session_that_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that a session took and nobody confirmed is said on the bus after the grace."""
    monkeypatch.setattr(bus_hub, "GRACE", 0.02)  # before a digest makes others ask for it
    async with pair(dear(), tmp_path, acknowledge="never") as (ann, bob, wifi):
        wifi.stall()
        cid = await ann.send("group", "into the void")
        await has(bob, "group", "into the void")
        await until(partial(was_said, ann, cid))
        await becomes(ann, "group", cid, "held")


@pytest.mark.parametrize("limited", [False, True])
async def test_a_bus_that_costs_nothing_is_used_at_once(limited: bool, tmp_path: Path) -> None:
    """Both ways are used where it costs nothing; a quota makes a bus dear."""
    transports = {"bus": Policy(messages_per_day=100_000)} if limited else {}
    async with pair(MemoryBusNetwork(), tmp_path, transports=transports) as (ann, _, _):
        cid = await ann.send("group", "twice")
        await becomes(ann, "group", cid, "held", "acknowledged")

        async def decided() -> bool:
            return await was_said(ann, cid) or bool(ann.hub.buses[0].spared)

        await until(decided)
        assert await was_said(ann, cid) is not limited


async def test_one_who_has_the_bus_alone(tmp_path: Path) -> None:
    """Whoever is known and has no session is spoken to on the bus, at once."""
    bus, wifi = dear(), MemoryNetwork("wifi")
    async with (
        node_on(wifi, tmp_path / "Ann", bus) as ann,
        node_on(wifi, tmp_path / "Bob", bus) as bob,
        node_on(bus, tmp_path / "Eve") as eve,
    ):
        await group_of(ann, bob, eve)
        await one_session_each(ann, bob)
        cid = await ann.send("group", "to all")
        await has(eve, "group", "to all")
        await until(partial(was_said, ann, cid))
