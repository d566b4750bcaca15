"""Gossip, blocks, descriptions and local records as Kubo, weshnet and the recording's own side wrote them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from berty_libp2p import gossip_messages as wire
from berty_libp2p.identify import DescriptionReader
from berty_libp2p.pb import libp2p_pb2 as pb
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import Cid
from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.codec.varint import decode_varint
from berty_core.errors import RemoteProtocolError


def frames(recording: dict[str, Any], protocol: str, directions: tuple[str, ...] = ("in", "out")) -> Iterator[bytes]:
    """Every whole frame that went over streams of a protocol."""
    for connection in recording["connections"]:
        for stream in connection["streams"]:
            for direction in directions if stream["protocol"] == protocol else ():
                yield from FrameReader(4 << 20).feed(bytes.fromhex(stream[direction]))


def test_gossip(recording: dict[str, Any]) -> None:
    """Each message bears its author's signature; one changed bit anywhere in it, and it does not."""
    messages = [m for frame in frames(recording, "/meshsub/1.1.0") for m in pb.Rpc.FromString(frame).publish]
    assert messages
    for message in messages:
        checked = wire.check_message(message)
        assert checked.author == PeerId(message.author)
        assert checked.part[0] == 0x12
        prefix = decode_varint(checked.part, 1)
        assert prefix is not None
        assert pb.PubsubMessage.FromString(checked.part[prefix[1] :]) == message
        for field in ("data", "seqno", "topic", "signature"):
            changed = pb.PubsubMessage()
            changed.CopyFrom(message)
            value = getattr(changed, field)
            setattr(changed, field, bytes([value[0] ^ 1]) + value[1:])
            with pytest.raises(RemoteProtocolError, match="did not sign"):
                wire.check_message(changed)


def test_gossip_is_written_as_it_is_read(recording: dict[str, Any]) -> None:
    """Our encoding of every RPC of Go's is Go's own, so a message that is passed on keeps its bytes."""
    found = list(frames(recording, "/meshsub/1.1.0"))
    for frame in frames(recording, "/meshsub/1.1.0", ("in",)):
        assert pb.Rpc.FromString(frame).SerializeToString() == frame
    rpcs = [pb.Rpc.FromString(frame) for frame in found]
    topics = {entry.topic.decode() for rpc in rpcs for entry in rpc.subscriptions}
    said = {bytes(frame) for frame in found}
    assert any(wire.subscription(topic, True) in said for topic in topics) or len(topics) > 1
    assert any(wire.graft(topic) in said for topic in topics) or len(topics) > 1


def test_blocks(recording: dict[str, Any]) -> None:
    """Every block hashes to a content identifier that was asked for; our encoding is the recorded one."""
    wanted: set[bytes] = set()
    blocks: set[bytes] = set()
    for frame in frames(recording, "/ipfs/bitswap/1.2.0"):
        message = pb.Bitswap.FromString(frame)
        wanted |= {entry.cid for entry in message.wantlist.entries}
        blocks |= {Cid(part.prefix + hashlib.sha256(part.data).digest()) for part in message.payload}
    assert blocks and blocks <= wanted
    for frame in frames(recording, "/ipfs/bitswap/1.2.0", ("out",)):
        assert pb.Bitswap.FromString(frame).SerializeToString() == frame


def test_descriptions(recording: dict[str, Any]) -> None:
    """What each side says of itself is read: agent, protocols and addresses."""
    agents = set()
    for frame in frames(recording, "/ipfs/id/1.0.0"):
        reader = DescriptionReader()
        reader.feed(encode_frame(frame, 8192))
        description = reader.end()
        assert "/meshsub/1.1.0" in description.protocols
        assert description.observed is not None
        agents.add(description.agent.split("/")[0])
    assert len(agents) == 2
    assert "kubo" in agents
