"""Two and three whole nodes that have nothing but libp2p between them: contacts, groups, messages, history."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from berty_libp2p.exchange import Exchange
from berty_libp2p.multiaddr import Multiaddr

from berty_core.config import NodeConfig
from berty_core.crypto.keys import PrivateKey
from berty_core.runtime.node import Node, create_home
from berty_core.runtime.replica.archive import export_archive, read_archive
from berty_core.runtime.sessions.profile_host import NodePort

pytestmark = pytest.mark.anyio

CONFIG = NodeConfig(keyring=False)


async def eventually(condition: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    with anyio.fail_after(seconds):
        while not await condition():
            await anyio.sleep(0.01)


class Person:
    """A node with its exchange."""

    def __init__(self, node: Node, exchange: Exchange, address: Multiaddr) -> None:
        self.node, self.exchange, self.address = node, exchange, address

    async def do(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await self.node.store.write(function, *arguments)

    async def texts(self, of: str) -> list[str]:
        found: list[dict[str, Any]] = await self.node.store.read(self.node.actions.read, of, 0, False)
        return [message["text"] for message in found]

    async def contacts(self) -> dict[str, str]:
        found = await self.node.store.read(self.node.actions.contact_list)
        return {contact["name"]: contact["state"] for contact in found}


@asynccontextmanager
async def joined(node: Node) -> AsyncIterator[Exchange]:
    """An exchange that runs for a node."""
    exchange = Exchange(PrivateKey(os.urandom(32)), NodePort(node, "libp2p"), time.monotonic)
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run)
        yield exchange
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def person(directory: Path, name: str) -> AsyncIterator[Person]:
    """A node without any other network."""
    async with Node.open(directory / name, name=name, config=CONFIG, network=False) as node, joined(node) as exchange:
        yield Person(node, exchange, await exchange.node.listen("127.0.0.1"))


async def become_contacts(one: Person, two: Person, name_of_one: str, name_of_two: str) -> None:
    """By a request over libp2p: `two` has the link of `one`."""
    link = (await one.do(one.node.actions.contact_link))["link"]
    await two.do(two.node.actions.contact_add, link, "", name_of_one)
    await eventually(lambda: _has(one, name_of_two))
    await one.do(one.node.actions.contact_accept, name_of_two)


async def _has(one: Person, name: str) -> bool:
    return name in await one.contacts()


async def _reads(one: Person, of: str, texts: set[str]) -> bool:
    return texts <= set(await one.texts(of))


@pytest.mark.parametrize("dialler", [0, 1])
async def test_from_a_link_to_a_conversation(tmp_path: Path, dialler: int) -> None:
    """A contact request, the contact's group, and texts both ways, whoever dialled."""
    async with person(tmp_path, "Ann") as ann, person(tmp_path, "Bob") as bob:
        people = (ann, bob)
        await people[dialler].exchange.node.dial(people[1 - dialler].address)
        await become_contacts(ann, bob, "Ann", "Bob")
        await ann.node.send("Bob", "hello Bob")
        await bob.node.send("Ann", "hello Ann")
        await eventually(lambda: _reads(bob, "Ann", {"hello Bob", "hello Ann"}))
        await eventually(lambda: _reads(ann, "Bob", {"hello Bob", "hello Ann"}))
        assert ann.exchange.refused == bob.exchange.refused == 0


async def test_what_was_written_apart_comes_together(tmp_path: Path) -> None:
    """A hundred texts on each side of a cut arrive on the other after it, by heads and blocks."""
    async with person(tmp_path, "Ann") as ann, person(tmp_path, "Bob") as bob:
        await ann.exchange.node.dial(bob.address)
        await become_contacts(ann, bob, "Ann", "Bob")
        await ann.node.send("Bob", "first")
        await eventually(lambda: _reads(bob, "Ann", {"first"}))
        ann.exchange.node.close_peer(bob.exchange.node.peer_id)
        await eventually(lambda: _apart(ann, bob))
        mine, theirs = ({f"{who} {number}" for number in range(100)} for who in ("ann", "bob"))
        for text in sorted(mine):
            await ann.node.send("Bob", text)
        for text in sorted(theirs):
            await bob.node.send("Ann", text)
        await ann.exchange.node.dial(bob.address)
        await eventually(lambda: _reads(bob, "Ann", mine | theirs))
        await eventually(lambda: _reads(ann, "Bob", mine | theirs))


async def _apart(one: Person, two: Person) -> bool:
    return not one.exchange.node.peers and not two.exchange.node.peers


async def test_two_devices_of_one_account(tmp_path: Path) -> None:
    """A second device that has the account's keys alone gets the groups of the first one, and what is said in them."""
    async with person(tmp_path, "Ann") as ann:
        with (tmp_path / "keys.tar").open("wb") as file:
            await ann.node.store.read(export_archive, ann.node.replica, file)
        create_home(
            tmp_path / "phone", "", config=CONFIG, use_keyring=False, archive=read_archive(tmp_path / "keys.tar")
        )
        await ann.do(ann.node.actions.group_new, "club")
        await ann.node.send("club", "from the first device")
        async with person(tmp_path, "phone") as phone:
            await phone.exchange.node.dial(ann.address)
            await eventually(lambda: _knows(phone, "club"))
            await eventually(lambda: _reads(phone, "club", {"from the first device"}))
            await phone.node.send("club", "from the second")
            await eventually(lambda: _reads(ann, "club", {"from the second"}))


async def _knows(one: Person, group: str) -> bool:
    return group in [found["name"] for found in await one.node.store.read(one.node.actions.group_list)]


async def test_a_group_of_three_in_a_row(tmp_path: Path) -> None:
    """Ann and Cid know only Bob: what either writes in their group reaches the other through him."""
    async with AsyncExitStack() as stack:
        ann, bob, cid = [await stack.enter_async_context(person(tmp_path, name)) for name in ("Ann", "Bob", "Cid")]
        await ann.exchange.node.dial(bob.address)
        await cid.exchange.node.dial(bob.address)
        await bob.do(bob.node.actions.group_new, "trio")
        link = (await bob.do(bob.node.actions.group_invite, "trio"))["link"]
        for one in (ann, cid):
            await one.do(one.node.actions.group_join, link, "", "trio")
        await eventually(lambda: _members(ann, 3))
        await eventually(lambda: _members(cid, 3))
        await ann.node.send("trio", "from Ann")
        await cid.node.send("trio", "from Cid")
        await bob.node.send("trio", "from Bob")
        for one in (ann, bob, cid):
            await eventually(lambda one=one: _reads(one, "trio", {"from Ann", "from Bob", "from Cid"}))


async def _members(one: Person, count: int) -> bool:
    shown = await one.node.store.read(one.node.actions.group_show, "trio")
    return bool(shown["members"] == count)
