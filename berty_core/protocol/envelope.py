"""The sealed containers inside log entries: metadata events and messages (Wesh protocol, sections 3.1, 3.3 and 4.1).

Signatures are checked over the bytes as they were received, never over a second encoding of them.
"""

from __future__ import annotations

import attrs

from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.boxes import NONCE_LENGTH, open_secretbox, seal_secretbox
from ..crypto.keys import PrivateKey, Secret, verify
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import DeviceId

MAX_MESSAGE = 560 * 1024  # what reaches a Go node live (section 14.6)


@attrs.frozen
class SealedMessage:
    """A message whose headers are open and whose text is not: `counter` and `device` tell which key opens it."""

    counter: int
    device: DeviceId
    sig: bytes = attrs.field(repr=False)
    box: bytes = attrs.field(repr=False)


def seal_event(secret: bytes, event_type: int, payload: bytes, sig: bytes, nonce: bytes) -> bytes:
    """Seal a signed event for the group: a `GroupEnvelope`."""
    event = pb.GroupMetadata(
        event_type=event_type, payload=payload, sig=sig, protocol_metadata=pb.ProtocolMetadata()
    ).SerializeToString()
    return pb.GroupEnvelope(nonce=nonce, event=seal_secretbox(secret, nonce, event)).SerializeToString()


def open_event(secret: bytes, envelope: bytes) -> pb.GroupMetadata:
    """Open a `GroupEnvelope`; RemoteProtocolError if it is not of this group."""
    outer = parse(pb.GroupEnvelope, envelope)
    event = open_secretbox(secret, outer.nonce, outer.event)
    if event is None:
        raise RemoteProtocolError("an event that this group's secret does not open")
    return parse(pb.GroupMetadata, event)


def seal_message(
    secret: bytes, message_key: bytes, counter: int, device: PrivateKey, text: bytes, nonce: bytes
) -> bytes:
    """Sign and seal the bytes of an application message with the key of this counter: a `MessageEnvelope`."""
    if len(text) > MAX_MESSAGE:
        raise LocalProtocolError(f"a message of {len(text)} bytes; at most {MAX_MESSAGE} reach every member")
    plaintext = pb.EncryptedMessage(plaintext=text, protocol_metadata=pb.ProtocolMetadata()).SerializeToString()
    headers = pb.MessageHeaders(
        counter=counter, device_pk=bytes(device.public), sig=device.sign(plaintext)
    ).SerializeToString()
    return pb.MessageEnvelope(
        message_headers=seal_secretbox(secret, nonce, headers),
        message=seal_secretbox(message_key, message_nonce(counter), plaintext),
        nonce=nonce,
    ).SerializeToString()


def message_nonce(counter: int) -> bytes:
    """The nonce of a message box follows from its counter alone, so no counter may ever seal two plaintexts."""
    return counter.to_bytes(8, "big") + bytes(NONCE_LENGTH - 8)


def open_headers(secret: bytes, envelope: bytes) -> SealedMessage:
    """Open the headers of a `MessageEnvelope`; RemoteProtocolError if it is not of this group."""
    outer = parse(pb.MessageEnvelope, envelope)
    data = open_secretbox(secret, outer.nonce, outer.message_headers)
    if data is None:
        raise RemoteProtocolError("a message whose headers this group's secret does not open")
    headers = parse(pb.MessageHeaders, data)
    return SealedMessage(headers.counter, DeviceId(headers.device_pk), headers.sig, outer.message)


def open_message(message: SealedMessage, message_key: Secret, *, check_signature: bool = True) -> bytes:
    """Open a message and verify its device's signature; the application bytes, or RemoteProtocolError.

    A message that was verified when it first arrived need not be verified each time it is read.
    """
    plaintext = open_secretbox(message_key, message_nonce(message.counter), message.box)
    if plaintext is None:
        raise RemoteProtocolError("a message that its key does not open")
    if check_signature and not verify(message.device, plaintext, message.sig):
        raise RemoteProtocolError("a message with a false signature of its device")
    return parse(pb.EncryptedMessage, plaintext).plaintext
