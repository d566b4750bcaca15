"""The same sessions and the same sync over datagrams that are lost, repeated and out of order."""

from __future__ import annotations

from pathlib import Path

import anyio
import attrs
import pytest

from berty_core.protocol.group import LogKind
from berty_core.protocol.payloads import UserMessage
from berty_core.testing.memory_datagrams import TRAITS, MemoryDatagrams

from .nodes import becomes, befriend, do, group_of, has, nodes_on, one_session_each, see, texts, until

pytestmark = pytest.mark.anyio
FAULTS = {"loss": 0.2, "duplication": 0.1, "reorder": 0.2, "delay": 0.001, "spread": 0.01}


def medium(mtu: int = 233, **faults: float) -> MemoryDatagrams:
    """A bad one, where an end that goes tells nobody."""
    return MemoryDatagrams(traits=attrs.evolve(TRAITS, mtu=mtu), seed=11, tells_end=False, **{**FAULTS, **faults})


@pytest.mark.parametrize("mtu", [233, 20])
async def test_two_people_meet_talk_and_share_a_group(tmp_path: Path, mtu: int) -> None:
    """Requests, invitations, texts and confirmations work as over TCP, with datagrams of any size."""
    async with nodes_on(medium(mtu), tmp_path, "alice", "bob") as (alice, bob):
        await befriend(alice, bob)
        cid = await do(alice, alice.actions.send, "bob", UserMessage("hello bob"))
        await has(bob, "alice", "hello bob")
        await becomes(alice, "bob", cid, "held", "acknowledged")
        group = await group_of(alice, bob, name="friends")
        cid = await do(bob, bob.actions.send, "friends", UserMessage("hello all"))
        await has(alice, "friends", "hello all")
        await becomes(bob, "friends", cid, "held", "acknowledged")
        assert len(await see(alice, alice.replica.groups[group].devices)) == 2


async def test_a_thousand_messages_are_caught_up_with(tmp_path: Path) -> None:
    """Who was away for a thousand messages gets them all, in order, over a bad medium."""
    network = medium()
    async with nodes_on(network, tmp_path, "alice", "bob", acknowledge="never") as (alice, bob):
        log = bob.replica.groups[await group_of(alice, bob)].logs[LogKind.MESSAGES]
        network.cut()
        for number in range(1000):
            await do(alice, alice.actions.send, "group", UserMessage(f"text {number}"))
        network.mend()
        with anyio.fail_after(90):
            while await see(bob, lambda: sum(1 for _ in log.cids())) < 1000:
                await anyio.sleep(0.1)

        async def readable() -> bool:
            return len(await texts(bob, "group")) == 1000

        await until(readable, "all texts can be read")
        assert await texts(bob, "group") == [f"text {number}" for number in range(1000)]


async def test_a_silent_medium_is_left_and_found_again(tmp_path: Path) -> None:
    """When nothing comes through any more the session ends by itself, and another one begins when it does again."""
    network = medium(loss=0.0)
    async with nodes_on(network, tmp_path, "alice", "bob") as (alice, bob):
        await group_of(alice, bob)
        await one_session_each(alice, bob)
        network.loss = 1.0

        async def quiet() -> bool:
            return not any(way._flying for link in network.live for way in (link.outgoing, link.incoming))  # type: ignore[attr-defined]

        await until(quiet, "what was under way arrives")
        await anyio.wait_all_tasks_blocked()
        for session in (*alice.sessions, *bob.sessions):
            session.probe()

        async def over() -> bool:
            return not any(session.is_open for session in (*alice.sessions, *bob.sessions))

        await until(over, "the sessions end")
        network.loss = 0.0
        cid = await do(alice, alice.actions.send, "group", UserMessage("again"))
        await has(bob, "group", "again")
        await becomes(alice, "group", cid, "held", "acknowledged")
