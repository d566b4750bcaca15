"""Envelopes: what was sealed opens once and for its group, and strangers' bytes are refused."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.boxes import seal_secretbox
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.envelope import (
    MAX_MESSAGE,
    message_nonce,
    open_event,
    open_headers,
    open_message,
    seal_event,
    seal_message,
)

SECRET, KEY, NONCE = Secret(b"s" * 32), Secret(b"k" * 32), b"n" * 24
DEVICE = PrivateKey(b"\x01" * 32)


@given(st.binary(max_size=200), st.integers(1, 2**64 - 1))
def test_messages(text: bytes, counter: int) -> None:
    """Headers open with the group's secret, the text with the message key, and the signature holds."""
    envelope = seal_message(SECRET, KEY, counter, DEVICE, text, NONCE)
    message = open_headers(SECRET, envelope)
    assert (message.counter, message.device) == (counter, DEVICE.public)
    assert open_message(message, KEY) == text


def test_message_nonce_is_the_counter() -> None:
    """Eight bytes big-endian, then zeros (Wesh protocol, section 3.3)."""
    assert message_nonce(258) == b"\0\0\0\0\0\0\1\2" + bytes(16)


def test_empty_parts_are_written() -> None:
    """The reference writes `12 00` and `22 00`, and so do we (section 12.11)."""
    message = open_headers(SECRET, seal_message(SECRET, KEY, 1, DEVICE, b"hi", NONCE))
    assert len(message.box) == 16 + len(b"\x0a\x02hi\x12\x00")
    event = open_event(SECRET, seal_event(SECRET, 1, b"p", b"s", NONCE))
    assert event.SerializeToString().endswith(b"\x22\x00")


def test_false_messages_are_refused() -> None:
    """Another key, counter, device or signature."""
    message = open_headers(SECRET, seal_message(SECRET, KEY, 5, DEVICE, b"text", NONCE))
    other = PrivateKey(b"\x02" * 32)
    for bad in (
        attrs.evolve(message, counter=6),
        attrs.evolve(message, device=type(message.device)(other.public)),
        attrs.evolve(message, sig=bytes(64)),
        attrs.evolve(message, box=message.box[:-1]),
    ):
        with pytest.raises(RemoteProtocolError):
            open_message(bad, KEY)
    with pytest.raises(RemoteProtocolError):
        open_message(message, Secret(b"o" * 32))


def test_a_verified_message_need_not_be_verified_again() -> None:
    """Reading again skips the signature, and still authenticates the box."""
    message = attrs.evolve(open_headers(SECRET, seal_message(SECRET, KEY, 5, DEVICE, b"text", NONCE)), sig=bytes(64))
    assert open_message(message, KEY, check_signature=False) == b"text"


def test_size_limit() -> None:
    """What would not reach every member is refused before it is sealed (section 14.6)."""
    with pytest.raises(LocalProtocolError):
        seal_message(SECRET, KEY, 1, DEVICE, bytes(MAX_MESSAGE + 1), NONCE)


@given(st.integers(0, 2000), st.binary(max_size=60), st.binary(max_size=64))
def test_events(number: int, payload: bytes, sig: bytes) -> None:
    """An event comes back as it was sealed, for its group alone."""
    envelope = seal_event(SECRET, number, payload, sig, NONCE)
    event = open_event(SECRET, envelope)
    assert (event.event_type, event.payload, event.sig) == (number, payload, sig)
    with pytest.raises(RemoteProtocolError):
        open_event(b"o" * 32, envelope)


@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    """Bytes that nobody sealed are refused."""
    for opening in (open_event, open_headers):
        with pytest.raises(RemoteProtocolError):
            opening(SECRET, data)


@given(st.binary(max_size=80))
def test_any_bytes_sealed_by_a_member(data: bytes) -> None:
    """A member who seals rubbish gives a value or RemoteProtocolError."""
    box = seal_secretbox(SECRET, NONCE, data)
    for opening, envelope in (
        (open_event, pb.GroupEnvelope(nonce=NONCE, event=box)),
        (open_headers, pb.MessageEnvelope(nonce=NONCE, message_headers=box)),
    ):
        try:
            opening(SECRET, envelope.SerializeToString())  # type: ignore[operator]
        except RemoteProtocolError:
            continue
