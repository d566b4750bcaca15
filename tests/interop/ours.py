"""Our side of a conversation with a Wesh peer: a node with the libp2p exchange, and the peer's acts as calls."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
from berty_libp2p.exchange import Exchange
from berty_libp2p.multiaddr import Multiaddr

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.codec.protobuf import parse
from berty_core.config import NodeConfig
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError
from berty_core.ids import AccountId, GroupId
from berty_core.protocol.entry import decode_entry
from berty_core.protocol.group import LogKind, decode_group
from berty_core.protocol.links import ContactLink, GroupLink, format_web
from berty_core.protocol.metadata import EventType
from berty_core.protocol.payloads import Content, decode_payload, encode_contact_metadata, encode_payload
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.profile_host import NodePort

from .line_protocol import PATIENCE, Json, WeshPeer, plain_errors

PEER = "Peer"  # what we call them
OURS = "Ours"  # what we call ourselves


async def until(what: str, condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until something is so on our side."""
    with anyio.move_on_after(PATIENCE):
        while not await condition():
            await anyio.sleep(0.01)
        return
    raise AssertionError(f"this did not come true within {PATIENCE:g} s: {what}")


@attrs.frozen
class Ours:
    """Our node."""

    node: Node
    exchange: Exchange
    address: str

    async def do(self, action: Callable[..., Any], *values: Any) -> Any:
        return await self.node.store.write(action, *values)

    async def see(self, action: Callable[..., Any], *values: Any) -> Any:
        return await self.node.store.read(action, *values)

    @property
    def account(self) -> str:
        """Our account's key as the line protocol has it."""
        return self.node.replica.account_id.hex()

    async def reads(self, conversation: str, *texts: str) -> None:
        """Wait until we have read these."""

        async def there() -> bool:
            found = await self.see(self.node.actions.read, conversation, 0, False)
            return set(texts) <= {view["text"] for view in found}

        await until(f"we read {texts}", there)

    async def becomes(self, conversation: str, cid: Cid, state: str) -> None:
        """Wait until a message of ours is in a state."""

        async def there() -> bool:
            found = await self.see(self.node.actions.message_state, conversation, str(cid))
            return bool(found["state"] == state)

        await until(f"our message is {state}", there)

    async def contact_is(self, state: str) -> Json:
        """Wait until our only contact is in a state; how we see it."""
        found: list[Json] = []

        async def there() -> bool:
            found[:] = await self.see(self.node.actions.contact_list)
            return [view["state"] for view in found] == [state]

        await until(f"the contact is {state}", there)
        return found[0]

    async def connected(self, count: int) -> None:
        """Wait until so many peers are connected."""

        async def there() -> bool:
            return len(self.exchange.node.peers) == count

        await until(f"{count} peers are connected", there)

    async def dial(self, address: str) -> None:
        """Connect to a peer, once."""
        await self.exchange.node.dial(Multiaddr.parse(address))

    def log(self, group: str, kind: LogKind) -> set[str]:
        """The identifiers of a log of ours."""
        replica = self.node.replica.groups[GroupId(bytes.fromhex(group))]
        return {str(cid) for cid in replica.logs[kind].cids()}


@asynccontextmanager
async def our_node(home: Path, profile_name: str) -> AsyncIterator[Ours]:
    """Our node; a home that is there already is opened as it is."""
    config = NodeConfig(keyring=False, profile=profile_name)
    async with (
        plain_errors(),
        Node.open(home, name=OURS, config=config, network=False) as node,
        joined(node) as exchange,
    ):
        yield Ours(node, exchange, str(await exchange.node.listen("127.0.0.1")))


@asynccontextmanager
async def joined(node: Node) -> AsyncIterator[Exchange]:
    """An exchange that runs for a node, and dials nobody by itself."""
    exchange = Exchange(PrivateKey(os.urandom(32)), NodePort(node, "libp2p"), time.monotonic)
    async with anyio.create_task_group() as tasks:
        await tasks.start(exchange.run)
        yield exchange
        tasks.cancel_scope.cancel()


@attrs.frozen
class Theirs:
    """The peer's acts, in the words of Berty's payloads."""

    peer: WeshPeer

    @property
    def account(self) -> str:
        return str(self.peer.ready["account_pk"])

    async def link(self) -> str:
        """Their link; requests are enabled first."""
        await self.peer.call("contact_enable")
        seed = (await self.peer.call("contact_ref")).get("seed") or (await self.peer.call("contact_reset"))["seed"]
        return format_web(ContactLink(AccountId(bytes.fromhex(self.account)), bytes.fromhex(seed), PEER))

    async def ask(self, us: Ours) -> None:
        """They ask us."""
        await us.do(us.node.actions.contact_link)
        seed = us.node.replica.account.registers.get("seed") or b""
        metadata = encode_contact_metadata(OURS).hex()
        own = encode_contact_metadata(PEER).hex()
        await self.peer.call("contact_request", pk=us.account, seed=seed.hex(), metadata=metadata, own_metadata=own)

    async def contact_event(self, event: EventType) -> Json:
        """Wait until their account group has an event about a contact."""
        return await self.peer.event("metadata", type=int(event), group=self.peer.ready["account_group_pk"])

    async def send(self, group: str, content: Content) -> Cid:
        """They write a message."""
        payload = encode_payload(content, int(time.time() * 1000)).hex()
        return Cid.parse((await self.peer.call("send", group=group, payload=payload))["cid"])

    async def tell(self, group: str, content: Content) -> None:
        """They write a payload into the metadata log."""
        await self.peer.call("send_meta", group=group, payload=encode_payload(content, int(time.time() * 1000)).hex())

    async def gets(self, group: str, content: Content) -> Json:
        """Wait until a message with this content has come to them."""

        def fits(event: Json) -> bool:
            return event.get("group") == group and _content(event["payload"]) == content

        return await self.peer.find("message", fits)

    async def is_told(self, group: str, content: Content) -> Json:
        """Wait until a metadata payload with this content has come to them."""

        def fits(event: Json) -> bool:
            if event.get("group") != group or event["type"] != EventType.PAYLOAD_SENT:
                return False
            sent = parse(pb.GroupMetadataPayloadSent, bytes.fromhex(event["payload"]))
            return _content(sent.message.hex()) == content

        return await self.peer.find("metadata", fits)

    async def has_member(self, group: str, device: str) -> None:
        """Wait until they know a device of a group, and its chain."""

        async def known() -> bool:
            answer = await self.peer.call("members", group=group)
            return any(
                one.get("device") == device and one.get("chain_key_known")
                for one in _records(answer)
                if "device" in one
            )

        await until("they have our chain", known)

    async def log(self, group: str, kind: LogKind) -> set[str]:
        """The identifiers of a log of theirs, of the blocks that they hold."""
        answer = await self.peer.call("log", group=group, store=kind.name.lower())
        return {str(Cid.of(block)) for block in _blocks(answer)}

    async def store_profile(self) -> str:
        """Which kind of stores they have: the account's log is named after it."""
        answer = await self.peer.call("log", group=self.peer.ready["account_group_pk"], store="metadata")
        for block in _blocks(answer):
            return "berty" if "_berty_group_" in decode_entry(block).log_id else "wesh"
        raise AssertionError("the peer's account group is empty: it did not announce its own device")

    async def invitation(self, group: str) -> str:
        """The link to a group of theirs."""
        proto = (await self.peer.call("group_invite", group=group))["invitation"]["proto"]
        return format_web(GroupLink(decode_group(parse(pb.Group, bytes.fromhex(proto))), "club"))


def _content(payload: str) -> Content | None:
    try:
        return decode_payload(bytes.fromhex(payload)).content
    except RemoteProtocolError:
        return None


def _records(value: Any) -> Iterator[Json]:
    """Every object in an answer, at any depth: how lists are wrapped is each program's own."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _records(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _records(inner)


def _blocks(value: Any) -> Iterator[bytes]:
    """Every log entry in an answer, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _blocks(inner)
    elif isinstance(value, str):
        try:
            block = bytes.fromhex(value)
            decode_entry(block)
        except (ValueError, RemoteProtocolError):
            return
        yield block
