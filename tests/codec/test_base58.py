"""Base58 and base42: an independent package and published values as oracles, and any text is read or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase

from berty_core.codec.base58 import BASE42, BASE58, decode_base42, decode_base58, encode_base42, encode_base58
from berty_core.errors import RemoteProtocolError


@given(st.binary(max_size=80))
def test_base58_equals_another_implementation(data: bytes) -> None:
    """The `multiformats` package gives the same text, and it reads back."""
    assert encode_base58(data) == multibase.get("base58btc").encode(data)[1:]
    assert decode_base58(encode_base58(data)) == data


@given(st.integers(0, 5), st.binary(max_size=40))
def test_leading_zeros(zeros: int, data: bytes) -> None:
    """Each leading zero byte is one first symbol."""
    for encode, decode, alphabet in (
        (encode_base58, decode_base58, BASE58),
        (encode_base42, decode_base42, BASE42),
    ):
        text = encode(bytes(zeros) + data)
        assert text.startswith(alphabet[0] * zeros)
        assert decode(text) == bytes(zeros) + data


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """Any text gives the bytes that encode to it, or RemoteProtocolError."""
    for encode, decode in ((encode_base58, decode_base58), (encode_base42, decode_base42)):
        try:
            data = decode(text)
        except RemoteProtocolError:
            continue
        assert encode(data) == text


def test_published_link() -> None:
    """The QR form of Berty's own test link (Wesh protocol, section 10.6) decodes to its protobuf."""
    data = decode_base42("CAS8232WNWU-1HTSMNYD.USC3T4F.P.J.AFKOXTKI:-N4P9IJTERR3CTFD.:N$*$3RQZLIFMT3-$IN..")
    assert data.startswith(b"\x08\x01\x12")
    assert b"Hello World!" in data
    assert encode_base42(data).startswith("CAS8232")


@pytest.mark.parametrize("decode", [decode_base58, decode_base42])
def test_limit(decode: object) -> None:
    """A long text is refused before any arithmetic."""
    with pytest.raises(RemoteProtocolError, match="limit"):
        decode("A" * 4097)  # type: ignore[operator]
