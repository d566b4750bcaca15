"""Ann and Bob, and somebody else who reaches Ann: a stranger, or a member who speaks the protocol by hand."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import attrs
from anyio.abc import ObjectReceiveStream

from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.contracts.transport import Beacon, EndpointFound, EndpointLost
from berty_core.crypto.keys import PrivateKey, Secret, x25519_pair
from berty_core.errors import EndOfStream, LinkLost
from berty_core.protocol.group import BERTY, Group, LogKind
from berty_core.protocol.offers import MAX_FRAME, GroupOffers, GroupProven
from berty_core.protocol.rendezvous import advert_tag, group_point, session_secret
from berty_core.protocol.session import NodeIdentity, Opened, Session, StreamData, StreamEnded
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryLink, MemoryNetwork, MemoryTransport

from .nodes import becomes, befriend, group_of, nodes_on, see, until
from .strangers import Stranger


@attrs.frozen
class Scene:
    """Ann and Bob, who have a group, and somebody else who reached Ann."""

    ann: Node
    bob: Node
    group: Group
    network: MemoryNetwork
    stranger: MemoryTransport
    found: EndpointFound

    async def dial(self) -> MemoryLink:
        """A new link to Ann."""
        return await self.stranger.dial(self.found.endpoint)

    async def still_talk(self) -> None:
        """Ann and Bob go on as if nothing had been."""
        cid = await self.bob.send("group", "do you hear me?")
        await becomes(self.bob, "group", cid, "acknowledged")

    async def said(self, words: str) -> None:
        """Wait until Ann gives these words as the reason why a session ended."""

        async def there() -> bool:
            assert self.ann.connectivity is not None
            return any(words in decision.words for decision in self.ann.connectivity.decisions)

        await until(there, f"Ann says {words!r}")


@asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    """Ann and Bob talk, and a stranger sees them."""
    network = MemoryNetwork()
    async with nodes_on(network, directory, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        group_id = await group_of(ann, bob)
        group = await see(ann, lambda: ann.replica.groups[group_id].group)
        async with anyio.create_task_group() as tasks:
            stranger = MemoryTransport(network)
            await tasks.start(stranger.run, Stranger())
            async with stranger.discover() as discovered:
                yield Scene(ann, bob, group, network, stranger, await find(ann, group, discovered))
            tasks.cancel_scope.cancel()


async def find(
    node: Node, group: Group, discovered: ObjectReceiveStream[EndpointFound | EndpointLost]
) -> EndpointFound:
    """The endpoint of a node: the one that shows its present nonce."""
    with anyio.fail_after(10):
        async for event in discovered:
            assert node.connectivity is not None
            own = node.connectivity.adverts.present.beacon
            if isinstance(event, EndpointFound) and event.beacon == own and tag_of(group, own) in own.tags:
                return event
    raise AssertionError("the transport stopped")


def point_of(group: Group) -> bytes:
    """The point at which the members of a group meet."""
    return group_point(group.address(BERTY, LogKind.METADATA).text, group.link_key)


def tag_of(group: Group, beacon: Beacon) -> bytes:
    """The tag by which a group is shown in an advert."""
    return advert_tag(point_of(group), beacon.nonce)


class Insider:
    """A member of the group that speaks the protocol by hand, as far as it wants to."""

    def __init__(self, here: Scene, link: MemoryLink) -> None:
        assert here.found.beacon is not None
        self.here, self.link = here, link
        self.device = PrivateKey(os.urandom(32))
        key = Secret(os.urandom(32))
        self.session = Session.dial(
            NodeIdentity(key, x25519_pair(key)[1], os.urandom(8)),
            tag_of(here.group, here.found.beacon),
            session_secret(point_of(here.group)),
            Secret(os.urandom(32)),
            0.0,
        )
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.hash = b""

    async def flush(self) -> None:
        """Send what is to be sent."""
        if data := self.session.take():
            await self.link.send(data)

    async def step(self) -> None:
        """Take in what comes next."""
        with anyio.fail_after(10):
            events = self.session.receive(await self.link.receive(), 0.0)
        for event in events:
            match event:
                case Opened():
                    self.hash = event.handshake_hash
                case StreamData(number, data):
                    self.received[number] = self.received.get(number, b"") + data
                    self.session.consumed(number, len(data))
                case StreamEnded(number, _):
                    self.ended.add(number)
        await self.flush()

    async def open(self) -> None:
        """Shake hands."""
        await self.flush()
        while not self.hash:
            await self.step()

    async def say(self, stream: int, data: bytes) -> None:
        """Send bytes on a stream."""
        self.session.send(stream, data)
        await self.flush()

    async def prove(self, group: Group) -> tuple[GroupProven, int]:
        """Show that we know a group, and open its stream; what the other side proved."""
        offers = GroupOffers(self.hash, initiator=True, entropy=os.urandom)
        control = self.session.open_stream("control")
        reader = FrameReader(MAX_FRAME)
        offers.offer([(group, self.device)])
        while True:
            for frame in offers.take():
                await self.say(control, encode_frame(frame, MAX_FRAME))
            for event in offers.events():
                if isinstance(event, GroupProven):
                    for frame in offers.take():
                        await self.say(control, encode_frame(frame, MAX_FRAME))
                    stream = self.session.open_stream("group", offers.own_tag(group.id))
                    await self.flush()
                    return event, stream
            await self.step()
            for frame in reader.feed(self.received.pop(control, b"")):
                offers.receive(frame)

    async def until_lost(self) -> None:
        """Wait until Ann ends the link."""
        with suppress(EndOfStream, LinkLost):
            while True:
                await self.step()


@asynccontextmanager
async def insider(directory: Path) -> AsyncIterator[tuple[Scene, Insider]]:
    """Somebody who has the group's secret has opened a session with Ann."""
    async with scene(directory) as here:
        other = Insider(here, await here.dial())
        await other.open()
        yield here, other
