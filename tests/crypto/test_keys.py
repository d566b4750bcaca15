"""Keys in all their forms: published vectors, the `cryptography` package as oracle, and strangers' bytes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.keys import (
    PrivateKey,
    Secret,
    decode_private,
    decode_public,
    derive_shared_key,
    encode_private,
    encode_public,
    exchange,
    verify,
    x25519_pair,
    x25519_private,
    x25519_public,
)
from berty_core.errors import LocalProtocolError, RemoteProtocolError

SEEDS = st.binary(min_size=32, max_size=32)


def test_rfc_8032_case_2() -> None:
    """Public key and signature of the RFC."""
    key = PrivateKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@given(SEEDS, st.binary(max_size=60), st.integers(0, 511))
def test_signatures(seed: bytes, message: bytes, bit: int) -> None:
    """Another library makes the same signature; one changed bit is noticed."""
    key = PrivateKey(seed)
    signature = key.sign(message)
    assert signature == Ed25519PrivateKey.from_private_bytes(seed).sign(message)
    assert verify(key.public, message, signature)
    broken = bytearray(signature)
    broken[bit // 8] ^= 1 << bit % 8
    assert not verify(key.public, message, bytes(broken))


@given(SEEDS, SEEDS)
def test_exchange_is_symmetric(own: bytes, other: bytes) -> None:
    """Both sides derive one key, which equals X25519 of the converted keys by another library."""
    left, right = PrivateKey(own), PrivateKey(other)
    shared = derive_shared_key(left, right.public)
    assert shared == derive_shared_key(right, left.public)
    oracle = X25519PrivateKey.from_private_bytes(bytes(x25519_private(left)))
    assert shared.seed == oracle.exchange(X25519PublicKey.from_public_bytes(x25519_public(right.public)))


def test_golden_pair() -> None:
    """The pair secret of the specification (Wesh protocol, section 2.8)."""
    a, b = PrivateKey(b"\x01" * 32), PrivateKey(b"\x02" * 32)
    assert a.public.hex() == "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
    assert b.public.hex() == "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
    seed = derive_shared_key(a, b.public).seed
    assert bytes(seed).hex() == "4181d7302557342bdb6d061c4b1eebea828ecb625c3368b7111680793307220b"


@given(SEEDS)
def test_libp2p_forms(seed: bytes) -> None:
    """Both protobuf forms read back."""
    key = PrivateKey(seed)
    assert decode_public(encode_public(key.public)) == key.public
    assert decode_private(encode_private(key)) == key


@given(st.binary(max_size=70))
def test_any_bytes(data: bytes) -> None:
    """Strangers' keys are keys or RemoteProtocolError; a signature is true or false."""
    for decode in (decode_public, decode_private, x25519_public, lambda point: exchange(b"\x01" * 32, point)):
        try:
            decode(data)
        except RemoteProtocolError:
            continue
    assert verify(data[:32], b"message", data) is False


def test_mixed_halves_are_refused() -> None:
    """A private key whose public half is of another key is refused."""
    data = bytes(encode_private(PrivateKey(bytes(32))))
    with pytest.raises(RemoteProtocolError, match="halves"):
        decode_private(data[:36] + PrivateKey(b"\x01" * 32).public)


def test_low_order_points_are_refused() -> None:
    """The point zero exchanges nothing."""
    with pytest.raises(RemoteProtocolError):
        exchange(x25519_pair(b"\x01" * 32)[0], bytes(32))


def test_wrong_seeds_are_our_fault() -> None:
    """A seed has 32 bytes."""
    with pytest.raises(LocalProtocolError):
        PrivateKey(bytes(31))


def test_secrets_compare_by_value() -> None:
    """A secret equals the same bytes and nothing else."""
    assert Secret(b"ab") == b"ab"
    assert Secret(b"ab") != b"ac"
    assert Secret(b"ab") != "ab"
    assert len({Secret(b"ab"), Secret(b"ab")}) == 1
