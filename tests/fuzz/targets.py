"""A fuzz target for each decoder of bytes that come from outside: a function of bytes that returns, or is at fault.

The oracle is the same for all of them: a value or RemoteProtocolError, and nothing else. What is sealed on the wire is
sealed by the target, so that the bytes reach what a member or a peer with the key could send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from berty_mdns.txt import decode_txt

from berty_core.codec.base58 import decode_base42, decode_base58
from berty_core.codec.cid import Cid
from berty_core.codec.dagcbor import decode_dagcbor, encode_dagcbor
from berty_core.codec.frames import FrameReader
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.codec.protobuf import parse
from berty_core.codec.varint import decode_varint
from berty_core.crypto.boxes import seal_box, seal_secretbox
from berty_core.crypto.keys import PrivateKey, Secret, decode_public, x25519_private, x25519_public
from berty_core.errors import RemoteProtocolError
from berty_core.ids import AccountId, DeviceId, GroupId
from berty_core.protocol.entry import check_entry, decode_entry, encode_entry
from berty_core.protocol.envelope import open_headers, open_message
from berty_core.protocol.group import Group, GroupKind, decode_group
from berty_core.protocol.handshake import ContactRequester, ContactResponder
from berty_core.protocol.heads import SealedHeads, entry_of, open_heads, parse_heads
from berty_core.protocol.heads_json import decode_heads_json
from berty_core.protocol.links import parse_link
from berty_core.protocol.metadata import PAYLOADS, EventType, MetadataEvent, open_metadata, reduce
from berty_core.protocol.noise import NoiseHandshake
from berty_core.protocol.payloads import contact_name, decode_payload
from berty_core.protocol.ratchet import open_shared_chain
from berty_core.protocol.shareable import ShareableContact, decode_contact, encode_contact
from berty_core.protocol.yamux import Yamux

from ..protocol.conversation import make_logs
from ..protocol.test_offers import victim
from ..protocol.test_session import accept, dial
from ..protocol.test_sync import history, machine

Target = Callable[[bytes], object]
MEMBER, DEVICE = PrivateKey(bytes([1]) * 32), PrivateKey(bytes([2]) * 32)
SECRET: Final = Secret(bytes([3]) * 32)
GROUP: Final = Group(GroupId(PrivateKey(bytes([4]) * 32).public), SECRET, GroupKind.MULTI_MEMBER)
NONCE: Final = bytes(24)
LIMIT: Final = 1 << 16


def run(target: Target, data: bytes) -> bool:
    """Whether a target took the bytes; any error but RemoteProtocolError is the target's fault and is raised."""
    try:
        target(data)
    except RemoteProtocolError:
        return False
    return True


def in_two(data: bytes) -> tuple[bytes, bytes]:
    """The rest of the bytes in two pieces; the first byte says where they are cut."""
    cut = data[0] if data else 0
    return data[1 : 1 + cut], data[1 + cut :]


def text(data: bytes) -> str:
    """Any text, lone surrogates among it."""
    return data.decode("utf-8", "surrogateescape")


def _dagcbor(data: bytes) -> None:
    assert encode_dagcbor(decode_dagcbor(data)) == data


def _frames(data: bytes) -> None:
    reader = FrameReader(LIMIT)
    for part in in_two(data):
        reader.feed(part)
    assert reader.pending <= LIMIT + 5


def _entry(data: bytes) -> None:
    entry = decode_entry(data)
    assert encode_entry(entry) == data
    check_entry(entry, entry.log_id, GROUP.signing_public)


def _heads_json(data: bytes) -> None:
    for head in decode_heads_json(data):
        entry_of(head)


def _heads_box(data: bytes) -> None:
    heads = open_heads(SealedHeads(bytes(32), NONCE + seal_secretbox(SECRET, NONCE, data)), SECRET)
    for head in heads.heads if heads else ():
        entry_of(head)


def _metadata(data: bytes) -> None:
    box = seal_secretbox(SECRET, NONCE, data)
    reduce(open_metadata(GROUP, pb.GroupEnvelope(nonce=NONCE, event=box).SerializeToString()))


def _event(data: bytes) -> None:
    """The payload of any kind of event, as if its device had signed it."""
    kind = list(EventType)[(data[0] if data else 0) % len(EventType)]
    payload = parse(PAYLOADS[kind], data[1:])
    for register in reduce(MetadataEvent(kind, payload, DeviceId(DEVICE.public))):
        if register.kind == "group" and register.value:
            decode_group(parse(pb.Group, register.value))


def _headers(data: bytes) -> None:
    box = seal_secretbox(SECRET, NONCE, data)
    envelope = pb.MessageEnvelope(nonce=NONCE, message_headers=box, message=data)
    open_message(open_headers(SECRET, envelope.SerializeToString()), SECRET)


def _chain(data: bytes) -> None:
    box = seal_box(x25519_private(DEVICE), x25519_public(MEMBER.public), GROUP.id[:24], data)
    open_shared_chain(box, GROUP.id, MEMBER, DeviceId(DEVICE.public))


def _contact(data: bytes) -> None:
    encode_contact(decode_contact(data))


def _contact_request(data: bytes) -> None:
    own = ShareableContact(AccountId(MEMBER.public), bytes(32), b"")
    requester = ContactRequester(MEMBER, AccountId(DEVICE.public), own, bytes([5]) * 32)
    responder = ContactResponder(MEMBER, bytes([6]) * 32)
    for one in (requester, responder):
        try:
            for part in in_two(data):
                one.receive(part)
        except RemoteProtocolError:
            continue


def _noise(data: bytes) -> None:
    handshake = NoiseHandshake(False, Secret(bytes([7]) * 32), Secret(bytes([8]) * 32))
    handshake.read_message(data)


def _yamux(data: bytes) -> None:
    for initiator in (True, False):
        session = Yamux(initiator, 0.0)
        number = session.open()
        session.send(number, b"hello")
        for part in in_two(data):
            session.receive(part, 0.0)
        session.take()


def _session(data: bytes) -> None:
    for end in (dial(), accept()):
        try:
            for part in in_two(data):
                end.receive(part, 0.0)
        except RemoteProtocolError:
            continue


def _offers(data: bytes) -> None:
    offers = victim()
    for part in in_two(data):
        offers.receive(part)
    offers.events()


def _sync(data: bytes) -> None:
    sync = machine(make_logs(history(3), history(80)))
    for part in in_two(data):
        sync.receive(part)


CORE: Final[dict[str, Target]] = {
    "varint": decode_varint,
    "base58": lambda data: decode_base58(text(data)),
    "base42": lambda data: decode_base42(text(data)),
    "cid": Cid.from_bytes,
    "cid_text": lambda data: Cid.parse(text(data)),
    "dagcbor": _dagcbor,
    "frames": _frames,
    "public_key": decode_public,
    "entry": _entry,
    "heads": parse_heads,
    "heads_box": _heads_box,
    "heads_json": _heads_json,
    "metadata": _metadata,
    "event": _event,
    "headers": _headers,
    "payload": decode_payload,
    "contact": _contact,
    "contact_name": contact_name,
    "group": lambda data: decode_group(parse(pb.Group, data)),
    "chain": _chain,
    "link": lambda data: parse_link(text(data)),
    "contact_request": _contact_request,
    "noise": _noise,
    "yamux": _yamux,
    "session": _session,
    "offers": _offers,
    "sync": _sync,
    "advert": decode_txt,
}
