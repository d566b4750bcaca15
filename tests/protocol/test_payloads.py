"""Berty Messenger's payloads: the bytes of Go's protobuf, and nothing but values or errors from any input."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.payloads import (
    MAX_PAYLOAD,
    Acknowledge,
    AppPayload,
    Content,
    GroupInvitation,
    SetGroupInfo,
    SetUserInfo,
    UnknownPayload,
    UserMessage,
    contact_name,
    decode_contact_metadata,
    decode_payload,
    encode_contact_metadata,
    encode_payload,
)

TARGET = Cid.of(b"a block")

# Written out by hand from the field numbers and the rules of proto3: tag, length, bytes, zero values left out.
WIRE: list[tuple[Content, int, str]] = [
    (UserMessage("hi"), 1_700_000_000_000, "0801" + "1204" + "0a026869" + "18" + "80d095ffbc31"),
    (UserMessage(""), 0, "0801"),
    (GroupInvitation("L"), 1, "0803" + "1203" + "12014c" + "1801"),
    (SetGroupInfo("Z\u00f6"), 0, "0804" + "1205" + "0a035ac3b6"),
    (SetUserInfo("A"), 0, "0805" + "1203" + "0a0141"),
    (Acknowledge(TARGET), 0, "0806" + "2a3b" + str(TARGET).encode().hex()),
    (UnknownPayload(8, b"\x01"), 0, "0808" + "120101"),
    (UnknownPayload(0, b""), 0, ""),
]


@pytest.mark.parametrize(("content", "sent", "wire"), WIRE, ids=[type(row[0]).__name__ for row in WIRE])
def test_bytes_on_the_wire(content: Content, sent: int, wire: str) -> None:
    """Each payload is written as Go writes it and read back to the same value."""
    assert bytes.fromhex(wire) == encode_payload(content, sent)
    assert AppPayload(content, sent) == decode_payload(bytes.fromhex(wire))


def test_unknown_fields_and_negative_dates_are_survived() -> None:
    """A field that a later version adds is skipped, and a date before 1970 is a value."""
    data = encode_payload(UserMessage("hi"), -1)
    assert AppPayload(UserMessage("hi"), -1) == decode_payload(data + bytes.fromhex("720158"))


@pytest.mark.parametrize(
    "wire",
    [
        "ff",
        "0801" + "1203" + "0a02ff",  # truncated inner message
        "0801" + "1204" + "0a02c328",  # a body that is not UTF-8
        "0806",  # an acknowledgement of nothing
        "0806" + "2a0378797a",
        "0806" + "2a027a30",
    ],
)
def test_malformed_payloads_are_the_senders_fault(wire: str) -> None:
    """Broken framing, text or targets give RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_payload(bytes.fromhex(wire))


def test_sizes_are_judged_on_both_sides() -> None:
    """560 KiB in all may be sent and not one byte more; far more than that is not read."""
    overhead = len(encode_payload(UserMessage("x" * 500_000))) - 500_000
    assert len(encode_payload(UserMessage("x" * (MAX_PAYLOAD - overhead)))) == MAX_PAYLOAD
    with pytest.raises(LocalProtocolError, match="send it in parts"):
        encode_payload(UserMessage("x" * (MAX_PAYLOAD - overhead + 1)))
    with pytest.raises(RemoteProtocolError, match="limit"):
        decode_payload(bytes(3 * 1024 * 1024))


@pytest.mark.parametrize(
    ("content", "sent"), [(UserMessage("\ud800"), 0), (UserMessage("x"), 1 << 63), (UnknownPayload(1 << 31, b""), 0)]
)
def test_our_own_mistakes_are_ours(content: Content, sent: int) -> None:
    """Values that protobuf cannot hold are refused as the caller's."""
    with pytest.raises(LocalProtocolError):
        encode_payload(content, sent)


def test_contact_metadata() -> None:
    """The name is field 1, and a bare name, as some clients write it, is read as well."""
    assert bytes.fromhex("0a03416e6e") == encode_contact_metadata("Ann")
    assert decode_contact_metadata(bytes.fromhex("0a03416e6e")) == "Ann"
    assert contact_name(encode_contact_metadata("Ann")) == "Ann"
    assert contact_name("Zoë".encode()) == "Zoë"
    assert contact_name(b"Alexander") == "Alexander"  # also parses as protobuf with an unknown field
    assert contact_name(b"") == ""
    assert contact_name(b"\xff\xfe") == ""
    with pytest.raises(LocalProtocolError):
        encode_contact_metadata("\ud800")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
contents = st.one_of(
    st.builds(UserMessage, text),
    st.builds(GroupInvitation, text),
    st.builds(SetGroupInfo, text),
    st.builds(SetUserInfo, text),
    st.builds(Acknowledge, st.builds(Cid.of, st.binary(max_size=8))),
    st.builds(UnknownPayload, st.integers(7, 1 << 30), st.binary(max_size=50), text),
)


@given(contents, st.integers(-(1 << 63), (1 << 63) - 1))
def test_payloads_round_trip(content: Content, sent: int) -> None:
    """What is written is read back."""
    assert AppPayload(content, sent) == decode_payload(encode_payload(content, sent))


@given(st.binary(max_size=100))
def test_any_bytes_give_a_value_or_remote_error(data: bytes) -> None:
    """No input gives anything but a value or RemoteProtocolError, and a contact's name is always a text."""
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_payload(data), AppPayload)
    assert isinstance(contact_name(data), str)
    with contextlib.suppress(RemoteProtocolError):
        decode_contact_metadata(data)


@given(st.integers(1, 6), st.binary(max_size=60), st.binary(max_size=60))
def test_any_inner_bytes_give_a_value_or_remote_error(kind: int, payload: bytes, target: bytes) -> None:
    """The same holds one level deeper, in the typed payload and the target."""
    data = bytes([8, kind, 0x12, len(payload)]) + payload + bytes([0x2A, len(target)]) + target
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_payload(data), AppPayload)
