"""What one exchange says to a peer that behaves as Go's nodes do, and what a hostile one cannot do to it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from berty_libp2p.exchange import BURST, DIRECT
from berty_libp2p.host import Host
from berty_libp2p.link import Stream
from berty_libp2p.log_frames import Frame, LogFrames
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import Cid
from berty_core.codec.frames import encode_frame
from berty_core.contracts.session import ChangesMissed, Log, LogId
from berty_core.crypto.boxes import seal_secretbox
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import BertyError
from berty_core.protocol.entry import LogIdentity, sign_entry
from berty_core.protocol.group import BERTY, Group, LogKind
from berty_core.protocol.heads import MAX_MESSAGE, parse_heads, raw_rotation

from .application import Application, until
from .test_exchange import Person, eventually, person

pytestmark = pytest.mark.anyio


class WeshPeer(Application):
    """A peer that follows one log, keeps what it is told, and says what a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: list[Frame] = []
        self.node = Host(
            PrivateKey(os.urandom(32)), os.urandom, time.monotonic, time.time_ns(), self, self, {DIRECT: self.serve}
        )
        self.frames = LogFrames(self.node.peer_id, BERTY.rotation, os.urandom)

    async def serve(self, peer: PeerId, stream: Stream) -> None:
        frame = self.frames.read(await stream.receive_frame(MAX_MESSAGE), time.time())
        if frame is not None:
            self.direct.append(frame)
            self._tell()

    async def send(self, to: Person, data: bytes) -> None:
        """Send a direct frame, and wait until it was taken."""
        stream = await self.node.open_stream(to.exchange.node.peer_id, DIRECT)
        stream.send(encode_frame(data, MAX_MESSAGE))
        stream.finish()
        with pytest.raises(BertyError):
            while True:
                await stream.receive()

    def gossiped(self) -> list[Frame]:
        """The frames that came by gossip."""
        return [frame for _, data, _ in self.messages if (frame := self.frames.read(data, time.time())) is not None]


@asynccontextmanager
async def wesh_peer(one: Person, log: Log) -> AsyncIterator[WeshPeer]:
    """A connected peer that has just joined the log's topic."""
    peer = WeshPeer()
    peer.frames.follow([log], time.time())
    async with anyio.create_task_group() as tasks:
        await tasks.start(peer.node.run)
        peer.node.subscribe(log.address)
        await peer.node.dial(one.address)
        await until(peer, lambda: peer.joined and peer.direct)
        yield peer
        tasks.cancel_scope.cancel()


async def group_of(one: Person) -> tuple[Group, Log]:
    """A new group of one's, and its log of messages."""
    await one.do(one.node.actions.group_new, "club")
    replica = await one.node.store.read(one.node.actions.find_group, "club")
    kind = LogKind.MESSAGES
    group = replica.group
    address = group.address(BERTY, kind).text
    return group, Log(LogId(group.id, kind), address, group.link_key, group.signing_public, replica.device_id)


def entries(group: Group, log: Log, count: int, parents: tuple[Cid, ...] = (), size: int = 40) -> list[bytes]:
    """A run of entries that the group signed, each behind the one before; what they hold cannot be read."""
    blocks: list[bytes] = []
    behind: list[Cid] = []
    for number in range(count):
        refs = tuple(behind[-64:-1:9])
        entry, block = sign_entry(
            LogIdentity.of(group.signing_key), log.address, os.urandom(size), parents, refs, number + 1
        )
        parents = (entry.cid,)
        behind.append(entry.cid)
        blocks.append(block)
    return blocks


async def held(one: Person, log: Log, blocks: Sequence[bytes]) -> bool:
    def here() -> bool:
        stored = one.node.replica.groups[log.id.group].logs[log.id.kind]
        return all(Cid.of(block) in stored for block in blocks)

    return await one.node.store.read(here)


async def test_who_joins_gets_our_heads_also_none(tmp_path: Path) -> None:
    """At once on the direct channel; and what is written then comes by gossip, as an entry that needs no fetching."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            assert [frame.blocks for frame in peer.direct] == [()]
            cid = await ann.node.send(group.id, "first")
            await until(peer, peer.gossiped)
            assert [Cid.of(block) for block in peer.gossiped()[0].blocks] == [cid]
        async with wesh_peer(ann, log) as peer:
            assert [Cid.of(block) for frame in peer.direct for block in frame.blocks] == [cid]


async def test_a_direct_frame_is_answered_unless_it_holds_our_heads(tmp_path: Path) -> None:
    """The answer comes in the peer's own rotation, and the same heads are not sent to it over and over."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            cid = await ann.node.send(group.id, "first")
            await until(peer, peer.gossiped)
            block = peer.gossiped()[0].blocks[0]
            peer.direct.clear()
            static = raw_rotation(log.address, log.link_key, 0)
            await peer.send(ann, peer.frames.write(log, [block], time.time(), static))
            await peer.send(ann, peer.frames.write(log, [], time.time(), static))
            await until(peer, lambda: peer.direct)
            assert [(frame.rotation, list(map(Cid.of, frame.blocks))) for frame in peer.direct] == [(static, [cid])]
            await peer.send(ann, peer.frames.write(log, [], time.time(), static))
            await ann.node.send(group.id, "second")
            await until(peer, lambda: len(peer.gossiped()) == 2)
            assert len(peer.direct) == 1


async def test_what_a_direct_frame_brings_is_stored_and_passed_on(tmp_path: Path) -> None:
    """From the head alone, by bitswap; the others of the topic hear of the new heads once."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer, wesh_peer(ann, log) as other:
            blocks = entries(group, log, 30)
            peer.blocks.update((Cid.of(block), block) for block in blocks)
            await peer.send(ann, peer.frames.write(log, blocks[-1:], time.time()))
            await eventually(lambda: held(ann, log, blocks))
            await until(other, other.gossiped)
            assert other.gossiped()[0].blocks == (blocks[-1],)


async def test_what_gossip_brings_is_not_told_again(tmp_path: Path) -> None:
    """Gossip spreads itself; entries that come as a run in one frame are stored without being fetched."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer, wesh_peer(ann, log) as other:
            blocks = entries(group, log, 20)
            peer.node.publish(log.address, peer.frames.write(log, blocks, time.time()))
            await eventually(lambda: held(ann, log, blocks))
            cid = await ann.node.send(group.id, "next")
            await until(other, lambda: len(other.gossiped()) == 2)
            assert other.gossiped()[0].blocks == tuple(blocks)
            assert [Cid.of(block) for block in other.gossiped()[1].blocks] == [cid]
            assert [Cid.of(block) for frame in peer.gossiped() for block in frame.blocks] == [cid]


async def test_after_a_burst_the_heads_are_repeated(tmp_path: Path) -> None:
    """On the direct channel, once it is quiet, so that what Go dropped is found (trap 6)."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            peer.direct.clear()
            for number in range(BURST + 2):
                cid = await ann.node.send(group.id, str(number))
                await until(peer, lambda number=number: len(peer.gossiped()) == number + 1)
            await until(peer, lambda: peer.direct)
            assert [Cid.of(block) for block in peer.direct[0].blocks] == [cid]


async def test_frames_that_break_the_rules_cost_nothing(tmp_path: Path) -> None:
    """Garbage, foreign JSON, entries of another log or of another key: counted, not stored, and the link stays."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            good = peer.frames.write(log, [], time.time())
            rotation = parse_heads(good).raw_rotation
            json = b"\x0a" + bytes([len(log.address)]) + log.address.encode() + b"\x12\x04[{}]"
            nonce = os.urandom(24)
            box = nonce + seal_secretbox(log.link_key, nonce, json)
            crashing = b"\x12" + encode_frame(box, 1 << 16) + b"\x1a\x20" + rotation
            for bad in (b"garbage", b"\x12\x01x\x1a\x20" + rotation, crashing):
                before = ann.exchange.refused
                await peer.send(ann, bad)
                assert ann.exchange.refused == before + 1
            false = sign_entry(LogIdentity.of(PrivateKey(os.urandom(32))), log.address, b"x", (), (), 1)[1]
            other = sign_entry(LogIdentity.of(group.signing_key), "another log", b"x", (), (), 1)[1]
            child = entries(group, log, 1, (Cid.of(false),))[0]
            await peer.send(ann, peer.frames.write(log, [false, other, child], time.time()))
            await eventually(lambda: held(ann, log, [child]))
            assert ann.exchange.refused == before + 3
            cid = await ann.node.send(group.id, "still here")
            await until(peer, lambda: any(cid in map(Cid.of, frame.blocks) for frame in peer.gossiped()))


async def test_a_missing_ancestor_does_not_stop_what_comes_later(tmp_path: Path) -> None:
    """Nobody has the parent: the entry waits; when the parent comes with a later frame, both are there."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            first, second = entries(group, log, 2)
            await peer.send(ann, peer.frames.write(log, [second], time.time()))
            await eventually(lambda: done(ann))
            assert not await held(ann, log, [second])
            await peer.send(ann, peer.frames.write(log, [first], time.time()))
            await eventually(lambda: held(ann, log, [first, second]))


async def done(one: Person) -> bool:
    return one.exchange.node.exchange.fetching == 0


async def test_changes_that_were_missed_are_made_good(tmp_path: Path) -> None:
    """When more changed than the exchange was told, it tells the heads of every log."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            cid = await ann.node.send(group.id, "first")
            await until(peer, peer.gossiped)
            await ann.exchange._take_changes([ChangesMissed()])
            await until(peer, lambda: len(peer.gossiped()) == 2)
            assert [[Cid.of(block) for block in frame.blocks] for frame in peer.gossiped()] == [[cid], [cid]]


async def test_a_large_entry_goes_by_the_direct_channel(tmp_path: Path) -> None:
    """What no gossip message holds is sent to each peer of the topic by itself."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer, wesh_peer(ann, log) as other:
            other.direct.clear()
            blocks = entries(group, log, 1, size=1_000_000)
            await peer.send(ann, peer.frames.write(log, blocks, time.time()))
            await until(other, lambda: other.direct)
            assert other.direct[0].blocks == tuple(blocks)
            assert other.gossiped() == []
