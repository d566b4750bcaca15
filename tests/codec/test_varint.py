"""Variable-length integers: every value has one form, and any bytes give a value, None or RemoteProtocolError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.varint import decode_varint, encode_varint
from berty_core.errors import LocalProtocolError, RemoteProtocolError


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_round_trip_anywhere(value: int, before: bytes, behind: bytes) -> None:
    """A value is read back from the middle of other bytes, with the offset behind it."""
    encoded = encode_varint(value)
    assert decode_varint(before + encoded + behind, len(before)) == (value, len(before) + len(encoded))


@given(st.integers(0, 2**64 - 1))
def test_prefixes_are_unfinished(value: int) -> None:
    """Less than the whole asks for more bytes."""
    encoded = encode_varint(value)
    assert all(decode_varint(encoded[:length]) is None for length in range(len(encoded)))


@given(st.binary(max_size=12))
def test_any_bytes(data: bytes) -> None:
    """What is read is canonical: it encodes to the bytes that were read."""
    try:
        found = decode_varint(data)
    except RemoteProtocolError:
        return
    if found is not None:
        assert encode_varint(found[0]) == data[: found[1]]


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff" * 9 + b"\x02", b"\x80" * 10, b"\xff" * 11])
def test_refused(data: bytes) -> None:
    """Longer than needed, above 64 bits, longer than ten bytes."""
    with pytest.raises(RemoteProtocolError):
        decode_varint(data)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_out_of_range(value: int) -> None:
    """What does not fit is our caller's fault."""
    with pytest.raises(LocalProtocolError):
        encode_varint(value)
