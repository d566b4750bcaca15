"""What happens on live sessions between real nodes: links that break, groups that come and go, disks that are full."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from berty_core.errors import StoreFull
from berty_core.runtime.node import Node
from berty_core.runtime.sessions import peer_session
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import (
    becomes,
    befriend,
    contact_state,
    do,
    group_of,
    has,
    is_contact_in,
    no_session,
    node_on,
    nodes_on,
    one_session_each,
    only_session,
    said,
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


# -- parting and meeting again -----------------------------------------------------------------


def long(text: str) -> str:
    """A text of which thirty are more than one stream takes at once."""
    return text + " " * 20_000


async def test_both_write_while_they_are_apart(network: MemoryNetwork, tmp_path: Path) -> None:
    """After a cut, and after a restart of one, both have all of it in one order."""
    async with node_on(network, tmp_path / "Ann") as ann:
        async with node_on(network, tmp_path / "Bob") as bob:
            await befriend(bob, ann)
            network.cut()
            await no_session(ann, bob)
            for number in range(30):
                await ann.send("Bob", long(f"a{number}"))
                await bob.send("Ann", long(f"b{number}"))
            assert await texts(ann, "Bob") == [long(f"a{number}") for number in range(30)]
        network.mend()
        async with node_on(network, tmp_path / "Bob") as bob:
            everything = [long(f"{who}{number}") for who in "ab" for number in range(30)]
            await has(ann, "Bob", *everything)
            await has(bob, "Ann", *everything)
            assert await texts(ann, "Bob") == await texts(bob, "Ann")
            cid = await ann.send("Bob", "the last one")
            await becomes(ann, "Bob", cid, "acknowledged")


@pytest.mark.parametrize("count", [0, 1, 100, 1000, 30_000])
async def test_a_link_that_is_lost_in_the_middle_of_a_frame(count: int, network: MemoryNetwork, tmp_path: Path) -> None:
    """Whatever had arrived of it, the next session brings the rest, each text once."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await one_session_each(ann, bob)
        (link,) = network.live
        end = link if only_session(ann).session.initiator else link.remote_end
        end.lose_after(count)
        sent = [f"{number} " + "x" * 2000 for number in range(20)]
        for text in sent:
            cid = await ann.send("Bob", text)
        await has(bob, "Ann", *sent)
        await becomes(ann, "Bob", cid, "acknowledged")
        assert await texts(bob, "Ann") == sent
        assert not link.is_open


async def test_a_slow_link_in_small_pieces(tmp_path: Path) -> None:
    """Frames may arrive byte by byte, and late."""
    network = MemoryNetwork(chunk=97, latency=0.0005)
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        cid = await ann.send("Bob", "hello")
        await becomes(ann, "Bob", cid, "acknowledged")


# -- changes on a live session -----------------------------------------------------------------


async def test_a_group_that_is_left_and_joined_again(network: MemoryNetwork, tmp_path: Path) -> None:
    """On one live session, several times, by the one who dialled it and by the other."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        group = await group_of(ann, bob)
        await one_session_each(ann, bob)
        session = only_session(ann)
        link = (await see(ann, ann.actions.group_invite, "group"))["link"]
        for node, other in ((ann, bob), (bob, ann)) * 2:
            await do(node, node.actions.group_leave, "group")
            await until(lambda: withdrawn(ann, bob, group), "the group is withdrawn")
            text = f"while {node.replica.own_name()} was away {len(await texts(other, 'group'))}"
            cid = await other.send("group", text)
            await anyio.sleep(0.1)
            assert await state_of(other, "group", cid) == "stored"
            await do(node, node.actions.group_join, link)
            await has(node, "group", text)
            await becomes(other, "group", cid, "acknowledged")
        assert only_session(ann) is session, [*ann.connectivity.decisions, "--", *bob.connectivity.decisions]
        assert session.is_open


async def withdrawn(one: Node, other: Node, group: bytes) -> bool:
    """Whether a group takes part in no session of these any more."""
    return not any(group in session.groups for node in (one, other) for session in node.sessions)


async def test_a_group_that_is_left_and_joined_again_at_once(network: MemoryNetwork, tmp_path: Path) -> None:
    """Faster than the other side can answer, many times: it is in step in the end."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await group_of(ann, bob)
        link = (await see(ann, ann.actions.group_invite, "group"))["link"]
        for node in (ann, bob) * 3:
            await do(node, node.actions.group_leave, "group")
            only_session(node).offer_groups()
            await do(node, node.actions.group_join, link)
            only_session(node).offer_groups()
        for node, other in ((ann, bob), (bob, ann)):
            await becomes(node, "group", await node.send("group", f"by {node.replica.own_name()}"), "acknowledged")
            await has(other, "group", f"by {node.replica.own_name()}")


async def test_a_contact_that_is_blocked_and_unblocked(network: MemoryNetwork, tmp_path: Path) -> None:
    """Nothing passes while it is blocked; asked again by its link, it gets what was written meanwhile."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await group_of(ann, bob)  # so that a session stays
        await one_session_each(ann, bob)
        session = only_session(ann)
        contact = (await see(ann, ann.replica.contact_group, bob.replica.account_id)).group.id
        await do(ann, ann.actions.contact_block, "Bob")
        await until(lambda: withdrawn(ann, bob, contact), "the contact group is withdrawn")
        cid = await bob.send("Ann", "do you hear me?")
        await becomes(bob, "group", await bob.send("group", "I wrote to you"), "acknowledged")
        assert await state_of(bob, "Ann", cid) == "stored"
        await do(ann, ann.actions.contact_unblock, "Bob")
        assert await contact_state(ann, "Bob") == "removed"
        link = (await do(bob, bob.actions.contact_link))["link"]
        await do(ann, ann.actions.contact_add, link)
        await becomes(bob, "Ann", cid, "acknowledged")
        await has(ann, "Bob", "do you hear me?")
        assert only_session(ann) is session


async def test_a_blocked_contact_may_not_ask(network: MemoryNetwork, tmp_path: Path) -> None:
    """Its request changes nothing, and does not disturb a group that both are in."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await group_of(ann, bob)
        await befriend(bob, ann)
        await one_session_each(ann, bob)
        session = only_session(ann)
        await do(ann, ann.actions.contact_block, "Bob")
        link = (await do(ann, ann.actions.contact_link))["link"]
        await do(bob, bob.actions.contact_block, "Ann")
        await do(bob, bob.actions.contact_add, link)  # whoever blocked somebody asks anew
        await until(lambda: is_contact_in(bob, "Ann", "added"), "the request was handed over")
        await becomes(bob, "group", await bob.send("group", "hello"), "acknowledged")
        assert await contact_state(ann, "Bob") == "blocked"
        assert only_session(ann) is session


async def test_a_beacon_that_changes_keeps_the_session(network: MemoryNetwork, tmp_path: Path) -> None:
    """A new advert, as in each period, neither ends a session nor makes a second one."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await one_session_each(ann, bob)
        session, dialled = only_session(ann), len(network.dialled)
        for number in range(3):
            await do(ann, ann.actions.group_new, f"of Ann alone {number}")  # which changes what she shows
            await until(lambda: shows(bob, ann), "Bob knows Ann's new beacon")
        await becomes(ann, "Bob", await ann.send("Bob", "hello"), "acknowledged")
        assert only_session(ann) is session
        assert len(network.dialled) == dialled


async def shows(node: Node, other: Node) -> bool:
    """Whether a node's session knows under which nonce the other one shows itself now."""
    assert other.connectivity is not None
    return only_session(node).beacon_nonce == other.connectivity.adverts.present.beacon.nonce


async def test_a_dead_link_is_found_when_the_network_changes(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose peer gives no sign of life then makes room for another."""
    monkeypatch.setattr(peer_session, "PROBE_TIMEOUT", 0.2)
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await one_session_each(ann, bob)
        session, (link,) = only_session(ann), network.live
        link.stall()
        link.remote_end.stall()
        cid = await ann.send("Bob", "hello")
        for node in (ann, bob):
            assert node.connectivity is not None
            node.connectivity.probe_all("memory")
        await becomes(ann, "Bob", cid, "acknowledged")
        assert "no sign of life" in session.closed_because


# -- failures and the end ----------------------------------------------------------------------


async def test_a_full_disk_ends_the_session_and_loses_nothing(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be stored is not confirmed, and comes once there is room."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await one_session_each(ann, bob)
        store = bob.replica.records.store

        def full(*_: object, **__: object) -> None:
            raise StoreFull("no room left: a test asked for it")

        with monkeypatch.context() as patch:
            patch.setattr(store, "commit", full)
            cid = await ann.send("Bob", "hello")
            await until(lambda: said(bob, "no room left"), "Bob says why the session ended")
            assert await state_of(ann, "Bob", cid) in ("stored", "sent")
            with pytest.raises(StoreFull):
                await bob.send("Ann", "hello")
        await becomes(ann, "Bob", cid, "acknowledged")
        assert await texts(bob, "Ann") == ["hello"]


async def test_a_node_that_is_stopped_in_the_middle_of_traffic(network: MemoryNetwork, tmp_path: Path) -> None:
    """It ends soon, with all that was confirmed; the other one sees its link end."""
    sent: list[str] = []
    async with node_on(network, tmp_path / "Ann") as ann:
        async with node_on(network, tmp_path / "Bob") as bob:
            await befriend(bob, ann)

            async def chatter() -> None:
                while True:
                    text = f"{len(sent)} " + "x" * 1000
                    await bob.send("Ann", text)
                    sent.append(text)

            async def are_some_sent() -> bool:
                return len(sent) > 20

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(chatter)
                await until(are_some_sent)
                tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                bob.stop()
                await anyio.sleep_forever()
        await no_session(ann)
        assert network.live == []
        async with node_on(network, tmp_path / "Bob") as bob:
            assert await texts(bob, "Ann") in (sent, [*sent, f"{len(sent)} " + "x" * 1000])
            await has(ann, "Bob", *sent)


async def test_a_node_ends_although_its_peer_takes_nothing(network: MemoryNetwork, tmp_path: Path) -> None:
    """A link that is full and stalled does not hold up the end."""
    async with node_on(network, tmp_path / "Ann") as ann:
        async with node_on(network, tmp_path / "Bob") as bob:
            await befriend(bob, ann)
            await one_session_each(ann, bob)
            (link,) = network.live
            link.stall()
            link.remote_end.stall()
            for number in range(100):
                await bob.send("Ann", f"{number} " + "x" * 5000)
            start = anyio.current_time()
        assert anyio.current_time() - start < 3
        assert ann.replica.own_name() == "Ann"


@pytest.mark.faults
async def test_a_fault_of_the_program_costs_one_session(
    network: MemoryNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of ends a session, is in the log, and the next session goes on where it was."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        session = only_session(ann)

        async def has_ended() -> bool:
            return bool(session.closed_because)

        with monkeypatch.context() as patch:
            patch.setattr(session, "_take", lambda event: 1 / 0)
            await bob.send("Ann", "hello")
            await until(has_ended, "the session ended")
        assert session.closed_because == "a fault of this program, which its log has"
        assert "ZeroDivisionError" in caplog.text
        await has(ann, "Bob", "hello")
