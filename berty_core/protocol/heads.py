"""The heads message: what two replicas of a log tell each other first (IPFS log, 4.3; Wesh protocol, 2.10 and 6.2).

Invariant: only a holder of the group's link key makes or opens one; the entries in it are claims until they are
encoded again, hashed and checked like any other.
"""

from __future__ import annotations

import attrs

from ..codec.cid import Cid
from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.boxes import NONCE_LENGTH, open_secretbox, seal_secretbox
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import DeviceId
from .entry import MAX_BLOCK, Entry, EntryIdentity, encode_entry
from .heads_json import HeadJson, IdentityJson, decode_heads_json, encode_heads_json
from .rendezvous import rotation_point

MAX_MESSAGE = 4 * 1024 * 1024  # of the direct channel (Wesh protocol, section 11)
MAX_PEER_ID = 128
MAX_ADDRESS = 1024
ROTATION_LENGTH = 32


@attrs.frozen
class SealedHeads:
    """A heads message as it travels: which log it is for shows only to who can compute `raw_rotation`."""

    raw_rotation: bytes
    sealed_box: bytes = attrs.field(repr=False)


@attrs.frozen
class Heads:
    """The heads of one log as a peer sees them. `device` is None from a replica; `peer_id` is binary and unproven."""

    address: str
    heads: tuple[HeadJson, ...]
    device: DeviceId | None = None
    peer_id: bytes = b""


def raw_rotation(address: str, link_key: bytes, start: int) -> bytes:
    """The 32 bytes that name a log in the period that starts at `start` (section 6.2); 0 for the static rotation."""
    return rotation_point(address.encode(), bytes(link_key), start)


def seal_heads(heads: Heads, link_key: bytes, rotation: bytes, nonce: bytes) -> bytes:
    """Seal a heads message; `nonce` is 24 fresh random bytes, `rotation` comes from `raw_rotation`."""
    if len(nonce) != NONCE_LENGTH or len(rotation) != ROTATION_LENGTH:
        raise LocalProtocolError("a heads message needs a nonce of 24 bytes and a rotation of 32")
    box = pb.HeadsBox(
        address=heads.address,
        heads=encode_heads_json(heads.heads),
        device_pk=bytes(heads.device or b""),  # absent, not empty, for a replica: protobuf writes nothing for b""
        peer_id=heads.peer_id,
    )
    sealed = nonce + seal_secretbox(link_key, nonce, box.SerializeToString())
    data = pb.OrbitDBMessageHeads(sealed_box=sealed, raw_rotation=rotation).SerializeToString()
    if len(data) > MAX_MESSAGE:
        raise LocalProtocolError(f"a heads message of {len(data)} bytes, the limit is {MAX_MESSAGE}: send fewer heads")
    return data


def parse_heads(data: bytes) -> SealedHeads:
    """Read a heads message of at most 4 MiB without opening it; RemoteProtocolError if it is none."""
    message = parse(pb.OrbitDBMessageHeads, data, MAX_MESSAGE)
    if len(message.raw_rotation) != ROTATION_LENGTH or len(message.sealed_box) < NONCE_LENGTH:
        raise RemoteProtocolError("a heads message with a malformed rotation or box")
    return SealedHeads(message.raw_rotation, message.sealed_box)


def open_heads(sealed: SealedHeads, link_key: bytes) -> Heads | None:
    """Open with a group's link key; None if it is of another group, RemoteProtocolError for malformed contents.

    The caller compares `address` with the log that it found by the rotation.
    """
    nonce, box = sealed.sealed_box[:NONCE_LENGTH], sealed.sealed_box[NONCE_LENGTH:]
    plaintext = open_secretbox(link_key, nonce, box)
    if plaintext is None:
        return None
    message = parse(pb.HeadsBox, plaintext)
    if len(message.peer_id) > MAX_PEER_ID or len(message.address) > MAX_ADDRESS:
        raise RemoteProtocolError("a heads message with an oversized address or peer id")
    device = DeviceId(message.device_pk) if message.device_pk else None
    return Heads(message.address, decode_heads_json(message.heads), device, message.peer_id)


def head_of(entry: Entry) -> HeadJson:
    """The form in which heads messages carry an entry."""
    return HeadJson(
        payload=entry.payload.encode(),
        id=entry.log_id,
        next=entry.next,
        refs=entry.refs,
        v=entry.v,
        key=entry.key,
        sig=entry.sig,
        identity=_identity_json(entry.identity),
        hash=entry.cid,
        clock_id=entry.clock_id,
        clock_time=entry.time,
    )


def _identity_json(identity: EntryIdentity) -> IdentityJson:
    try:
        return IdentityJson(
            identity.id,
            bytes.fromhex(identity.public_key),
            bytes.fromhex(identity.signature_id),
            bytes.fromhex(identity.signature_public_key),
            identity.type,
        )
    except ValueError as error:
        raise LocalProtocolError("an entry whose identity is not hexadecimal cannot be announced") from error


def entry_of(head: HeadJson) -> tuple[Entry, bytes]:
    """The entry of a head and its block; RemoteProtocolError unless the block hashes to the head's CID.

    The entry's signature is not checked here.
    """
    try:
        payload = head.payload.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("a head whose payload is not text") from error
    identity = EntryIdentity(
        head.identity.id,
        head.identity.type,
        head.identity.public_key.hex(),
        head.identity.signature_id.hex(),
        head.identity.signature_public_key.hex(),
    )
    entry = Entry(
        cid=head.hash,
        log_id=head.id,
        payload=payload,
        next=head.next,
        refs=head.refs,
        time=head.clock_time,
        clock_id=head.clock_id,
        key=head.key,
        sig=head.sig,
        identity=identity,
        v=head.v,
    )
    block = encode_entry(entry)
    if len(block) > MAX_BLOCK:
        raise RemoteProtocolError(f"a head of {len(block)} bytes, the limit is {MAX_BLOCK}")
    if Cid.of(block) != head.hash:
        raise RemoteProtocolError("a head that does not hash to its CID")
    return entry, block
