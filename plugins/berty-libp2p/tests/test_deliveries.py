"""How far a message has got over libp2p: what is told is what is known, and no more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.ids import DeviceId
from berty_core.protocol.group import GroupKind, LogKind
from berty_core.runtime.node import Node
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.runtime.sessions.profile_host import LogId, NodePort

from .application import until
from .test_exchange import Person, become_contacts, eventually, joined, person
from .test_exchange_rules import entries, group_of, wesh_peer

pytestmark = pytest.mark.anyio
SILENT = NodeConfig(keyring=False, acknowledge="never")


@asynccontextmanager
async def silent_person(directory: Path, name: str) -> AsyncIterator[Person]:
    """Somebody who acknowledges nothing."""
    async with Node.open(directory / name, name=name, config=SILENT, network=False) as node, joined(node) as exchange:
        yield Person(node, exchange, await exchange.node.listen("127.0.0.1"))


async def delivery(one: Person, to: str, cid: Cid) -> dict[str, Any]:
    """What is known of a message."""
    found: dict[str, Any] = await one.node.store.read(one.node.actions.message_state, to, str(cid))
    return found


async def becomes(one: Person, to: str, cid: Cid, state: str) -> dict[str, Any]:
    """Wait until a message is in a state; what is known of it then."""

    async def is_so() -> bool:
        return bool((await delivery(one, to, cid))["state"] == state)

    await eventually(is_so)
    return await delivery(one, to, cid)


def between(one: Person) -> GroupReplica:
    """The only contact group."""
    return next(group for group in one.node.replica.groups.values() if group.contact)


async def test_sent_then_held(tmp_path: Path) -> None:
    """A message that went out is unconfirmed; once the contact's own heads come behind it, its device holds it."""
    async with person(tmp_path, "Ann") as ann, silent_person(tmp_path, "Bob") as bob:
        await ann.exchange.node.dial(bob.address)
        await become_contacts(ann, bob, "Ann", "Bob")
        await bob.node.send("Ann", "first")
        await eventually(lambda: _read(ann, "Bob", "first"))
        cids = [await ann.node.send("Bob", text) for text in ("one", "two")]
        for cid in cids:
            assert (await becomes(ann, "Bob", cid, "sent"))["sent"] == ["libp2p"]
        await eventually(lambda: _read(bob, "Ann", "two"))
        await bob.node.send("Ann", "an answer")
        device = str(between(bob).device_id)
        for cid in cids:
            assert [one["device"] for one in (await becomes(ann, "Bob", cid, "held"))["held"]] == [device]


async def _read(one: Person, of: str, text: str) -> bool:
    return text in await one.texts(of)


async def test_who_has_not_shown_the_key_was_sent_nothing(tmp_path: Path) -> None:
    """A peer that follows the topic without a frame of its own may be anybody; a relay is nobody who holds for us."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            cid = await ann.node.send(group.id, "to whom?")
            await until(peer, peer.gossiped)
            assert (await delivery(ann, "club", cid))["state"] == "stored"
            await peer.send(ann, peer.frames.write(log, [], time.time()))
            later = await ann.node.send(group.id, "to you")
            assert (await becomes(ann, "club", later, "sent"))["sent"] == ["libp2p"]
            (block,) = entries(group, log, 1, (later,))
            await peer.send(ann, peer.frames.write(log, [block], time.time()))
            await eventually(lambda: _knows(ann, log.id, Cid.of(block)))
            assert (await delivery(ann, "club", later))["state"] == "sent"


async def _knows(one: Person, log: LogId, cid: Cid) -> bool:
    return not await NodePort(one.node, "libp2p").unknown(log, [cid])


async def test_held_needs_a_device_of_the_contact(tmp_path: Path) -> None:
    """Neither nobody, nor ourselves, nor a device that nobody announced, nor another group's log proves anything."""
    async with person(tmp_path, "Ann") as ann, silent_person(tmp_path, "Bob") as bob:
        await ann.exchange.node.dial(bob.address)
        await become_contacts(ann, bob, "Ann", "Bob")
        await bob.node.send("Ann", "first")
        await eventually(lambda: _read(ann, "Bob", "first"))
        cid = await ann.node.send("Bob", "one")
        group, port = between(ann), NodePort(ann.node, "libp2p")
        log, other = LogId(group.group.id, LogKind.MESSAGES), LogId(group.group.id, LogKind.METADATA)
        theirs = between(bob).device_id
        for device in (None, group.device_id, DeviceId(bytes([9]) * 32)):
            await port.named(log, [cid], device, heads=True)
        await port.named(other, [cid], theirs, heads=True)
        await port.named(log, [], theirs, heads=True)
        await port.named(log, [Cid.of(b"unknown")], theirs, heads=True)
        assert (await delivery(ann, "Bob", cid))["held"] == []
        await port.named(log, [cid], theirs, heads=True)
        assert len((await delivery(ann, "Bob", cid))["held"]) == 1


async def test_what_is_older_than_the_heads_is_held(tmp_path: Path) -> None:
    """Heads tell of their ancestors and of nothing beside or after them."""
    async with silent_person(tmp_path, "Ann") as ann, silent_person(tmp_path, "Bob") as bob:
        await ann.exchange.node.dial(bob.address)
        await become_contacts(ann, bob, "Ann", "Bob")
        await bob.node.send("Ann", "first")
        await eventually(lambda: _read(ann, "Bob", "first"))
        sent = [await ann.node.send("Bob", str(number)) for number in range(6)]
        group = between(ann)
        log = group.logs[LogKind.MESSAGES]

        def reached(*heads: Cid, limit: int = 100) -> list[Cid]:
            return sorted(log.reached(heads, sent, limit), key=sent.index)

        assert await ann.node.store.read(lambda: reached(sent[3])) == sent[:4]
        assert await ann.node.store.read(lambda: reached(sent[5])) == sent
        assert await ann.node.store.read(lambda: reached(sent[3], limit=2)) == sent[2:4]
        assert await ann.node.store.read(lambda: reached(Cid.of(b"unknown"))) == []


async def test_a_group_that_was_joined_becomes_live(tmp_path: Path) -> None:
    """History is not acknowledged; what is written once its heads are here is."""
    async with person(tmp_path, "Ann") as ann, person(tmp_path, "Bob") as bob:
        await ann.exchange.node.dial(bob.address)
        await ann.do(ann.node.actions.group_new, "club")
        history = await ann.node.send("club", "before you came")
        link = (await ann.do(ann.node.actions.group_invite, "club"))["link"]
        await bob.do(bob.node.actions.group_join, link, "", "club")

        async def live() -> bool:
            groups = bob.node.replica.groups.values()
            return all(group.live for group in groups if group.group.kind is GroupKind.MULTI_MEMBER)

        await eventually(live)
        club = next(group for group in bob.node.replica.groups.values() if group.group.kind is GroupKind.MULTI_MEMBER)
        log = LogId(club.group.id, LogKind.MESSAGES)
        await eventually(lambda: _announced(ann, club))
        await NodePort(ann.node, "libp2p").named(log, [history], club.device_id, heads=True)
        assert (await delivery(ann, "club", history))["held"] == []  # a third member could have said it
        cid = await ann.node.send("club", "now you are here")
        await becomes(ann, "club", cid, "acknowledged")
        assert (await delivery(ann, "club", history))["state"] != "acknowledged"


async def _announced(one: Person, group: GroupReplica) -> bool:
    return group.device_id in one.node.replica.groups[group.group.id].devices()
