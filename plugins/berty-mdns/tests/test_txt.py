"""Beacons as TXT data."""

from __future__ import annotations

import pytest
from berty_mdns.seam import TRAITS
from berty_mdns.txt import MAX_TAGS, decode_txt, encode_txt
from hypothesis import given
from hypothesis import strategies as st

from berty_core.contracts.transport import Beacon
from berty_core.errors import LocalProtocolError, RemoteProtocolError

UNIT = st.binary(min_size=8, max_size=8)
BEACONS = st.builds(Beacon, UNIT, st.lists(UNIT, max_size=MAX_TAGS).map(tuple))


@given(BEACONS)
def test_round_trip(beacon):
    """A beacon comes back as it was, from strings of at most 255 bytes."""
    text = encode_txt(beacon)

    assert beacon == decode_txt(text)
    offset = 0
    while offset < len(text):
        assert text[offset] <= 2 + 31 * 8
        offset += 1 + text[offset]


@given(
    st.binary(max_size=1200)
    | st.builds(
        lambda b, i, c: b[:i] + bytes([c]) + b[i + 1 :],
        BEACONS.map(encode_txt),
        st.integers(0, 60),
        st.integers(0, 255),
    )
)
def test_any_bytes_give_a_beacon_or_an_error(text):
    """Whatever the network says is a beacon within the limits or RemoteProtocolError."""
    try:
        beacon = decode_txt(text)
    except RemoteProtocolError:
        return
    assert len(beacon.nonce) == 8
    assert len(beacon.tags) <= MAX_TAGS
    assert text == encode_txt(beacon) or len(text) > len(encode_txt(beacon))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00",
        b"\x0a0=1234567",  # the string ends before its length
        b"\x090=1234567",  # seven bytes of nonce
        b"\x0b0=123456789",  # nine
        b"\x0a1=12345678",  # begins with the second string
        b"\x0a0=12345678\x0a0=12345678",  # the same string twice
        b"\x0a0=12345678\x09txtvers=1",
    ],
)
def test_garbage_is_refused(text):
    """Data that is nearly a beacon is refused."""
    with pytest.raises(RemoteProtocolError):
        decode_txt(text)


def test_more_than_128_tags_are_refused_on_both_sides():
    """The limit of 128 tags holds for us and for others."""
    with pytest.raises(LocalProtocolError):
        encode_txt(Beacon(bytes(8), (bytes(8),) * (MAX_TAGS + 1)))
    full = encode_txt(Beacon(bytes(8), (bytes(8),) * (MAX_TAGS - 5)))
    longer = full[: 4 * 251] + b"\xfa4=" + bytes(248)

    assert len(decode_txt(full).tags) == MAX_TAGS - 5
    with pytest.raises(RemoteProtocolError, match="more than 128"):
        decode_txt(longer)


@pytest.mark.parametrize("beacon", [Beacon(b"short", ()), Beacon(bytes(8), (b"long tags",))])
def test_a_beacon_of_wrong_shape_is_our_fault(beacon):
    """A nonce or a tag that is not of 8 bytes is refused before it is shown."""
    with pytest.raises(LocalProtocolError):
        encode_txt(beacon)


def test_the_traits_promise_no_more_than_fits():
    """A beacon of `beacon_bytes` is accepted."""
    assert TRAITS.beacon_bytes // 8 <= MAX_TAGS
