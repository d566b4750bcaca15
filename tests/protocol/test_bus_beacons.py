"""What is said in clear on a bus: any bytes are a beacon, a link's datagram, or nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.errors import LocalProtocolError
from berty_core.protocol.bus_beacons import (
    LINK_HEAD,
    MAX_TAGS,
    BusBeacon,
    LinkDatagram,
    decode_clear,
    encode_clear,
    tags_in,
)

ADDRESS = st.binary(min_size=6, max_size=6)
EIGHT = st.binary(min_size=8, max_size=8)
SAID = st.one_of(
    st.builds(BusBeacon, ADDRESS, EIGHT, st.lists(EIGHT, max_size=5).map(tuple)),
    st.builds(LinkDatagram, ADDRESS, ADDRESS, st.binary(min_size=1, max_size=100)),
)


@given(SAID)
def test_what_is_said_comes_back(said: BusBeacon | LinkDatagram) -> None:
    """What was encoded is read."""
    assert decode_clear(encode_clear(said)) == said


@given(st.one_of(st.binary(max_size=250), st.binary(max_size=80).map(lambda data: b"\xbe" + data)))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give what encodes to them, or nothing."""
    said = decode_clear(data)
    assert said is None or encode_clear(said) == data


def test_noise_is_no_beacon() -> None:
    """What looks like a beacon without its check is none, so what is sealed is not taken for one."""
    assert all(decode_clear(b"\xbe" + os.urandom(26)) is None for _ in range(1000))
    assert decode_clear(b"\xbd" + bytes(LINK_HEAD - 1)) is None


def test_limits() -> None:
    """As many tags as the datagrams hold, and never more than so many."""
    assert tags_in(233) == 26
    assert len(encode_clear(BusBeacon(bytes(6), bytes(8), (bytes(8),) * 26))) <= 233
    with pytest.raises(LocalProtocolError):
        encode_clear(BusBeacon(bytes(6), bytes(8), (bytes(8),) * (MAX_TAGS + 1)))
