"""Key derivation against published vectors and second implementations."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.kdf import (
    aes256_ctr,
    equal,
    hkdf_sha3_256,
    hkdf_sha256,
    hmac_sha256,
    scrypt_link_key,
    shake256,
)


def hkdf(name: str, key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 in its own words, without a salt."""
    material = hmac.digest(bytes(hashlib.new(name).digest_size), key, name)
    block, out = b"", b""
    for counter in range(1, length // len(material) + 2):
        block = hmac.digest(material, block + info + bytes([counter]), name)
        out += block
    return out[:length]


def test_rfc_5869_case_3() -> None:
    """The RFC's own vector without salt and info."""
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf_sha256(b"\x0b" * 22, b"", 42) == bytes.fromhex(okm)


@given(st.binary(min_size=1, max_size=70), st.binary(max_size=40), st.sampled_from([16, 32, 64, 100]))
def test_equals_the_definition(key: bytes, info: bytes, length: int) -> None:
    """Both hash families give what the definition gives; SHA3 is FIPS 202, with its block of 136 bytes."""
    assert hkdf_sha256(key, info, length) == hkdf("sha256", key, info, length)
    assert hkdf_sha3_256(key, info, length) == hkdf("sha3_256", key, info, length)


def test_rfc_4231_case_2() -> None:
    """HMAC-SHA256 of the RFC."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_nist_aes_256_ctr() -> None:
    """SP 800-38A, F.5.5, first block; both directions are one."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    nonce = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    sealed = aes256_ctr(key, nonce, plain)
    assert sealed.hex() == "601ec313775789a5b7a7f504bbf3d228"
    assert aes256_ctr(key, nonce, sealed) == plain


def test_shake256_of_nothing() -> None:
    """The published digest of the empty message."""
    assert shake256(b"", 16).hex() == "46b9dd2b0ba88d13233b3feb743eeb24"


def test_scrypt_equals_the_standard_library() -> None:
    """The key of a protected link (Wesh protocol, section 10.7)."""
    expected = hashlib.scrypt(b"pass", salt=b"s" * 16, n=32768, r=8, p=1, dklen=32, maxmem=64 << 20)
    assert scrypt_link_key(b"pass", b"s" * 16) == expected


@pytest.mark.parametrize(("left", "right", "same"), [(b"a", b"a", True), (b"a", b"b", False), (b"a", b"ab", False)])
def test_equal(left: bytes, right: bytes, same: bool) -> None:
    """Comparison in constant time is still comparison."""
    assert equal(left, right) is same
