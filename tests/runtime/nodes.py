"""Nodes of this process that meet over a network in memory; all else of them is what runs anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.ids import GroupId
from berty_core.plugins import Plugins, load_plugins
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.peer_session import PeerSession
from berty_core.testing.memory_bus import MemoryBusNetwork
from berty_core.testing.memory_transport import MemoryNetwork

PATIENCE = 15.0
Json = dict[str, Any]
Medium = MemoryNetwork | MemoryBusNetwork


def plugins_on(*networks: Medium) -> Plugins:
    """What is installed, with these networks in place of the LAN."""
    plugins = load_plugins(disabled=["mdns", "libp2p", "udp"])
    for network in networks:
        plugins.hooks.register(network, network.name)
    return plugins


@asynccontextmanager
async def node_on(network: Medium, home: Path, *more: Medium, **config: Any) -> AsyncIterator[Node]:
    """A node whose account is called as its home."""
    async with Node.open(
        home, name=home.name, config=NodeConfig(keyring=False, **config), plugins=plugins_on(network, *more)
    ) as node:
        yield node


@asynccontextmanager
async def nodes_on(network: Medium, directory: Path, *names: str, **config: Any) -> AsyncIterator[list[Node]]:
    """Some nodes at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(node_on(network, directory / name, **config)) for name in names]


async def until(condition: Callable[[], Awaitable[object]], what: str = "") -> None:
    """Wait until something is so."""
    with anyio.move_on_after(PATIENCE):
        while not await condition():
            await anyio.sleep(0.005)
        return
    raise AssertionError(f"this did not come true within {PATIENCE:g} s: {what or condition}")


async def do(node: Node, action: Callable[..., Any], *values: Any) -> Any:
    """Change something."""
    return await node.store.write(action, *values)


async def see(node: Node, action: Callable[..., Any], *values: Any) -> Any:
    """Look at something."""
    return await node.store.read(action, *values)


async def texts(node: Node, to: str) -> list[str]:
    """All texts of a conversation in its order, without changing what is unread."""
    return [view["text"] for view in await node.store.read(node.actions.read, to, 0, False)]


async def has(node: Node, to: str, *wanted: str) -> None:
    """Wait until all of these were received."""

    async def all_there() -> bool:
        return set(wanted) <= set(await texts(node, to))

    await until(all_there, f"{node.replica.own_name()} reads {wanted} of {to}")


async def state_of(node: Node, to: str, cid: Cid) -> str:
    """The state of delivery of an own message."""
    return str((await node.store.read(node.actions.message_state, to, str(cid)))["state"])


async def becomes(node: Node, to: str, cid: Cid, *states: str) -> None:
    """Wait until an own message is in one of these states."""

    async def there() -> bool:
        return await state_of(node, to, cid) in states

    await until(there, f"the message of {node.replica.own_name()} becomes {states}")


async def contact_state(node: Node, name: str) -> str:
    """What somebody is to a node; empty if it is unknown."""
    views = await node.store.read(node.actions.contact_list)
    return next((str(view["state"]) for view in views if view["name"] == name), "")


async def ask(node: Node, other: Node) -> None:
    """Add the other's link, and wait until the request is there."""
    link = (await other.store.write(other.actions.contact_link))["link"]
    await node.store.write(node.actions.contact_add, link)
    name = node.replica.own_name()

    async def arrived() -> bool:
        return await contact_state(other, name) in ("received", "added")

    await until(arrived, f"the request of {name} arrives")


async def befriend(node: Node, other: Node) -> None:
    """Make contacts of two nodes, who are in step afterwards."""
    await ask(node, other)
    await other.store.write(other.actions.contact_accept, node.replica.own_name())
    await have_met(node, other)


async def have_met(node: Node, other: Node) -> None:
    """Wait until both hold each other's device in their contact group."""

    async def know() -> bool:
        groups = [
            await one.store.read(one.replica.contact_group, two.replica.account_id)
            for one, two in ((node, other), (other, node))
        ]
        return all(group is not None and len(group.devices()) == 2 for group in groups)

    await until(know, "both know each other's device")


async def group_of(founder: Node, *members: Node, name: str = "group") -> GroupId:
    """A group whose members know of each other."""
    view = await founder.store.write(founder.actions.group_new, name)
    link = (await founder.store.read(founder.actions.group_invite, name))["link"]
    for member in members:
        await member.store.write(member.actions.group_join, link)
    group = GroupId(bytes.fromhex(view["id"]))

    async def know() -> bool:
        counts = [len(await see(node, node.replica.groups[group].devices)) for node in (founder, *members)]
        return counts == [1 + len(members)] * len(counts)

    await until(know, "all members know of each other")
    return group


def only_session(node: Node) -> PeerSession:
    """The one session of a node."""
    (session,) = node.sessions
    return session


async def one_session_each(*nodes: Node) -> None:
    """Wait until each node has one open session."""

    async def alone() -> bool:
        return all(len(node.sessions) == 1 and node.sessions[0].is_open for node in nodes)

    await until(alone, "one session each")


async def no_session(*nodes: Node) -> None:
    """Wait until no node has a session."""

    async def alone() -> bool:
        return not any(node.sessions for node in nodes)

    await until(alone, "no session")


async def nobody_dials(*nodes: Node) -> bool:
    """Whether no node is about to dial, nor waits for its turn."""
    return not any(node.connectivity.dialling.reaching for node in nodes if node.connectivity)


async def is_contact_in(node: Node, name: str, state: str) -> bool:
    """Whether somebody is in this state to a node."""
    return await contact_state(node, name) == state


async def said(node: Node, words: str) -> bool:
    """Whether a node gave these words as the reason of a decision."""
    assert node.connectivity is not None
    return any(words in decision.words for decision in node.connectivity.decisions)
