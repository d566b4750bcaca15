"""Nodes that find each other over a network in memory, ask, talk, and keep one session: real sessions and stores.

On both backends: nothing of the runtime needs asyncio. (The LAN transport does, as zeroconf runs on asyncio only.)
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from berty_core.codec.cid import Cid
from berty_core.runtime.connectivity import dialling
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import (
    ask,
    becomes,
    befriend,
    contact_state,
    do,
    group_of,
    has,
    is_contact_in,
    no_session,
    nobody_dials,
    node_on,
    nodes_on,
    one_session_each,
    only_session,
    see,
    state_of,
    texts,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


async def test_two_who_met_by_a_link_talk(network: MemoryNetwork, tmp_path: Path) -> None:
    """A request, its acceptance, texts both ways, and the states of delivery up to acknowledged."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await ask(bob, ann)
        assert (await contact_state(ann, "Bob"), await contact_state(bob, "Ann")) == ("received", "added")
        early = await bob.send("Ann", "before you accepted")
        assert await state_of(bob, "Ann", early) == "stored"
        await do(ann, ann.actions.contact_accept, "Bob")
        await becomes(bob, "Ann", early, "acknowledged")
        cid = await ann.send("Bob", "hello")
        await becomes(ann, "Bob", cid, "acknowledged")
        assert await texts(ann, "Bob") == await texts(bob, "Ann") == ["before you accepted", "hello"]
        state = await see(ann, ann.actions.message_state, "Bob", str(cid))
        assert [view["name"] for view in state["acknowledged"]] == [view["name"] for view in state["held"]] == ["Bob"]
        await one_session_each(ann, bob)


async def test_who_holds_a_link_is_offered_no_group(network: MemoryNetwork, tmp_path: Path) -> None:
    """Neither side of a session that a link opened shows a group or their number, until the two are contacts."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        for node in (ann, bob):
            await group_of(node, name="mine")
        await ask(bob, ann)
        await anyio.sleep(0.3)  # longer than anything that could still be said takes
        assert only_session(ann).offered == frozenset()
        shared = await see(bob, lambda: bob.replica.contact_group(ann.replica.account_id))
        assert only_session(bob).offered == {shared.group.id}
        await do(ann, ann.actions.contact_accept, "Bob")
        await until(lambda: is_shared(ann, bob), "all are offered between contacts")


async def is_shared(*nodes: Node) -> bool:
    """Whether each node offers all its groups on its session."""
    return all(only_session(node).offered == set(node.replica.groups) for node in nodes)


async def test_without_acknowledgement_a_text_is_held(network: MemoryNetwork, tmp_path: Path) -> None:
    """What the other side holds is confirmed by its session, without an entry."""
    async with nodes_on(network, tmp_path, "Ann", "Bob", acknowledge="never") as (ann, bob):
        await befriend(bob, ann)
        cid = await ann.send("Bob", "hello")
        await becomes(ann, "Bob", cid, "held")
        await has(bob, "Ann", "hello")
        await anyio.sleep(0.3)  # longer than anything that could still be said takes
        assert await state_of(ann, "Bob", cid) == "held"


async def test_three_in_a_group_of_whom_two_never_meet(network: MemoryNetwork, tmp_path: Path) -> None:
    """What one writes reaches another by way of the third, who is on two networks; all have one order."""
    other = MemoryNetwork("elsewhere")
    async with (
        node_on(network, tmp_path / "Ann") as ann,
        node_on(network, tmp_path / "Bob", other) as bob,
        node_on(other, tmp_path / "Eve") as eve,
    ):
        await group_of(ann, bob, eve)
        for number in range(3):
            for node in (ann, bob, eve):
                await node.send("group", f"{node.replica.own_name()} {number}")
        wanted = [f"{name} {number}" for name in ("Ann", "Bob", "Eve") for number in range(3)]
        for node in (ann, bob, eve):
            await has(node, "group", *wanted)
        assert await texts(ann, "group") == await texts(bob, "group") == await texts(eve, "group")
        cid = await ann.send("group", "to Eve")
        await until(lambda: acknowledged_by(ann, "group", cid, "Bob", "Eve"), "both acknowledge")
        assert {session.transport for session in bob.sessions} == {"memory", "elsewhere"}


async def acknowledged_by(node: Node, to: str, cid: Cid, *names: str) -> bool:
    """Whether these acknowledged an own message."""
    views = (await see(node, node.actions.message_state, to, str(cid)))["acknowledged"]
    return {view["name"] for view in views} == set(names)


async def test_both_dial_at_once_and_one_session_stays(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither leaves the other time to dial first; of the two links the same one stays on both sides."""
    monkeypatch.setattr(dialling, "SECOND_DIALLER", 0.0)
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        network.cut()
        await no_session(ann, bob)
        await until(lambda: nobody_dials(ann, bob), "what they had begun is over")
        before = len(network.dialled)
        network.latency = 0.02  # so that neither is done before the other begins
        network.mend()
        await one_session_each(ann, bob)
        cid = await ann.send("Bob", "hello")
        await becomes(ann, "Bob", cid, "acknowledged")
        await one_session_each(ann, bob)
        assert only_session(ann).handshake_hash == only_session(bob).handshake_hash
        assert len(network.dialled) - before >= 2, "both dialled"
        assert len(network.live) == 1


async def test_a_link_to_nobody_waits_until_its_owner_comes(network: MemoryNetwork, tmp_path: Path) -> None:
    """A request to somebody who is away is kept, over a restart, and handed over later."""
    async with node_on(network, tmp_path / "Ann") as ann:
        link = (await do(ann, ann.actions.contact_link))["link"]
    async with node_on(network, tmp_path / "Bob") as bob:
        await do(bob, bob.actions.contact_add, link)
        assert await contact_state(bob, "Ann") == "to_request"
    async with nodes_on(network, tmp_path, "Bob", "Ann") as (bob, ann):
        await until(lambda: contact_state(ann, "Bob"), "the request arrives")
        assert await contact_state(bob, "Ann") == "added"


async def test_members_of_a_group_become_contacts(network: MemoryNetwork, tmp_path: Path) -> None:
    """A request travels in the session that the two have already, whoever dialled it."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await group_of(ann, bob)
        await one_session_each(ann, bob)
        session = only_session(ann)
        await befriend(bob, ann)
        await becomes(bob, "Ann", await bob.send("Ann", "hello"), "acknowledged")
        assert only_session(ann) is session


async def test_a_request_may_be_made_again_at_once(network: MemoryNetwork, tmp_path: Path) -> None:
    """A discarded request does not stand in the way of the next one, while the session of the first is still open."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await ask(bob, ann)
        await do(ann, ann.actions.contact_discard, "Bob")
        await do(bob, bob.actions.contact_block, "Ann")
        link = (await do(ann, ann.actions.contact_link))["link"]
        await do(bob, bob.actions.contact_add, link)  # whoever blocked somebody asks anew
        await until(lambda: is_contact_in(ann, "Bob", "received"), "the second request arrives")
