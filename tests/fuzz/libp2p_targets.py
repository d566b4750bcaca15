"""The fuzz targets of berty-libp2p; the oracle is that of `targets`."""

from __future__ import annotations

from typing import Final

from berty_libp2p import bitswap, gossip
from berty_libp2p.announcement import decode_text
from berty_libp2p.bitswap import Bitswap
from berty_libp2p.certificates import decode_signed_key, peer_of
from berty_libp2p.connection import Connection
from berty_libp2p.gossip import Gossip
from berty_libp2p.identify import DescriptionReader, decode_description
from berty_libp2p.local_records import decode_records
from berty_libp2p.log_frames import LogFrames
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.multistream import Offer, Proposal
from berty_libp2p.peers import PeerId, identity_of
from berty_libp2p.upgrade import NoiseUpgrade

from berty_core.codec.cid import Cid
from berty_core.contracts.session import Log, LogId
from berty_core.crypto.keys import Secret
from berty_core.errors import RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.group import BERTY, LogKind
from berty_core.protocol.heads import Heads, raw_rotation, seal_heads
from berty_core.protocol.noise import NoiseHandshake, encode_message

from .targets import DEVICE, GROUP, MEMBER, NONCE, Target, in_two, text

PEER: Final = PeerId.of(DEVICE.public)
ADDRESS: Final = GROUP.address(BERTY, LogKind.MESSAGES).text
LOG: Final = Log(
    LogId(GROUP.id, LogKind.MESSAGES), ADDRESS, GROUP.link_key, GROUP.signing_public, DeviceId(DEVICE.public)
)
KEY_ONE, KEY_TWO = Secret(bytes([9]) * 32), Secret(bytes([10]) * 32)


def _multiaddr(data: bytes) -> None:
    address = Multiaddr.decode(data)
    assert address.encode() == data
    assert Multiaddr.parse(str(address)) == address


def _negotiation(data: bytes) -> None:
    for side in (Proposal("/a/1"), Offer(lambda protocol: protocol == "/a/1")):
        try:
            for part in in_two(data):
                side.receive(part)
        except RemoteProtocolError:
            continue


def _handshake_payload(data: bytes) -> None:
    """What a stranger who finishes Noise says of its identity."""
    upgrade = NoiseUpgrade(False, MEMBER, KEY_ONE, KEY_TWO)
    noise = NoiseHandshake(True, KEY_TWO, KEY_ONE)
    upgrade.receive(encode_message(noise.write_message()))
    answer = upgrade.take()
    noise.read_message(answer[2:])
    upgrade.receive(encode_message(noise.write_message(data[:60_000])))


def _connection(data: bytes) -> None:
    for initiator in (True, False):
        connection = Connection(initiator, MEMBER, lambda protocol: True, KEY_ONE, KEY_TWO, 0.0)
        try:
            for part in in_two(data):
                connection.receive(part, 0.0)
        except RemoteProtocolError:
            continue
        connection.take()


def _description(data: bytes) -> None:
    reader = DescriptionReader()
    for part in in_two(data):
        reader.feed(part)
    reader.end()


def _gossip(data: bytes) -> None:
    router = Gossip(MEMBER, bytes, 1, 0.0)
    router.subscribe("t", 0.0)
    router.add_peer(PEER)
    router.publish("t", b"ours", 0.0)
    router.take()
    for part in in_two(data):
        router.receive(PEER, part, 0.0)
    router.wake(gossip.HEARTBEAT)
    router.take()


def _bitswap(data: bytes) -> None:
    engine = Bitswap()
    engine.add_peer(PEER)
    engine.fetch([Cid.of(b"wanted")], [PEER], 0.0)
    for part in in_two(data):
        engine.receive(PEER, part, 0.0)
        for name, cids in engine.lookups():
            for cid in cids:
                engine.answer(name, cid, b"block")
    engine.wake(2 * bitswap.PATIENCE)
    engine.take()


def _frame(data: bytes) -> None:
    """A frame of a stranger; and one by a holder of the link key with any JSON in it."""
    frames = LogFrames(PEER, BERTY.rotation, bytes)
    frames.follow([LOG], 0.0)
    rotation = raw_rotation(ADDRESS, LOG.link_key, 0)
    sealed = seal_heads(Heads(ADDRESS, ()), LOG.link_key, rotation, NONCE)
    assert frames.read(sealed, 0.0) is not None
    frames.out_of_time(data, [LOG])
    frames.read(data, 0.0)


LIBP2P: Final[dict[str, Target]] = {
    "peer_id": PeerId,
    "peer_id_text": lambda data: PeerId.parse(text(data)),
    "peer_key": identity_of,
    "multiaddr": _multiaddr,
    "multiaddr_text": lambda data: Multiaddr.parse(text(data)),
    "negotiation": _negotiation,
    "handshake_payload": _handshake_payload,
    "connection": _connection,
    "description": _description,
    "whole_description": decode_description,
    "gossip": _gossip,
    "bitswap": _bitswap,
    "frame": _frame,
    "local_records": lambda data: decode_records(data, 0.0),
    "certificate": lambda data: peer_of(data, 1_800_000_000.0),
    "signed_key": decode_signed_key,
    "announcement": lambda data: decode_text(data, loopback=True),
}
