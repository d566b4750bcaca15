"""Peers that mean harm, and peers that go away: what each can do to an exchange, over real connections."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import attrs
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream
from berty_libp2p import bitswap
from berty_libp2p import exchange as exchanges
from berty_libp2p import gap as gaps
from berty_libp2p import profile as profiles
from berty_libp2p.announcement import encode_text
from berty_libp2p.config import Libp2pConfig
from berty_libp2p.dialler import Dialler
from berty_libp2p.discovery import Discovery
from berty_libp2p.gap import Gap
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId
from berty_libp2p.profile import Libp2pProfile
from berty_mdns.services import ServiceHeard

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.contracts.session import Log
from berty_core.crypto.boxes import seal_secretbox
from berty_core.protocol.entry import MAX_LINKS, EntryIdentity, LogIdentity, decode_entry, encode_entry, sign_entry
from berty_core.protocol.group import WESH, Group
from berty_core.protocol.heads import head_of, raw_rotation
from berty_core.protocol.heads_json import MAX_HEADS, encode_heads_json
from berty_core.runtime.sessions.profile_host import NodePort

from .application import until
from .test_exchange import Person, eventually, person
from .test_exchange_rules import WeshPeer, entries, group_of, held, wesh_peer

pytestmark = pytest.mark.anyio
END_OF_TIME = (1 << 63) - 1


def frame_of(log: Log, json: bytes) -> bytes:
    """A frame that holds any JSON."""
    nonce = os.urandom(24)
    box = pb.HeadsBox(address=log.address, heads=json)
    sealed = nonce + seal_secretbox(log.link_key, nonce, box.SerializeToString())
    rotation = raw_rotation(log.address, log.link_key, 0)
    return pb.OrbitDBMessageHeads(sealed_box=sealed, raw_rotation=rotation).SerializeToString()


def signed(group: Group, log: Log, time: int, parents: Sequence[Cid] = (), size: int = 40) -> bytes:
    """An entry of any time and size that the group signed."""
    return sign_entry(LogIdentity.of(group.signing_key), log.address, os.urandom(size), tuple(parents), (), time)[1]


async def still_serves(one: Person, group: Group, peer: WeshPeer) -> bytes:
    """A message that is written now reaches the peer; its block."""
    cid = await one.node.send(group.id, "still here")
    found: list[bytes] = []

    def came() -> bool:
        blocks = (block for frame in (*peer.gossiped(), *peer.direct) for block in frame.blocks)
        found[:] = [block for block in blocks if Cid.of(block) == cid]
        return bool(found)

    await until(peer, came)
    return found[0]


async def test_heads_of_a_thousand_entries(tmp_path: Path) -> None:
    """A thousand in one frame are taken; one more and all of them are refused, and the link stays."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            blocks = entries(group, log, MAX_HEADS)
            await peer.send(ann, peer.frames.write(log, blocks, time.time()))
            await eventually(lambda: held(ann, log, blocks))
            identity = LogIdentity.of(group.signing_key)
            json = encode_heads_json((head_of(sign_entry(identity, log.address, b"x", (), (), 1)[0]),))
            await peer.send(ann, frame_of(log, b"[" + b",".join([json[1:-1]] * (MAX_HEADS + 1)) + b"]"))
            assert ann.exchange.refused == 1
            await still_serves(ann, group, peer)


async def test_a_lamport_time_at_the_end_of_time(tmp_path: Path) -> None:
    """An entry of time 2^63 - 1 joins, one of 2^63 is refused; our own next one is as late as its place in the log."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            last = signed(group, log, END_OF_TIME)
            await peer.send(ann, peer.frames.write(log, [last], time.time()))
            await eventually(lambda: held(ann, log, [last]))
            own = await still_serves(ann, group, peer)
            assert decode_entry(own).next == (Cid.of(last),)
            assert 0 < decode_entry(own).time < 1 << 32
            json = encode_heads_json((head_of(decode_entry(last)),)).replace(
                b"%d" % END_OF_TIME, b"%d" % (END_OF_TIME + 1)
            )
            before = ann.exchange.refused
            await peer.send(ann, frame_of(log, json))
            assert ann.exchange.refused == before + 1


@pytest.mark.parametrize("size", [1_700_000, 2_400_000])
async def test_an_entry_that_is_too_large_does_not_stop_the_log(tmp_path: Path, size: int) -> None:
    """An ancestor of more than 2 MiB is fetched, judged and gone past; what is written behind it arrives."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            large = signed(group, log, 1, size=size)
            assert 2 << 20 < len(large) < bitswap.MAX_MESSAGE
            child = signed(group, log, 2, [Cid.of(large)])
            peer.blocks[Cid.of(large)] = large
            await peer.send(ann, peer.frames.write(log, [child], time.time()))
            await eventually(lambda: held(ann, log, [child]))
            assert ann.exchange.refused == 1
            await still_serves(ann, group, peer)


@pytest.mark.parametrize("kind", ["<" * 1_900_000, "\0" * 900_000])
async def test_an_entry_that_no_frame_can_carry(tmp_path: Path, kind: str) -> None:
    """An identity whose type unfolds in JSON beyond every limit: who has joined still hears of what follows."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            entry, _ = sign_entry(LogIdentity.of(group.signing_key), log.address, b"x", (), (), 1)
            identity = EntryIdentity(
                entry.identity.id,
                kind,
                entry.identity.public_key,
                entry.identity.signature_id,
                entry.identity.signature_public_key,
            )
            block = encode_entry(attrs.evolve(entry, identity=identity))
            child = signed(group, log, 2, [Cid.of(block)])
            port = NodePort(
                ann.node, "libp2p"
            )  # as if a private session had brought it: that carries blocks as they are
            await port.store(log.id, (await port.verify(log.id, [block])).entries, ())
            async with wesh_peer(ann, log) as late:
                assert [frame.blocks for frame in late.direct] == [()]
                await port.store(log.id, (await port.verify(log.id, [child])).entries, ())
                await until(late, lambda: [frame.blocks for frame in late.gossiped()] == [(child,)])
            await still_serves(ann, group, peer)


async def test_a_frame_that_comes_again_brings_nothing(tmp_path: Path) -> None:
    """What is replayed, gossiped or direct, is stored once and told to others once."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer, wesh_peer(ann, log) as other:
            other.direct.clear()
            blocks = entries(group, log, 3)
            frame = peer.frames.write(log, blocks, time.time())
            await peer.send(ann, frame)
            await until(other, other.gossiped)
            for _ in range(5):
                await peer.send(ann, frame)
                peer.node.publish(log.address, frame)
            block = await still_serves(ann, group, other)
            ours = ann.exchange.node.peer_id
            told = [data for _, data, author in other.messages if author == ours]
            assert [other.frames.read(data, time.time()).blocks for data in told] == [(blocks[-1],), (block,)]
            assert other.direct == []


async def test_frames_of_long_ago_are_not_read(tmp_path: Path) -> None:
    """A frame recorded a week ago is nothing; whose clock is wrong is told of in words until it is right again."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            blocks = entries(group, log, 1)
            await peer.send(ann, peer.frames.write(log, blocks, time.time() - 7 * 86400))
            (words,) = ann.exchange.misfits()
            assert str(peer.node.peer_id) in words
            assert "clocks" in words
            assert not await held(ann, log, blocks)
            await peer.send(ann, peer.frames.write(log, blocks, time.time()))
            await eventually(lambda: held(ann, log, blocks))
            assert ann.exchange.misfits() == ()


async def test_a_peer_of_another_profile_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows a group of ours in other stores is named with both profiles; the status of the node says so."""
    monkeypatch.setattr(profiles, "LOOK", 0.05)
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        said: list[tuple[str, ...]] = []
        profile = Libp2pProfile(Libp2pConfig(host="127.0.0.1"))
        async with anyio.create_task_group() as tasks:
            port = NodePort(ann.node, "libp2p", said=lambda state, reasons: said.append(reasons))
            await tasks.start(profile.run, port)
            assert said.pop() == ("it finds nobody by itself: that needs berty-mdns",)
            peer = WeshPeer()
            await tasks.start(peer.node.run)
            peer.node.subscribe(group.address(WESH, log.id.kind).text)
            peer.node.subscribe("another topic_of_theirs")
            await peer.node.dial(Multiaddr.parse(profile.addresses()[0]))

            async def told() -> bool:
                return bool(said)

            await eventually(told)
            assert "'wesh' does, this node as 'berty'" in said[-1][-1]
            peer.node.close_peer(next(iter(peer.node.peers)))
            await eventually(lambda: _last(said, 1))
            tasks.cancel_scope.cancel()


async def _last(said: list[tuple[str, ...]], count: int) -> bool:
    return len(said[-1]) == count


async def test_a_phone_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    """It vanishes while we fetch from it: nothing is left over; when it is back, the rest of the gap is closed."""
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        blocks = entries(group, log, 60)
        async with wesh_peer(ann, log) as peer:
            peer.blocks.update((Cid.of(block), block) for block in blocks[30:])
            peer.read = silent_about_others(peer)  # type: ignore[method-assign]
            await peer.send(ann, peer.frames.write(log, blocks[-1:], time.time()))
            await eventually(lambda: _fetched(ann, Cid.of(blocks[30])))
        await eventually(lambda: _idle(ann))
        assert not await held(ann, log, blocks[30:31])
        async with wesh_peer(ann, log) as peer:
            peer.blocks.update((Cid.of(block), block) for block in blocks)
            await peer.send(ann, peer.frames.write(log, blocks[-1:], time.time()))
            await eventually(lambda: held(ann, log, blocks))


def silent_about_others(peer: WeshPeer) -> Callable[[Iterable[Cid]], Awaitable[Mapping[Cid, bytes]]]:
    """A way to read blocks that never ends where one is not there."""

    async def read(cids: Iterable[Cid]) -> Mapping[Cid, bytes]:
        found = {cid: peer.blocks[cid] for cid in cids if cid in peer.blocks}
        if not found:
            await anyio.sleep_forever()
        return found

    return read


async def _fetched(one: Person, cid: Cid) -> bool:
    """Whether a block is here, or waits for what is missing below it."""
    return any(cid in state.gap for state in one.exchange._states.values())


async def _idle(one: Person) -> bool:
    states = one.exchange._states.values()
    return not one.exchange.node.exchange.fetching and not any(state.busy or len(state.gap) for state in states)


async def test_a_gap_beyond_what_may_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed all the same, each block fetched twice at most, while news go on; memory stays bounded."""
    monkeypatch.setattr(gaps, "MAX_ENTRIES", 300)  # much more than the span of an entry's links
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        blocks = entries(group, log, 1000)
        async with wesh_peer(ann, log) as peer:
            reads = count_reads(peer)
            kept: list[int] = []
            gap = ann.exchange._states[log.id].gap
            monkeypatch.setattr(gap, "sink", lambda: (kept.append(len(gap)), Gap.sink(gap))[1])
            peer.blocks.update((Cid.of(block), block) for block in blocks)
            await peer.send(ann, peer.frames.write(log, blocks[900:901], time.time()))
            await eventually(lambda: _sunk(kept))
            for number in range(901, 1000, 33):
                await peer.send(ann, peer.frames.write(log, blocks[number : number + 1], time.time()))
            await peer.send(ann, peer.frames.write(log, blocks[-1:], time.time()))
            await eventually(lambda: held(ann, log, blocks), 30)
            assert len(kept) > 2
            assert max(kept) <= 300 + bitswap.IN_FLIGHT
            assert sum(reads.values()) <= 2.5 * len(blocks)
            await still_serves(ann, group, peer)


def count_reads(peer: WeshPeer) -> Counter[Cid]:
    """How often each block is asked for from now on."""
    reads, read = Counter[Cid](), peer.read

    async def counted(cids: Iterable[Cid]) -> Mapping[Cid, bytes]:
        cids = list(cids)
        reads.update(cids)
        return await read(cids)

    peer.read = counted  # type: ignore[method-assign]
    return reads


async def _sunk(kept: list[int]) -> bool:
    return bool(kept)


async def test_more_links_than_can_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that name 8,192 others each, which nobody has: what is asked for is bounded, and the log goes on."""
    monkeypatch.setattr(exchanges, "MAX_WANTED", 50)
    async with person(tmp_path, "Ann") as ann:
        group, log = await group_of(ann)
        async with wesh_peer(ann, log) as peer:
            identity = LogIdentity.of(group.signing_key)
            asked: list[int] = []
            fetch = ann.exchange.node.fetch

            def noted(cids: Iterable[Cid], peers: Iterable[PeerId] = ()) -> None:
                fetch(cids, peers)
                asked.append(ann.exchange.node.exchange.fetching)

            ann.exchange.node.fetch = noted  # type: ignore[method-assign]
            for _ in range(3):
                names = [Cid.of(os.urandom(32)) for _ in range(2 * MAX_LINKS)]
                block = sign_entry(identity, log.address, b"x", tuple(names[::2]), tuple(names[1::2]), 1)[1]
                await peer.send(ann, peer.frames.write(log, [block], time.time()))
            good = entries(group, log, 1)
            await peer.send(ann, peer.frames.write(log, good, time.time()))
            await eventually(lambda: held(ann, log, good), 30)
            assert max(asked) <= 50


async def test_our_own_announcement_comes_back(tmp_path: Path) -> None:
    """Under our name or another one: we never dial ourselves."""
    async with person(tmp_path, "Ann") as ann, anyio.create_task_group() as tasks:
        node = ann.exchange.node
        dialler = Dialler(node, lambda peer: False, tasks, logging.getLogger("test"))
        lan = Echoing(encode_text([ann.address]))
        discovery = Discovery(lan, node, dialler, NodePort(ann.node, "libp2p"))
        tasks.start_soon(partial(discovery.run, discoverable=True))
        await lan.looked.wait()
        await anyio.wait_all_tasks_blocked()
        assert discovery._found["another name"] == (ann.address,)
        assert dialler._scopes == {}
        tasks.cancel_scope.cancel()


class Echoing:
    """A network that repeats what is announced, under that name and another one."""

    hosts = ("127.0.0.1",)

    def __init__(self, text: bytes) -> None:
        self.looked = anyio.Event()
        self._text = text
        self._send, self._heard = anyio.create_memory_object_stream[ServiceHeard](8)

    async def announce(
        self, kind: str, instance: str, server: str, port: int, text: Callable[[Sequence[str]], bytes]
    ) -> None:
        for name in (instance, "another name"):
            self._send.send_nowait(ServiceHeard(name, is_there=True))

    @contextmanager
    def browse(self, kind: str) -> Iterator[MemoryObjectReceiveStream[ServiceHeard]]:
        with self._send, self._heard:
            yield self._heard

    async def text(self, kind: str, instance: str) -> bytes:
        assert instance == "another name", "our own name is not asked about"
        self.looked.set()
        return self._text

    async def withdraw(self, kind: str) -> None:
        await anyio.lowlevel.checkpoint()
