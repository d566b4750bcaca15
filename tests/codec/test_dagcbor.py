"""DAG-CBOR: one form for each value, and any bytes are a value or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.dagcbor import decode_dagcbor, encode_dagcbor, link, unlink
from berty_core.errors import LocalProtocolError, RemoteProtocolError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    """A value comes back, and its bytes are made again."""
    data = encode_dagcbor(value)
    assert decode_dagcbor(data) == value
    assert encode_dagcbor(decode_dagcbor(data)) == data


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """What is read is canonical."""
    try:
        value = decode_dagcbor(data)
    except RemoteProtocolError:
        return
    assert encode_dagcbor(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18\x02",  # not the shortest form
        b"\xa2\x61b\x01\x61a\x02",  # keys out of order
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\x9f\xff",  # indefinite length
        b"\x01\x01",  # trailing byte
        b"\x61\xff",  # text that is no UTF-8
        b"\xc1\x00",  # another tag
        b"\x81" * 100_000,  # deep nesting
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",  # announced length
    ],
)
def test_refused(data: bytes) -> None:
    """Other forms of a value, and hostile lengths and depths."""
    with pytest.raises(RemoteProtocolError):
        decode_dagcbor(data)


def test_links() -> None:
    """A link is tag 42 on a zero byte and the CID (IPFS log, section 1.2)."""
    cid = Cid.of(b"block")
    data = encode_dagcbor([link(cid)])
    assert data == b"\x81\xd8\x2a\x58\x25\x00" + cid
    assert unlink(decode_dagcbor(data)[0]) == cid
    with pytest.raises(RemoteProtocolError):
        unlink(b"bytes")
    with pytest.raises(RemoteProtocolError):
        decode_dagcbor(b"\x81\x58\x24" + cid)  # a byte string where only a link could mean this


@pytest.mark.parametrize("value", [{1: 2}, object(), 2**70, {"a": {1}}])
def test_unsuitable_values(value: Any) -> None:
    """What no DAG-CBOR can hold is our caller's fault."""
    with pytest.raises(LocalProtocolError):
        encode_dagcbor(value)
