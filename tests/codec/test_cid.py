"""CIDs: the `multiformats` package as oracle, and any text or bytes is read or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from berty_core.codec.cid import RAW, Cid
from berty_core.errors import RemoteProtocolError


@given(st.binary(max_size=200), st.booleans())
def test_equals_another_implementation(block: bytes, raw: bool) -> None:
    """Bytes, base32 and base58 are those of the `multiformats` package, and read back."""
    cid = Cid.of(block, RAW) if raw else Cid.of(block)
    oracle = CID("base32", 1, "raw" if raw else "dag-cbor", ("sha2-256", cid.digest))
    assert bytes(cid) == bytes(oracle)
    assert str(cid) == str(oracle)
    assert cid.base58 == oracle.encode("base58btc")
    assert Cid.parse(str(cid)) == Cid.parse(cid.base58) == Cid.from_bytes(bytes(cid)) == cid


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[bz][a-z2-7A-Z]{0,70}", fullmatch=True)))
def test_any_text(text: str) -> None:
    """Any text gives a CID or RemoteProtocolError."""
    try:
        cid = Cid.parse(text)
    except RemoteProtocolError:
        return
    assert len(cid) == 36


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give the same bytes or RemoteProtocolError."""
    try:
        assert Cid.from_bytes(data) == data
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("text", ["", "z", "b", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "f01711220"])
def test_refused(text: str) -> None:
    """Version 0, other bases and empty texts are not spoken."""
    with pytest.raises(RemoteProtocolError):
        Cid.parse(text)
