"""Peers that mean harm, and peers that go away: what each can do to an exchange, over real connections."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from berty_libp2p import bitswap

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.contracts.session import Log
from berty_core.crypto.boxes import seal_secretbox
from berty_core.protocol.entry import EntryIdentity, LogIdentity, decode_entry, encode_entry, sign_entry
from berty_core.protocol.group import Group
from berty_core.protocol.heads import head_of, raw_rotation
from berty_core.protocol.heads_json import MAX_HEADS, encode_heads_json
from berty_core.runtime.profile_host import NodePort

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
